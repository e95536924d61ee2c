import type { SitePairInput } from "../../../lib/topology/site-pair";
import type { StackSettings } from "../../../stacks/settings";

const site = (name: string, address: string) => ({
  backend: name,
  svm: `svm-${name}`,
  ontap: { address, username: "admin", caFile: "/etc/ssl/ontap.pem" },
  stanza: { netapp_replication_aggregate_map: `backend_id:${name === "iprod" ? "idr" : "iprod"},aggr1:aggr1` },
});

export const pairInput: SitePairInput = {
  name: "netapp_iscsi",
  sites: { iprod: site("iprod", "192.0.2.1"), idr: site("idr", "192.0.2.2") },
  flexVols: ["pool1", "pool.2"],
  cinder: {
    volumeHost: "cinder-dr",
    controllers: [
      {
        kind: "local",
        name: "controller-1",
        services: { manager: "systemd", units: [{ role: "volume", unit: "cinder-volume" }] },
      },
    ],
    database: { host: "192.0.2.9", user: "cheesecake" },
    messageQueue: { host: "192.0.2.9", user: "cheesecake" },
  },
  openstack: {
    authUrl: "https://192.0.2.9:5000",
    region: "RegionOne",
    credential: { kind: "applicationCredential", id: "abc" },
  },
};

const secrets: Readonly<Record<string, unknown>> = {
  ontapPasswords: { iprod: "hush-1", idr: "hush-2" },
  databasePassword: "hush-3",
  messageQueuePassword: "12345678",
  openstackSecret: "hush-5",
};

/** Configuration of a disaster-recovery stack as Pulumi hands it over, with these keys changed or (undefined) left out. */
export function settingsOf(
  changes: Readonly<Record<string, unknown>> = {},
  secretKeys = Object.keys(secrets),
): StackSettings {
  const values = { program: "disaster-recovery", activeSite: "iprod", pair: pairInput, ...secrets, ...changes };
  const texts = Object.entries(values)
    .filter(([, value]) => value !== undefined)
    .map(
      ([key, value]) =>
        [`cinder-cheesecake:${key}`, typeof value === "string" ? value : JSON.stringify(value)] as const,
    );
  return {
    project: "cinder-cheesecake",
    config: { "other:key": "not ours", ...Object.fromEntries(texts) },
    secretKeys: secretKeys.map((key) => `cinder-cheesecake:${key}`),
  };
}
