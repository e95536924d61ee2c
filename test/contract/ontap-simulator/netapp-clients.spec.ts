import { strict as assert } from "node:assert";
import { execFile } from "node:child_process";
import { existsSync, writeFileSync } from "node:fs";
import * as path from "node:path";
import { promisify } from "node:util";
import { peer, startPair, type Pair } from "./support";

const run = promisify(execFile);

/** The first Python of these that can import the module, or the reason why there is none. */
async function pythonWith(
  module: string,
  variables: readonly string[],
): Promise<{ python: string } | { reason: string }> {
  const tried: string[] = [];
  for (const variable of variables) {
    const python = process.env[variable];
    if (python === undefined || !existsSync(python)) tried.push(`${variable} names no Python`);
    else {
      try {
        await run(python, ["-c", `import ${module}`]);
        return { python };
      } catch {
        tried.push(`${variable}: ${python} has no ${module}`);
      }
    }
  }
  return { reason: tried.join("; ") };
}

/** What a script printed on its last line; certificates are checked against the test's own, not against the machine's. */
async function lastLine(python: string, script: string, args: readonly string[]): Promise<Record<string, unknown>> {
  const env = { ...process.env };
  delete env["REQUESTS_CA_BUNDLE"];
  delete env["CURL_CA_BUNDLE"];
  const { stdout } = await run(python, [path.join(__dirname, script), ...args], { env, maxBuffer: 1 << 26 });
  return JSON.parse(stdout.trim().split("\n").at(-1) ?? "{}") as Record<string, unknown>;
}

describe("NetApp's own clients against the simulator", function () {
  this.timeout(180_000);
  let pair: Pair;
  beforeEach(async () => {
    pair = await startPair();
  });
  afterEach(() => pair.close());

  it("accepts the official Python client through a mirror's whole life", async function () {
    const found = await pythonWith("netapp_ontap", ["CINDER_CHEESECAKE_NETAPP_PYTHON", "CINDER_CHEESECAKE_PYTHON"]);
    if ("reason" in found) {
      console.log(`      skipped: ${found.reason}`);
      return this.skip();
    }
    const password = path.join(pair.dir, "password");
    writeFileSync(password, "secret-of-the-test", { mode: 0o600 });
    const [a, b] = pair.simulator.clusters;
    const seen = await lastLine(found.python, "netapp_client.py", [
      a?.address ?? "",
      String(a?.port),
      b?.address ?? "",
      String(b?.port),
      password,
    ]);
    const { target, ...rest } = seen;
    assert.match(String(target), /^iqn\.1992-08\.com\.netapp:sn\.[0-9a-f]{32}:vs\.\d+$/);
    assert.deepEqual(rest, {
      version: [9, 16, 1],
      nodes: 2,
      peer: ["available"],
      svm_peer_initiated: "initiated",
      svm_peer_pending: "pending",
      volume: ["rw", "online", "flexvol"],
      serial: 12,
      maps: [1],
      portals: ["127.77.1.1"],
      svm: "running",
      paged: 2,
      snapshots: ["mine"],
      policy: "async",
      created: "uninitialized",
      initialised: "snapmirrored",
      updated: "update",
      transfers: ["success", "success"],
      quiesced: "paused",
      broken: "broken_off",
      destination_snapshots: 3,
      resynced: ["snapmirrored", "resync"],
      left_at_b: 0,
      destinations_at_b: 1,
      reversed: ["snapmirrored", "svm_dr:work"],
      busy: "job failed",
      left_at_a: 0,
      volumes_left: true,
    });
    assert.deepEqual(pair.simulator.unknown(), []);
  });

  it("accepts NetApp's Cinder driver from start-up through a failover", async function () {
    const found = await pythonWith("cinder.volume.drivers.netapp.common", ["CINDER_CHEESECAKE_PYTHON"]);
    if ("reason" in found) {
      console.log(`      skipped: ${found.reason}`);
      return this.skip();
    }
    await peer(pair);
    const stanza = (name: string, i: number, other: string): string => `[${name}]
volume_driver = cinder.volume.drivers.netapp.common.NetAppDriver
volume_backend_name = ${name}
netapp_storage_family = ontap_cluster
netapp_storage_protocol = iscsi
netapp_use_legacy_client = False
netapp_allow_zapi_fallback = False
netapp_transport_type = https
netapp_ssl_cert_path = ${pair.dir}/server.crt
netapp_server_hostname = ${pair.simulator.clusters[i]?.address ?? ""}
netapp_server_port = ${pair.simulator.clusters[i]?.port ?? 0}
netapp_login = admin
netapp_password = secret-of-the-test
netapp_vserver = svm_${pair.simulator.clusters[i]?.name ?? ""}
netapp_lun_space_reservation = disabled
netapp_pool_name_search_pattern = vol[0-9]+
netapp_snapmirror_quiesce_timeout = 20
replication_device = backend_id:${other}
netapp_replication_aggregate_map = backend_id:${other},aggr1:aggr1
`;
    const conf = path.join(pair.dir, "cinder.conf");
    writeFileSync(
      conf,
      `[DEFAULT]\nstate_path = ${pair.dir}\nmy_ip = 127.0.0.1\n[oslo_concurrency]\nlock_path = ${pair.dir}\n${stanza("iprod", 0, "idr")}${stanza("idr", 1, "iprod")}`,
      { mode: 0o600 },
    );
    const seen = (await lastLine(found.python, "cinder_driver.py", [conf, "iprod", "idr"])) as Record<
      string,
      Record<string, Record<string, unknown>>
    >;
    assert.deepEqual(seen["pools"], ["vol1", "vol2"]);
    assert.equal(seen["mirror"], "snapmirrored");
    assert.deepEqual(seen["failover"], { active: "idr", status: ["failed-over"] });
    const [before, after] = [seen["connection"]?.["data"], seen["connection_after"]?.["data"]];
    assert.equal(before?.["target_portal"], "127.77.1.1:3260");
    assert.equal(after?.["target_portal"], "127.77.2.1:3260");
    assert.notEqual(before?.["target_iqn"], after?.["target_iqn"]);
    assert.equal(before?.["target_lun"], 1);
    assert.deepEqual(pair.simulator.unknown(), []);
  });
});
