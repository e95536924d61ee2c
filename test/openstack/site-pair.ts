/** What the product's program makes of a new lab, made here by hand, so that the lab is tested without the product. */
import * as fs from "node:fs";
import type { LabArray, LabDescription } from "../../lab/lab";
import { readSecret } from "../../lab/lab";
import { OntapApi } from "../../lib/ontap/api";
import { OntapClient } from "../../lib/ontap/client";

export type Site = "iprod" | "idr";
export const otherSite = (site: Site): Site => (site === "iprod" ? "idr" : "iprod");

const access = (lab: LabDescription, site: Site) => {
  const { address, port, username, passwordFile } = lab.arrays[site];
  return { address, port, username, password: readSecret(passwordFile), caFile: lab.caFile };
};

export function ontapClient(lab: LabDescription, site: Site): OntapClient {
  return new OntapClient({ site, svm: lab.arrays[site].svm, ...access(lab, site) });
}

/** A change of one object by a plain request, as an administrator of the cluster makes it. */
export async function changeOntap(
  lab: LabDescription,
  site: Site,
  path: string,
  body: Record<string, unknown>,
  method: "PATCH" | "POST" | "DELETE" = "PATCH",
): Promise<void> {
  const api = new OntapApi(access(lab, site));
  try {
    await api.change({
      method,
      path,
      ...(method === "DELETE" ? {} : { body }),
      attempted: `Change ${path} of ${site}`,
    });
  } finally {
    await api.close();
  }
}

async function svmUuid(lab: LabDescription, site: Site): Promise<string> {
  const client = ontapClient(lab, site);
  try {
    return (await client.getSvm()).uuid;
  } finally {
    await client.close();
  }
}

/** Stops or starts the site's SVM: the way in which the procedure plays the loss of a site. */
export async function setSvmState(lab: LabDescription, site: Site, state: "running" | "stopped"): Promise<void> {
  await changeOntap(lab, site, `/api/svm/svms/${await svmUuid(lab, site)}`, { state });
}

/** Turns the SVM's iSCSI service on or off: then its cluster answers, and serves nothing. */
export async function setIscsi(lab: LabDescription, site: Site, enabled: boolean): Promise<void> {
  await changeOntap(lab, site, `/api/protocols/san/iscsi/services/${await svmUuid(lab, site)}`, { enabled });
}

/** Peers the clusters and the two SVMs. */
export async function peerSites(lab: LabDescription): Promise<void> {
  const [prod, dr] = [ontapClient(lab, "iprod"), ontapClient(lab, "idr")];
  try {
    const { iprod, idr } = lab.arrays;
    const { passphrase } = await prod.createClusterPeerOffer({ remoteAddresses: idr.interclusterAddresses });
    await dr.acceptClusterPeer({ remoteAddresses: iprod.interclusterAddresses, passphrase });
    await prod.createSvmPeer({ peerSvm: idr.svm, peerCluster: idr.cluster });
    for (const { uuid, state } of await dr.listSvmPeers()) if (state !== "peered") await dr.acceptSvmPeer(uuid);
  } finally {
    await Promise.all([prod.close(), dr.close()]);
  }
}

/** A stanza for NetApp's driver (Cinder 29), replicated to the other site. Its backend name is the same on both sites. */
export function netAppStanza(lab: LabDescription, site: Site, volumeBackendName = "netapp_iscsi"): string {
  const peer = otherSite(site);
  const own: LabArray = lab.arrays[site];
  return `
[${site}]
volume_driver = cinder.volume.drivers.netapp.common.NetAppDriver
volume_backend_name = ${volumeBackendName}
backend_host = ${lab.volumeHost}
netapp_storage_family = ontap_cluster
netapp_storage_protocol = iscsi
netapp_use_legacy_client = False
netapp_allow_zapi_fallback = False
netapp_transport_type = https
netapp_ssl_cert_path = ${lab.caFile}
netapp_ssl_cert_verify = True
netapp_server_hostname = ${own.address}
netapp_server_port = ${own.port}
netapp_login = ${own.username}
netapp_password = ${readSecret(own.passwordFile)}
netapp_vserver = ${own.svm}
netapp_lun_space_reservation = disabled
netapp_pool_name_search_pattern = pool[0-9]+
max_over_subscription_ratio = 20
replication_device = backend_id:${peer}
netapp_replication_aggregate_map = backend_id:${peer},${own.aggregate}:${lab.arrays[peer].aggregate}
netapp_snapmirror_quiesce_timeout = 30
`;
}

/** Adds both stanzas to every controller's cinder.conf and enables one of them. */
export function enableSite(lab: LabDescription, site: Site): void {
  for (const { cinderConf } of lab.controllers) {
    const text = fs.readFileSync(cinderConf, "utf8");
    const stanzas = netAppStanza(lab, "iprod") + netAppStanza(lab, "idr");
    const enabled = text.replace(/^enabled_backends = .*$/m, `enabled_backends = loweropenstack1,${site}`);
    fs.writeFileSync(cinderConf, enabled.includes("[iprod]") ? enabled : enabled + stanzas);
  }
}
