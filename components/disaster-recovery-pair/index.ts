import * as pulumi from "@pulumi/pulumi";
import { ActiveSite, type ActiveSiteArgs } from "../../dynamic-providers/active-site";
import { CinderBackend } from "../../dynamic-providers/cinder-backend";
import { ClusterPeer } from "../../dynamic-providers/cluster-peer";
import { type ObservedMirror, SnapMirrorRelationship } from "../../dynamic-providers/snapmirror-relationship";
import { SvmPeer } from "../../dynamic-providers/svm-peer";
import { type SitePair, siteNames, siteOf } from "../../lib/topology/site-pair";
import { stanzaOf } from "./stanza";

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
  /** By FlexVol. */
  readonly mirrors: pulumi.Output<Record<string, ObservedMirror>>;

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
    const mirrors = Object.fromEntries(
      pair.flexVols.map((flexVol) => [
        flexVol,
        new SnapMirrorRelationship(
          `${name}-${flexVol}`,
          { flexVol, policy, schedule },
          { ...parent, dependsOn: svmPeer },
        ),
      ]),
    );
    this.activeSite = new ActiveSite(
      name,
      { ...args.active, backendRevisions: mapValues(backends, (backend) => backend.revision) },
      { ...parent, dependsOn: Object.values(mirrors) },
    );
    this.mirrors = pulumi.all(mapValues(mirrors, (mirror) => mirror.observed));
    this.registerOutputs({ mirrors: this.mirrors });
  }
}

function mapValues<T, U>(record: Readonly<Record<string, T>>, of: (value: T) => U): Record<string, U> {
  return Object.fromEntries(Object.entries(record).map(([key, value]) => [key, of(value)]));
}
