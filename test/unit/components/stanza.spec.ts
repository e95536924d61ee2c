import assert from "node:assert/strict";
import { stanzaOf } from "../../../components/disaster-recovery-pair/stanza";
import { sitePairSchema } from "../../../lib/topology/site-pair";
import { pairInput } from "../../pulumi/support/settings";

describe("stanzaOf", () => {
  const pair = sitePairSchema.parse(pairInput);

  it("points each site's driver at its own SVM, over verified TLS", () => {
    const stanza = stanzaOf(pair, "idr");
    assert.equal(stanza["netapp_server_hostname"], "192.0.2.2");
    assert.equal(stanza["netapp_vserver"], "svm-idr");
    assert.equal(stanza["netapp_transport_type"], "https");
    assert.equal(stanza["netapp_ssl_cert_path"], "/etc/ssl/ontap.pem");
    assert.equal(stanza["backend_host"], "cinder-dr");
  });

  it("gives both sites the same volume_backend_name", () => {
    assert.equal(stanzaOf(pair, "iprod")["volume_backend_name"], stanzaOf(pair, "idr")["volume_backend_name"]);
  });

  it("limits the pools to the mirrored FlexVols, taken literally", () => {
    assert.equal(stanzaOf(pair, "iprod")["netapp_pool_name_search_pattern"], "pool1,pool\\.2");
  });

  it("takes the operator's options last, and leaves replication_device and the password to others", () => {
    const stanza = stanzaOf(pair, "iprod");
    assert.equal(stanza["netapp_replication_aggregate_map"], "backend_id:idr,aggr1:aggr1");
    assert.ok(!("replication_device" in stanza) && !("netapp_password" in stanza));
  });
});
