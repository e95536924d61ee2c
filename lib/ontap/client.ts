import { OntapApi } from "./api";
import type { OntapApiOptions } from "./api";
import * as cluster from "./cluster/requests";
import type { Cluster, ClusterPeer, ClusterPeerOffer, Schedule } from "./cluster/results";
import * as san from "./san/requests";
import type { IscsiTargetInfo, Lun, LunMap } from "./san/results";
import * as snapmirror from "./snapmirror/requests";
import type { Mirror, Policy, Transfer } from "./snapmirror/results";
import * as storage from "./storage/requests";
import type { FlexVol, Snapshot } from "./storage/results";
import * as svms from "./svm/requests";
import type { Svm, SvmPeer } from "./svm/results";

export interface OntapClientOptions extends OntapApiOptions {
  /** Name of the site in the pair. */
  readonly site: string;
  readonly svm: string;
}

/**
 * One SVM on its cluster, by ONTAP's REST API from 9.11.1 on, with the rights of a cluster administrator. What each
 * method promises stands at the function of the same name in the area's requests.ts. A peer SVM is known here by its
 * own name: mirrors of one that was peered under a local alias are listed under that alias.
 *
 * Failures are `DrError`s: `remote` with ONTAP's code as `context.vendorCode` (see error-codes.ts), `unreachable`,
 * `config` where the certificate isn't trusted or something named doesn't exist, `wait-timeout`, `stopped`.
 */
export class OntapClient {
  readonly site: string;
  private readonly svm: string;
  private readonly api: OntapApi;

  constructor(options: OntapClientOptions) {
    this.site = options.site;
    this.svm = options.svm;
    this.api = new OntapApi(options);
  }

  close(): Promise<void> {
    return this.api.close();
  }

  // cluster
  getCluster(): Promise<Cluster> {
    return cluster.getCluster(this.api);
  }
  listInterclusterAddresses(): Promise<readonly string[]> {
    return cluster.listInterclusterAddresses(this.api);
  }
  listClusterPeers(): Promise<readonly ClusterPeer[]> {
    return cluster.listClusterPeers(this.api);
  }
  createClusterPeerOffer(o: { readonly remoteAddresses: readonly string[] }): Promise<ClusterPeerOffer> {
    return cluster.createClusterPeerOffer(this.api, o);
  }
  acceptClusterPeer(o: { readonly remoteAddresses: readonly string[]; readonly passphrase: string }): Promise<void> {
    return cluster.acceptClusterPeer(this.api, o);
  }
  deleteClusterPeer(uuid: string): Promise<void> {
    return cluster.deleteClusterPeer(this.api, uuid);
  }
  findSchedule(name: string): Promise<Schedule | undefined> {
    return cluster.findSchedule(this.api, name);
  }

  // svm
  async getSvm(): Promise<Svm> {
    const { uuid, state } = await svms.getSvm(this.api, this.svm);
    return { uuid, state };
  }
  listSvmPeers(): Promise<readonly SvmPeer[]> {
    return svms.listSvmPeers(this.api, this.svm);
  }
  createSvmPeer(o: { readonly peerSvm: string; readonly peerCluster: string }): Promise<SvmPeer> {
    return svms.createSvmPeer(this.api, this.svm, o);
  }
  acceptSvmPeer(uuid: string): Promise<void> {
    return svms.acceptSvmPeer(this.api, uuid);
  }
  deleteSvmPeer(uuid: string): Promise<void> {
    return svms.deleteSvmPeer(this.api, uuid);
  }

  // san
  getIscsiTarget(): Promise<IscsiTargetInfo> {
    return san.getIscsiTarget(this.api, this.svm);
  }
  listLunPaths(): Promise<readonly string[]> {
    return san.listLunPaths(this.api, this.svm);
  }
  listLuns(flexVols: readonly string[]): Promise<readonly Lun[]> {
    return san.listLuns(this.api, this.svm, flexVols);
  }
  renameLun(lun: Lun, name: string): Promise<void> {
    return san.renameLun(this.api, lun, name);
  }
  listLunMaps(flexVols: readonly string[]): Promise<readonly LunMap[]> {
    return san.listLunMaps(this.api, this.svm, flexVols);
  }
  deleteLunMap(map: LunMap): Promise<void> {
    return san.deleteLunMap(this.api, map);
  }

  // storage
  listFlexVols(): Promise<readonly FlexVol[]> {
    return storage.listFlexVols(this.api, this.svm);
  }
  listSnapshots(flexVol: string): Promise<readonly Snapshot[]> {
    return storage.listSnapshots(this.api, this.svm, flexVol);
  }
  findChangedBytes(o: { readonly flexVol: string; readonly snapshot: string }): Promise<number | undefined> {
    return storage.findChangedBytes(this.api, this.svm, o);
  }
  createDestinationVolume(o: {
    readonly name: string;
    readonly sizeBytes: number;
    readonly aggregate?: string;
  }): Promise<FlexVol> {
    return storage.createDestinationVolume(this.api, this.svm, o);
  }
  renameFlexVol(o: { readonly from: string; readonly to: string }): Promise<void> {
    return storage.renameFlexVol(this.api, this.svm, o);
  }
  deleteFlexVol(name: string): Promise<void> {
    return storage.deleteFlexVol(this.api, this.svm, name);
  }
  cloneFlexVol(o: { readonly parent: string; readonly name: string }): Promise<void> {
    return storage.cloneFlexVol(this.api, this.svm, o);
  }
  splitFlexClone(name: string): Promise<boolean> {
    return storage.splitFlexClone(this.api, this.svm, name);
  }

  // snapmirror
  listMirrors(flexVols: readonly string[]): Promise<readonly Mirror[]> {
    return snapmirror.listMirrors(this.api, this.svm, flexVols);
  }
  startTransfer(mirrorUuid: string): Promise<string> {
    return snapmirror.startTransfer(this.api, mirrorUuid);
  }
  getTransfer(mirrorUuid: string, transferUuid: string): Promise<Transfer> {
    return snapmirror.getTransfer(this.api, mirrorUuid, transferUuid);
  }
  abortTransfer(mirrorUuid: string, transferUuid: string): Promise<void> {
    return snapmirror.abortTransfer(this.api, mirrorUuid, transferUuid);
  }
  setMirrorState(mirrorUuid: string, state: "paused" | "broken_off" | "snapmirrored"): Promise<void> {
    return snapmirror.setMirrorState(this.api, mirrorUuid, state);
  }
  createMirror(o: {
    readonly sourceSvm: string;
    readonly destinationSvm: string;
    readonly flexVol: string;
    readonly policy: string;
    readonly schedule?: string;
  }): Promise<string> {
    return snapmirror.createMirror(this.api, o);
  }
  reverseMirror(mirror: Mirror): Promise<void> {
    return snapmirror.reverseMirror(this.api, mirror);
  }
  deleteMirror(mirrorUuid: string): Promise<void> {
    return snapmirror.deleteMirror(this.api, mirrorUuid);
  }
  releaseMirror(o: { readonly sourceFlexVol: string; readonly destinationSvm: string }): Promise<void> {
    return snapmirror.releaseMirror(this.api, this.svm, o);
  }
  findPolicy(name: string): Promise<Policy | undefined> {
    return snapmirror.findPolicy(this.api, this.svm, name);
  }
}
