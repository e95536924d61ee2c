import { type SitePair, siteOf } from "../../lib/topology/site-pair";

/**
 * Options of a site's stanza for NetApp's unified driver over iSCSI and REST (cinder/volume/drivers/netapp/options.py,
 * Cinder 29), overridden by what the operator declares. Without `netapp_password` and `replication_device`, which
 * others write.
 */
export function stanzaOf(pair: SitePair, siteName: string): Record<string, string> {
  const site = siteOf(pair, siteName);
  return {
    volume_driver: "cinder.volume.drivers.netapp.common.NetAppDriver",
    // Both sites share it: volume types name it, and have to resolve wherever production runs.
    volume_backend_name: pair.name,
    backend_host: pair.cinder.volumeHost,
    netapp_storage_family: "ontap_cluster",
    netapp_storage_protocol: "iscsi",
    // The driver's default is ZAPI, and with the fallback allowed it needs ZAPI to start at all.
    netapp_use_legacy_client: "False",
    netapp_allow_zapi_fallback: "False",
    netapp_transport_type: "https",
    netapp_server_hostname: site.ontap.address,
    netapp_server_port: String(site.ontap.port),
    netapp_ssl_cert_verify: "True",
    ...(site.ontap.caFile === undefined ? {} : { netapp_ssl_cert_path: site.ontap.caFile }),
    netapp_login: site.ontap.username,
    netapp_vserver: site.svm,
    netapp_pool_name_search_pattern: pair.flexVols.map(literalPattern).join(","),
    netapp_replication_policy: pair.replication.policy,
    ...site.stanza,
  };
}

/** The driver anchors each comma-separated part itself; of a FlexVol's name only dots and dashes need care. */
function literalPattern(flexVol: string): string {
  return flexVol.replaceAll(".", "\\.");
}
