import * as pulumi from "@pulumi/pulumi";
import { ActiveSite, type ActiveSiteArgs } from "../../dynamic-providers/active-site";
import { CinderBackend } from "../../dynamic-providers/cinder-backend";
import { ClusterPeer } from "../../dynamic-providers/cluster-peer";
import { SnapMirrorRelationship } from "../../dynamic-providers/snapmirror-relationship";
import { SvmPeer } from "../../dynamic-providers/svm-peer";
import { type SitePair, siteNames, siteOf } from "../../lib/topology/site-pair";
import { stanzaOf } from "./stanza";

/** Of {@link DisasterRecoveryPair}; `pairFromConfig` has them of the stack's configuration, which the providers read, too. */
export interface DisasterRecoveryPairArgs {
  readonly pair: SitePair;
  readonly active: Omit<ActiveSiteArgs, "backendRevisions">;
}

/**
 * Two sites behind one Cinder: their stanzas, the peering, a mirror for each FlexVol, and where production runs.
 * Everything but ActiveSite is the same whichever site is active.
 */
export class DisasterRecoveryPair extends pulumi.ComponentResource {
  readonly activeSite: ActiveSite;

  constructor(name: string, args: DisasterRecoveryPairArgs, options?: pulumi.ComponentResourceOptions) {
    super("cinder-cheesecake:index:DisasterRecoveryPair", name, {}, options);
    const { pair } = args;
    const sites = siteNames(pair);
    const parent = { parent: this };

    // A child's name is its identity in the state: a renamed one needs an alias, or the object behind it is made anew.
    const backends = Object.fromEntries(
      sites.map((site) => {
        const { backend } = siteOf(pair, site);
        return [site, new CinderBackend(`${name}-${site}`, { site, backend, options: stanzaOf(pair, site) }, parent)];
      }),
    );
    const clusterPeer = new ClusterPeer(name, { sites }, parent);
    const svmPeer = new SvmPeer(name, { sites }, { ...parent, dependsOn: clusterPeer });
    const { policy, schedule } = pair.replication;
    const mirrors = pair.flexVols.map(
      (flexVol) =>
        new SnapMirrorRelationship(
          `${name}-${flexVol}`,
          { flexVol, policy, schedule },
          { ...parent, dependsOn: svmPeer },
        ),
    );
    this.activeSite = new ActiveSite(
      name,
      { ...args.active, backendRevisions: mapValues(backends, (backend) => backend.revision) },
      { ...parent, dependsOn: mirrors },
    );
    // No direction of a mirror here: what a mirror's resource saw last is from before the switchover of the same `up`.
    this.registerOutputs({});
  }
}

function mapValues<T, U>(record: Readonly<Record<string, T>>, of: (value: T) => U): Record<string, U> {
  return Object.fromEntries(Object.entries(record).map(([key, value]) => [key, of(value)]));
}
