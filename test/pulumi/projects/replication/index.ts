import * as pulumi from "@pulumi/pulumi";
import { ClusterPeer } from "../../../../dynamic-providers/cluster-peer";
import { SnapMirrorRelationship } from "../../../../dynamic-providers/snapmirror-relationship";
import { SvmPeer } from "../../../../dynamic-providers/svm-peer";
import { sitePairSchema, siteNames } from "../../../../lib/topology/site-pair";

const pair = sitePairSchema.parse(new pulumi.Config().requireObject("pair"));
const sites = siteNames(pair);
const clusterPeer = new ClusterPeer("peer", { sites });
const svmPeer = new SvmPeer("peer", { sites }, { dependsOn: clusterPeer });
const mirrors = pair.flexVols.map(
  (flexVol) => new SnapMirrorRelationship(flexVol, { flexVol, ...pair.replication }, { dependsOn: svmPeer }),
);

export const clusterStates = clusterPeer.states;
export const svmStates = svmPeer.states;
export const observed = pulumi.all(mirrors.map((mirror) => mirror.observed));
