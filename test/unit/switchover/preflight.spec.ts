import assert from "node:assert/strict";
import type { Intent } from "../../../lib/switchover";
import type { ArrayObservation, Observation } from "../../../lib/switchover/observation";
import type { CinderVolume, Mirror, Server } from "../../../lib/switchover/ports";
import { preflight, restartFindings } from "../../../lib/switchover/preflight";
import { DrError } from "../../../lib/errors";
import { observe } from "../../../lib/switchover/observe";
import { hookSchema } from "../../../lib/topology/hooks";
import { at, fails, journals, look, lost, operator } from "./support";
import { intentTo, pair, World } from "./world";

type Draft = { -readonly [K in keyof Observation]: Observation[K] };
type Change = (o: Draft) => void;

let observation: Observation;
before(async () => void (observation = await look(new World())));

const draft = (...changes: readonly Change[]): Observation => {
  const copy: Draft = structuredClone(observation);
  for (const change of changes) change(copy);
  return copy;
};
const planned = intentTo("idr");
const unplanned = intentTo("idr", { unplanned: lost });
const check = (intent: Intent, ...changes: readonly Change[]) => preflight(draft(...changes), intent, "iprod");
const ids = (intent: Intent, ...changes: readonly Change[]): string[] =>
  check(intent, ...changes).failures.map((finding) => finding.id);

/** Changes of the observation, each of one thing. */
const array =
  (site: string, more: Partial<ArrayObservation>): Change =>
  (o) => {
    const seen = o.arrays[site];
    assert.ok(seen?.ok === true);
    o.arrays = { ...o.arrays, [site]: { ok: true, value: { ...seen.value, ...more } } };
  };
const dead =
  (site: string): Change =>
  (o) =>
    void (o.arrays = { ...o.arrays, [site]: { ok: false, error: "no answer" } });
const mirror =
  (more: { readonly [K in keyof Mirror]?: Mirror[K] | undefined }): Change =>
  (o) => {
    const seen = o.arrays["idr"];
    assert.ok(seen?.ok === true);
    const mirrors = seen.value.mirrors.map((m, index) => (index === 0 ? ({ ...m, ...more } as Mirror) : m));
    array("idr", { mirrors })(o);
  };
const lunsAt = (o: Observation, site: string) => {
  const seen = o.arrays[site];
  assert.ok(seen?.ok === true);
  return seen.value.luns;
};
const pathsAt = (o: Observation, site: string) => {
  const seen = o.arrays[site];
  assert.ok(seen?.ok === true);
  return seen.value.lunPaths;
};
const lunAlso =
  (site: "iprod" | "idr", path: string): Change =>
  (o) =>
    array(site, { lunPaths: [...pathsAt(o, site), path] })(o);
const unmapped: Change = array("iprod", { lunMaps: [] });
const volume =
  (more: Partial<CinderVolume>): Change =>
  (o) =>
    void (o.volumes = {
      ...o.volumes,
      iprod: (o.volumes["iprod"] ?? []).map((v) => (v.id === "00" ? { ...v, ...more } : v)),
    });
const server =
  (more: Partial<Server>): Change =>
  (o) =>
    void (o.servers = o.servers.map((s) => (s.id === "server-0" ? { ...s, ...more } : s)));
const row =
  (more: object): Change =>
  (o) =>
    void (o.serviceRows = o.serviceRows.map((r) => ({ ...r, ...more })));
const stanza =
  (more: object): Change =>
  (o) =>
    void (o.controllers = o.controllers.map((c, index) => {
      const iprod = c.stanzas["iprod"];
      return index === 0 && iprod !== undefined ? { ...c, stanzas: { ...c.stanzas, iprod: { ...iprod, ...more } } } : c;
    }));
const database =
  (more: object): Change =>
  (o) => {
    assert.ok(o.database.ok);
    o.database = { ok: true, value: { ...o.database.value, ...more } };
  };
const attachments = (change: (rows: Observation["serverAttachments"][string]) => Observation["serverAttachments"][string]): Change => (o) =>
  void (o.serverAttachments = { ...o.serverAttachments, "server-0": change(o.serverAttachments["server-0"] ?? []) }); // prettier-ignore
const queue =
  (site: string): Change =>
  (o) =>
    void (o.queues = {
      ok: true,
      value: { iprod: served, [site]: [...served, { name: `q-${site}`, messages: 2, consumers: 0 }] },
    });
const served = [{ name: "q", messages: 0, consumers: 1 }];
const deaf: Change = (o) =>
  void (o.queues = { ok: true, value: { iprod: [{ name: "q", messages: 0, consumers: 0 }] } });
const queueless: Change = (o) => void (o.queues = { ok: true, value: { iprod: [], idr: [] } });
const down: Change = (o) => {
  assert.ok(o.cinderServices.ok);
  o.cinderServices = { ok: true, value: o.cinderServices.value.map((s) => ({ ...s, up: false })) };
};
const nowhere: Change = (o) =>
  void (o.controllers = o.controllers.map((c) => ({ ...c, units: c.units.map((u) => ({ ...u, active: false })) })));
/** The first mirror turned round. */
const opposite = (o: Observation): readonly Mirror[] => {
  const seen = o.arrays["idr"];
  assert.ok(seen?.ok === true);
  return seen.value.mirrors
    .slice(0, 1)
    .map((m) => ({ ...m, state: "broken_off", source: m.destination, destination: m.source }));
};
const boots: Change = attachments((rows) =>
  rows.map((r) => (r.device === "/dev/vdc" ? { ...r, device: "/dev/vda" } : r)),
);
const hook = hookSchema.parse({ name: "h", when: "before:hold", command: ["x"] });
const iscsi = { iqn: "iqn", enabled: true, portals: ["p"] };
const sick: Change = mirror({ healthy: false, unhealthyReasons: ["that"] });

describe("preflight", () => {
  it("finds nothing where nothing is wrong", () => {
    assert.deepEqual(check(planned), { route: "failover-host", routeReason: "Cinder's own failover can run", failures: [], warnings: [] });
    assert.deepEqual(ids(unplanned, dead("iprod")), []);
  }); // prettier-ignore

  it("looks for a migrated volume's LUN under its other name", () => {
    const renamed: Change = (o) => array("iprod", { luns: o.arrays["iprod"]?.ok === true ? o.arrays["iprod"].value.luns.map((l) => (l.name === "volume-00" ? { ...l, path: "/vol/pool1/volume-77", name: "volume-77" } : l)) : [] })(o);
    assert.deepEqual(ids(planned, renamed), ["lun-missing:00"]);
    assert.deepEqual(ids(planned, renamed, volume({ nameId: "77" }), unmapped), []);
    assert.deepEqual(ids(planned, volume({ nameId: "77" }), unmapped), ["lun-missing:00"]);
  }); // prettier-ignore

  it("takes the names before an instance's volumes for those of its flavour's disks", () => {
    const named = (...names: readonly string[]): Change => attachments((rows) => rows.map((r, index) => ({ ...r, device: names[index] ?? "" })));
    assert.deepEqual(ids(planned, named("/dev/vdd", "/dev/vde"), server({ localDisks: 2 })), []);
    assert.deepEqual(ids(planned, named("/dev/vdd", "/dev/vde"), server({ localDisks: 1 })), ["device-gap:server-0"]);
    assert.deepEqual(ids(planned, named("/dev/vdc", "/dev/vde"), server({ localDisks: 1 })), ["device-gap:server-0"]);
    assert.deepEqual(ids(planned, named("/dev/vdb", "/dev/vdd"), server({ localDisks: 1 })), []);
  }); // prettier-ignore

  const cases: readonly (readonly [string, Intent, ...Change[]])[] = [
    ["unplanned-from", intentTo("idr", { unplanned: { ...lost, from: "idr" } }), dead("iprod")],
    ["source-alive", unplanned],
    ["lag-unknown:pool1", unplanned, dead("iprod"), mirror({ lagSeconds: undefined })],
    ["lag-too-high:pool1", unplanned, dead("iprod"), mirror({ lagSeconds: 3601 })],
    ["array-unreachable:iprod", planned, dead("iprod")],
    ["array-unreachable:idr", planned, dead("idr")],
    ["ontap-version:iprod", planned, array("iprod", { version: "9.11.0" })],
    ["ontap-version:idr", unplanned, dead("iprod"), array("idr", { version: "8.99.2" })],
    ["svm-state:iprod", planned, array("iprod", { svmState: "stopped" })],
    ["svm-state:idr", planned, array("idr", { svmState: "stopped" })],
    ["iscsi:idr", planned, array("idr", { iscsi: { ...iscsi, enabled: false } })],
    ["iscsi:idr", planned, array("idr", { iscsi: { ...iscsi, portals: [] } })],
    ["flexvol:iprod:pool2", planned, (o) => array("iprod", { flexVols: o.arrays["iprod"]?.ok === true ? o.arrays["iprod"].value.flexVols.slice(0, 1) : [] })(o)],
    ["mirror-missing:pool1", planned, (o) => array("idr", { mirrors: o.arrays["idr"]?.ok === true ? o.arrays["idr"].value.mirrors.slice(1) : [] })(o)],
    ["mirror-state:pool1", planned, mirror({ state: "paused" })],
    ["mirror-state:pool1", planned, mirror({ state: "in_sync" })],
    ["mirror-state:pool1", planned, mirror({ state: "broken_off" })],
    ["mirror-state:pool1", unplanned, dead("iprod"), mirror({ state: "uninitialized" })],
    ["mirror-unhealthy:pool1", planned, sick],
    ["lag-day:pool1", intentTo("idr", { route: "failover-host" }), mirror({ lagSeconds: 86_400 })],
    ["mirror-coverage:other", planned, unmapped, volume({ host: "cinder@iprod#other" }), (o) => array("iprod", { luns: lunsAt(o, "iprod").map((l) => (l.name === "volume-00" ? { ...l, path: "/vol/other/volume-00", flexVol: "other" } : l)) })(o), ...(["iprod", "idr"] as const).map((site): Change => (o) => array(site, { lunPaths: pathsAt(o, site).filter((path) => !path.endsWith("/volume-00")) })(o))],
    ["lun-foreign:/vol/pool1/database", planned, array("iprod", { lunMaps: [{ lunUuid: "1", lunPath: "/vol/pool1/database", igroupUuid: "i", igroup: "i", logicalUnitNumber: 0 }] })],
    ["lun-shadowed:idr", planned, lunAlso("idr", "/vol/clone/volume-00")],
    ["lun-shadowed:iprod", planned, lunAlso("iprod", "/vol/pool2/volume-00")],
    ["lun-shadowed:iprod", planned, lunAlso("iprod", "/vol/pool1/a-qtree/volume-00")],
    ["lun-shadowed:idr", planned, (o) => void (o.snapshots = [{ id: "s", volumeId: "00", status: "available" }]), lunAlso("idr", "/vol/clone/snapshot-s")],
    ["lun-shadowed:idr", unplanned, dead("iprod"), lunAlso("idr", "/vol/clone/volume-00")],
    ["controller", planned, (o) => void (o.controllerErrors = ["no route to c2"])],
    ["stanza:c1:iprod", planned, (o) => void (o.controllers = o.controllers.map((c, i) => (i === 0 ? { ...c, stanzas: { idr: c.stanzas["idr"] ?? assert.fail() } } : c)))],
    ["replication-targets:c1:iprod", planned, stanza({ replicationDevices: ["backend_id:idr", "backend_id:third"] })],
    ["consistent-replication:c1:iprod", planned, stanza({ consistentReplication: true })],
    ["cluster:c1:iprod", planned, stanza({ clustered: true })],
    ["backend-host:c1:iprod", planned, stanza({ backendHost: "elsewhere" })],
    ["unknown-volume-host:other@iprod", planned, (o) => void (o.serviceRows = [...o.serviceRows, ...o.serviceRows.map((r) => ({ ...r, host: "other@iprod" }))])],
    ["cluster-row:cinder@iprod", planned, row({ clusterName: "c" })],
    ["service-row", planned, (o) => void (o.serviceRows = [])],
    ["service-row-twice:cinder@iprod", planned, (o) => void (o.serviceRows = [...o.serviceRows, ...o.serviceRows])],
    ["failing-over", planned, row({ replicationStatus: "failing-over" })],
    ["database", planned, (o) => void (o.database = { ok: false, error: "refused" })],
    ["database-read-only", planned, database({ readOnly: true })],
    ["database-rights", planned, database({ missingRights: ["UPDATE ON cinder.volumes"] })],
    ["database-schema", planned, database({ schemaReleases: undefined })],
    ["database-schema", intentTo("idr", { acceptSchema: "another" }), database({ schemaReleases: undefined })],
    ["cinder-api", planned, (o) => void (o.volumesError = "refused")],
    ["nova-api", planned, (o) => void (o.serversError = "refused")],
    ["volume-status:00", planned, volume({ status: "error_deleting" })],
    ["volume-status:00", planned, volume({ status: "reserved" })],
    ["volume-status:00", unplanned, dead("iprod"), volume({ status: "error" })],
    ["multiattach:00", planned, (o) => volume({ multiattach: true, attachments: [...(o.volumes["iprod"]?.find((v) => v.id === "00")?.attachments ?? []), { attachmentId: "x", serverId: "server-1", device: "/dev/vdz" }] })(o), (o) => void (o.serverAttachments = { ...o.serverAttachments, "server-1": [...(o.serverAttachments["server-1"] ?? []), { serverId: "server-1", volumeId: "00", device: "/dev/vdd", deleteOnTermination: false, attachmentId: "x" }] })],
    ["migration:00", planned, volume({ migrationStatus: "migrating" })],
    ["not-replicated:00", planned, volume({ replicationStatus: "disabled" })],
    ["no-instance:00", planned, volume({ attachments: [] }), attachments((rows) => rows.slice(1)), attachments((rows) => rows.map((r) => ({ ...r, device: "/dev/vdb" })))],
    ["lun-missing:00", planned, (o) => array("iprod", { luns: o.arrays["iprod"]?.ok === true ? o.arrays["iprod"].value.luns.filter((l) => l.name !== "volume-00") : [] })(o)],
    ["instance-unknown:server-0", planned, unmapped, (o) => void (o.servers = o.servers.filter((s) => s.id !== "server-0")), (o) => volume({})(o), (o) => void (o.volumes = { ...o.volumes, iprod: (o.volumes["iprod"] ?? []).filter((v) => v.id !== "01") })],
    ["attachment-mismatch:01", planned, attachments((rows) => rows.filter((r) => r.volumeId !== "01"))],
    ["attachment-mismatch:00", planned, volume({ status: "available", attachments: [] })],
    ["instance-status:server-0", planned, server({ status: "SUSPENDED" })],
    ["compute:server-0", planned, server({ hostStatus: "DOWN" })],
    ["compute:server-0", planned, server({ host: "unheard-of" })],
    ["ghost:server-0:77", planned, attachments((rows) => [...rows, { serverId: "server-0", volumeId: "77", deleteOnTermination: false }])],
    ["root:server-0", planned, boots],
    ["compute:server-0", unplanned, dead("iprod"), server({ host: "unheard-of", hostStatus: "MAINTENANCE" })],
    ["nova-manage", planned, boots, (o) => void (o.novaManage = { ok: false, error: "no such container" })],
    ["device-gap:server-0", planned, attachments((rows) => rows.map((r) => (r.device === "/dev/vdc" ? { ...r, device: "/dev/vdd" } : r)))],
    ["hook:h", intentTo("idr", { hooks: [hook, hook] })],
    ["route", intentTo("idr", { route: "failover-host" }), row({ replicationStatus: "failover-error" })],
    ["message-queue", planned, (o) => void (o.queues = { ok: false, error: "refused" })],
    ["queue:q-iprod", planned, queue("iprod")],
    ["volume-service", planned, down],
    ["volume-service", planned, nowhere],
    ["volume-service", planned, deaf],
    ["volume-service", planned, queueless],
    ["volume-service", planned, deaf, row({ replicationStatus: "failing-over" })],
    ["mirror-opposite:pool1", planned, (o) => array("iprod", { mirrors: opposite(o) })(o)],
  ]; // prettier-ignore
  for (const [index, [id, intent, ...changes]] of cases.entries())
    it(`finds ${id} (${index + 1}), and nothing besides`, () => {
      const { failures } = check(intent, ...changes);
      assert.deepEqual(failures.map((finding) => finding.id), [id]);
      for (const { message, remedy } of failures) assert.ok(message.length > 5 && remedy.length > 10, message);
    }); // prettier-ignore

  it("lets an instance boot from the pair where nova-manage runs", () => {
    assert.deepEqual(
      ids(planned, boots, (o) => void (o.novaManage = { ok: true, value: { controller: "c1" } })),
      [],
    );
  });

  for (const version of ["9.11.1", "9.12.0", "10.1.0"])
    it(`takes ONTAP ${version}`, () => assert.deepEqual(ids(planned, array("idr", { version })), []));

  it("asks for the loss that is acceptable, for each mirror", () => {
    const found = ids(intentTo("idr", { unplanned: { from: "iprod" } }), dead("iprod"));
    assert.deepEqual(found, ["lag-unbounded:pool1", "lag-unbounded:pool2"]);
    const anything = intentTo("idr", { unplanned: { from: "iprod", acceptUnknownLoss: true } });
    assert.deepEqual(ids(anything, dead("iprod"), mirror({ lagSeconds: undefined })), []);
  });

  it("lets an unplanned failover leave a site that answers when forced, or when it serves nothing", () => {
    assert.deepEqual(ids(intentTo("idr", { unplanned: { ...lost, force: true } })), []);
    assert.deepEqual(ids(unplanned, array("iprod", { svmState: "stopped" })), []);
  });

  it("tells how an attachment is deleted that can't be asked of a lost site", () => {
    const unknown: Change = (o) => void (o.servers = o.servers.filter(({ id }) => id !== "server-0"));
    const forgetful: Change = (o) => void (o.serverAttachments = { ...o.serverAttachments, "server-0": [] });
    for (const forgotten of [unknown, forgetful])
      for (const [intent, remedy] of [
        [planned, /delete the attachment/],
        [unplanned, /elete the attachment \(cinder reset-state --state available --attach-status detached 0\d\)/],
      ] as const)
        for (const failure of check(intent, ...(intent === unplanned ? [dead("iprod")] : []), forgotten).failures)
          assert.match(failure.remedy, remedy);
  });

  it("leaves the volumes of an instance that is deleted by Nova's own word, unplanned alone", async () => {
    const world = new World();
    world.servers.delete("server-0");
    const gone = await look(world);
    assert.deepEqual(gone.deletedServers, { "server-0": "gone" });
    assert.equal(preflight(gone, planned, "iprod").failures[0]?.id, "instance-unknown:server-0");
    const afterwards = (o: Observation): string =>
      preflight({ ...o, arrays: { ...o.arrays, iprod: { ok: false, error: "no answer" } } }, unplanned, "iprod").warnings.join();
    assert.match(afterwards(gone), /server-0, .* holds "v00" \(00\), "v01" \(01\): .*--attach-status detached 00 01\)/);
    assert.match(afterwards({ ...gone, deletedServers: { "server-0": "soft-deleted" } }), /server-0.*openstack server delete --force/);

    const ports = new World().ports();
    const unlisted = { ...ports.compute, listServers: async () => [] };
    for (const [status, deleted] of [["SOFT_DELETED", "soft-deleted"], ["DELETED", "gone"], ["UNKNOWN", undefined], [500, undefined], [404, "gone"]] as const) {
      const getServer = async (id: string): Promise<Server> => {
        if (typeof status === "string") return { ...(await ports.compute.getServer(id)), status };
        throw new DrError({ code: "remote", attempted: "Read it", seen: `status ${status}`, context: { status } });
      };
      const { deletedServers } = await observe(pair, { ...ports, compute: { ...unlisted, getServer } });
      assert.equal(deletedServers["server-0"], deleted, String(status));
    }
  }); // prettier-ignore

  it("finds everything at once", () => {
    const found = ids(planned, dead("idr"), server({ status: "SUSPENDED" }), volume({ status: "error" }), database({ readOnly: true }));
    assert.deepEqual(found, ["array-unreachable:idr", "database-read-only", "volume-status:00", "instance-status:server-0"]);
  }); // prettier-ignore

  const warnings: readonly (readonly [string, RegExp, Intent, ...Change[]])[] = [
    ["a volume that is about to be at rest", /v00.*is extending; the switchover waits/, planned, volume({ status: "extending" })],
    ["an instance in a task", /in task rebooting/, planned, server({ taskState: "rebooting" })],
    ["a lag above its target", /80000 s behind.*takes longer/, planned, mirror({ lagSeconds: 80_000 })],
    ["what an unhealthy mirror means unplanned", /unhealthy: that/, unplanned, dead("iprod"), sick],
    ["a failed transfer", /last transfer of .* failed/, planned, mirror({ transfer: { state: "failed" } })],
    ["LUN maps left at the destination", /1 LUN maps were left at "idr"/, planned, array("idr", { lunMaps: [{ lunUuid: "1", lunPath: "p", igroupUuid: "i", igroup: "i", logicalUnitNumber: 0 }] })],
    ["types that resolve at one site only", /volume_backend_name differs/, planned, stanza({ volumeBackendName: "other" })],
    ["a Keystone without TLS", /^openstack.authUrl http:\/\/keystone:5000 has no TLS: openstackSecret and tokens cross/m, planned, (o) => void (o.pair = { ...o.pair, openstack: { ...o.pair.openstack, authUrl: "http://keystone:5000/v3" } })],
    ["Galera", /Galera/, planned, database({ wsrepOn: true })],
    ["an unknown schema that was accepted", /schema head .*accepted; unknown columns .*: volumes.new_host/, intentTo("idr", { acceptSchema: "head" }), database({ schemaReleases: undefined, undecidedColumns: ["volumes.new_host"] })],
    ["acceptSchema that isn't needed", /acceptSchema isn't needed/, intentTo("idr", { acceptSchema: "head" })],
    ["a column that nobody decided about", /changed locally.*volumes.new_host/, planned, database({ undecidedColumns: ["volumes.new_host"] })],
    ["messages that wait for the other site", /2 messages wait in q-idr/, planned, queue("idr")],
    ["a volume in error that nobody uses, unplanned", /v00.*is error; it's moved/, unplanned, dead("iprod"), volume({ status: "error", attachments: [] }), attachments((rows) => rows.map((r) => (r.volumeId === "00" ? { ...r, volumeId: "elsewhere" } : r)))],
    ["a host that uses a volume, unplanned", /v00.* is in use on metal, but by no instance; it's moved/, unplanned, dead("iprod"), volume({ attachments: [{ attachmentId: "b", serverId: "", device: "", host: "metal" }] }), attachments((rows) => rows.map((r) => (r.volumeId === "00" ? { ...r, volumeId: "elsewhere" } : r)))],
    ["a missing LUN, unplanned", /v00.* has no LUN/, intentTo("idr", { unplanned: { ...lost, force: true } }), (o) => array("iprod", { luns: [] })(o)],
    ["a foreign LUN, unplanned", /database.* is mapped to i, and isn't a volume .*: whoever uses it isn't moved/, intentTo("idr", { unplanned: { ...lost, force: true } }), array("iprod", { lunMaps: [{ lunUuid: "1", lunPath: "/vol/pool1/database", igroupUuid: "i", igroup: "i", logicalUnitNumber: 0 }] })],
    ["an instance on a host that was forced down, unplanned", /"server-0".* was forced down: .*evacuate it afterwards/, unplanned, dead("iprod"), server({ host: "gone", hostStatus: "DOWN" })],
    ["an instance whose volume Nova alone has attached, unplanned", /"server-0".* has "v00" \(00\), which Cinder has as available: .*"v00" \(00\) at \/dev\/vdb, "v01" \(01\) at \/dev\/vdc \(a hard reboot .*unlock it/, unplanned, dead("iprod"), volume({ status: "available", attachments: [] })],
    ["a shelved instance", /"server-0".* is shelved and on no host/, planned, server({ status: "SHELVED_OFFLOADED" })],
    ["a snapshot that is being made", /snapshot s is creating; the switchover waits/, planned, (o) => void (o.snapshots = [{ id: "s", volumeId: "00", status: "creating" }])],
    ["somebody who holds the lease", /held by me on here/, planned, (o) => void (o.lease = { pair: "pair", owner: "me", host: "here", pid: 1, stack: "s", planDigest: "", token: "t", acquiredAt: "", expiresAt: "", expired: false })],
  ]; // prettier-ignore
  for (const [name, expected, intent, ...changes] of warnings)
    it(`warns of ${name}`, () => {
      const { failures, warnings: said } = check(intent, ...changes);
      assert.deepEqual(failures, []);
      assert.match(said.join("\n"), expected);
    });

  const routes: readonly (readonly [string, RegExp, Intent, ...Change[]])[] = [
    ["failover-host", /can run/, planned],
    ["failover-host", /asked for/, intentTo("idr", { route: "failover-host" })],
    ["direct", /asked for/, intentTo("idr", { route: "direct" })],
    ["direct", /replication_status is failover-error/, planned, row({ replicationStatus: "failover-error" })],
    ["direct", /cinder-volume of cinder@iprod is down/, unplanned, dead("iprod"), down],
    ["direct", /runs on no controller/, unplanned, dead("iprod"), nowhere],
    ["direct", /no cinder-volume consumes the queue of cinder@iprod/, unplanned, dead("iprod"), deaf],
    ["direct", /no cinder-volume consumes the queue of cinder@iprod/, unplanned, dead("iprod"), queueless],
    ["direct", /consumes the queue.*replication_status is failing-over/, unplanned, dead("iprod"), deaf, row({ replicationStatus: "failing-over" })],
    ["direct", /a day or more behind/, intentTo("idr", { unplanned: { from: "iprod", acceptLossSeconds: 1e6 } }), dead("iprod"), mirror({ lagSeconds: 86_400 })],
    ["failover-host", /can run/, planned, mirror({ lagSeconds: 86_400 })],
    ["direct", /1 volumes aren't replicated in Cinder's eyes/, unplanned, dead("iprod"), volume({ replicationStatus: "not-capable" })],
    ["direct", /asked for/, intentTo("idr", { route: "direct" }), volume({ replicationStatus: "disabled" })],
    ["direct", /ended as failed, which NetApp's driver refuses/, unplanned, dead("iprod"), mirror({ transfer: { state: "failed" } })],
    ["failover-host", /can run/, unplanned, dead("iprod"), mirror({ transfer: { state: "transferring" } })],
  ]; // prettier-ignore
  for (const [route, reason, intent, ...changes] of routes)
    it(`chooses ${route}: ${reason.source} (${intent.unplanned === undefined ? "planned" : "unplanned"})`, () => {
      const checked = check(intent, ...changes);
      assert.equal(checked.route, route);
      assert.match(checked.routeReason, reason);
      assert.deepEqual(checked.failures, []);
    });
});

describe("a restart of the active site's cinder-volume", () => {
  const restart = (...changes: readonly Change[]): string[] => restartFindings(draft(...changes), "iprod").map(({ id }) => id);
  const destinations = (type: string, mirrors?: readonly Mirror[]): Change => (o) => {
    const seen = o.arrays["idr"];
    assert.ok(seen?.ok === true);
    array("idr", { flexVols: seen.value.flexVols.map((v) => ({ ...v, type })), ...(mirrors === undefined ? {} : { mirrors }) })(o);
  };
  const alone: Change = (o) => void (o.controllers = o.controllers.map((c) => ({ ...c, stanzas: { iprod: { ...(c.stanzas["iprod"] ?? assert.fail()), replicationDevices: [] } } })));

  it("is free of hazards while every mirror runs, while the other site is gone, or without replication_device", () => {
    assert.deepEqual(restart(), []);
    assert.deepEqual(restart(dead("idr")), []);
    assert.deepEqual(restart(mirror({ state: "broken_off" }), alone), []);
    assert.deepEqual(restart(destinations("dp", [])), []);
  });

  it("would overwrite what was broken off, or has no mirror and is writable", () => {
    assert.deepEqual(restart(mirror({ state: "broken_off" })), ["restart-resyncs:pool1"]);
    assert.deepEqual(restart(destinations("rw", [])), ["restart-resyncs:pool1", "restart-resyncs:pool2"]);
  });

  it("wouldn't come up without its own array, and runs what waits for it", () => {
    assert.deepEqual(restart(dead("iprod")), ["array-unreachable:iprod"]);
    assert.deepEqual(restart(queue("iprod")), ["queue:q-iprod"]);
  });
}); // prettier-ignore

describe("a refusal", () => {
  const journalDir = journals();

  it("tells every unmet precondition with its remedy, as sentences", async () => {
    const world = new World();
    world.reachable.iprod = world.reachable.idr = false;
    const told =
      /2 preconditions aren't met:\n {2}✗ the array of "iprod" can't be asked: Ask iprod: no answer\. Repair it; .*\n {2}✗ the array of "idr" can't be asked: Ask idr: no answer\. Repair it: /;
    await assert.rejects(operator(world, journalDir()).up(intentTo("idr"), at("iprod")), fails("precondition", told));
  });
});
