import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readdirSync } from "node:fs";
import { promisify } from "node:util";
import { populateLab } from "../../lab/embedded/populate";
import { missingFor } from "../../lab/lab";
import { layoutOf } from "../../lab/openstack/files";
import { pairOfLab, secretsOfLab } from "../../lab/pair";
import { connect, type Connections } from "../../lib/connections";
import { observe, previewSwitchover } from "../../lib/switchover";
import { type SitePair, sitePairSchema } from "../../lib/topology/site-pair";
import { say, sayFailures, Scene, until } from "../openstack/support";
import { skipBecause } from "../support/skip";

const run = promisify(execFile);

type Row = Record<string, string | number | null>;
const INSTANCES = 250;
const VOLUMES = 1000;
const PAGE = 1000;

/** What the simulated lab bears is also what makes its size: `lab populate`, as against what the APIs make one by one. */
describe("a populated lab (embedded)", function () {
  this.timeout(900_000);
  let scene: Scene;
  let pair: SitePair;
  let connections: Connections;

  before(async function () {
    const missing = missingFor("embedded", undefined);
    if (missing !== undefined) skipBecause(this, missing);
    scene = await Scene.open({ flavour: "embedded", instances: 1, dataPath: "files" });
    pair = sitePairSchema.parse(pairOfLab(scene.lab));
    connections = connect(pair, secretsOfLab(scene.lab));
  });
  sayFailures(() => scene);
  after(async () => {
    await connections?.close();
    await scene?.close();
  });

  const populate = (instances: number, volumesPerInstance: number) =>
    populateLab({ dir: scene.lab.dir, instances, volumesPerInstance, progress: say });
  const lunsOn = async (site: "iprod" | "idr"): Promise<{ cluster: string; maps: unknown[] }[]> => {
    const luns = (await scene.luns()) as { cluster: string; maps: unknown[] }[];
    return luns.filter(({ cluster }) => cluster === scene.lab.arrays[site].cluster);
  };
  const roots = () => readdirSync(layoutOf(scene.lab.dir).state("control", "root-volumes")).length;
  const count = async (sql: string): Promise<number> => Number(((await scene.sql(sql)) as { n: number }[])[0]?.n);
  const restart = (host: string, name: string) =>
    run(scene.lab.serviceManager, ["--lab", scene.lab.dir, "--host", host, "restart", name]);

  it("is refused before the pair is declared", async () => {
    await assert.rejects(populate(1, 1), /No backend of the pair is enabled \(.*\): declare the pair first/);
    await scene.up();
  });

  it("refuses numbers that make no sense, and more LUNs than a host sees, and makes nothing", async () => {
    await assert.rejects(populate(0, 1), /^Error: 0 instances: a whole number from 1 on is needed/);
    await assert.rejects(populate(1, 1.5), /^Error: 1.5 volumes for each instance: a whole number from 1 on is needed/);
    await assert.rejects(
      populate(2, 4096),
      /a host sees 4095 LUNs at most, and compute-1 has 0 and would get 4096 more/,
    );
    assert.deepEqual([await lunsOn("iprod"), roots()], [[], 0]);
  });

  it("leaves nothing behind where the cluster refuses something half-way", async () => {
    const { cluster } = scene.lab.arrays.iprod;
    const effect = { kind: "status", status: 400, code: "5374023", message: "no igroup today" };
    await scene.control("POST", "/faults", { cluster, method: "POST", path: "/protocols/san/igroups", effect });
    await assert.rejects(populate(2, 2), /no igroup today/);
    await scene.control("DELETE", "/faults");
    assert.deepEqual([await lunsOn("iprod"), roots()], [[], 0]);
    assert.equal(await count("SELECT COUNT(*) AS n FROM nova.instances"), 0);
    assert.equal(await count("SELECT COUNT(*) AS n FROM cinder.volumes"), 0);
  });

  it("has the rows that the APIs make, column by column", async () => {
    await populate(1, 2);
    const made = await throughTheApis(scene);
    const [populated = ""] = await uuids("populated-00001");
    assert.deepEqual(await rowsOf(populated), await rowsOf(made));
    // A project that has made one instance has the same usages, whoever made it.
    const usages = async (instance: string) => {
      const rows = (await scene.sql(
        "SELECT q.resource, q.in_use, q.reserved, q.deleted FROM cinder.quota_usages q WHERE q.project_id IN (SELECT project_id FROM nova.instances WHERE uuid = ?) ORDER BY q.resource",
        [instance],
      )) as Row[];
      return rows.map((row) => ({ ...row }));
    };
    assert.deepEqual(await usages(populated), await usages(made));
    const { servers } = await scene.cloud<{ servers: { id: string; status: string }[] }>(
      "GET",
      "compute",
      "/servers/detail?all_tenants=1&name=made-by-hand",
    );
    await scene.cloud("DELETE", "compute", `/servers/${servers[0]?.id ?? ""}`);
    await until(
      "the instance is gone",
      () => uuids("made-by-hand"),
      (found) => found.length === 0,
    );
    for (const { id, name } of await scene.volumes()) if (name.startsWith("made-by-hand")) await scene.deleteVolume(id);
  });

  /** What one look at everything, and the plan, asks of each service. */
  async function requestsOfPlan(): Promise<{
    nova: number;
    cinder: number;
    ontap: number;
    sentences: readonly string[];
  }> {
    const sent = async (url: string, since: number) =>
      ((await (await fetch(new URL("/_lab/requests", url))).json()) as { id: number }[]).filter(({ id }) => id > since)
        .length;
    const last = async (url: string) =>
      ((await (await fetch(new URL("/_lab/requests", url))).json()) as { id: number }[]).at(-1)?.id ?? 0;
    const ontapSent = (since: number) =>
      scene
        .control<{ id: number; who: string }[]>("GET", `/requests?since=${since}`)
        .then((all) => all.filter(({ who }) => who !== "cinder-volume"));
    const { compute, blockStorage } = scene.lab.endpoints;
    const before = [await last(compute), await last(blockStorage), (await ontapSent(0)).at(-1)?.id ?? 0] as const;
    const preview = await previewSwitchover({
      pair,
      intent: {
        activeSite: "idr",
        promotion: "immediate",
        hooks: [],
        requireApproval: false,
        startIncomplete: false,
      },
      state: {
        activeSite: "iprod",
        promoted: true,
        protected: true,
        observedSite: "iprod",
        status: "",
        backendRevisions: {},
      },
      ports: connections.ports,
      stack: scene.recovery,
      journalDir: scene.reports,
    });
    assert.deepEqual(preview.failures, []);
    return {
      nova: await sent(compute, before[0]),
      cinder: await sent(blockStorage, before[1]),
      ontap: (await ontapSent(before[2])).length,
      sentences: preview.sentences,
    };
  }

  it("is seen as a whole by the clients, page by page, and planned as a whole", async () => {
    const small = await requestsOfPlan();
    await populate(INSTANCES - 1, VOLUMES / INSTANCES);
    const volumes = VOLUMES - 4 + 2;
    const seen = await observe(pair, connections.ports);
    assert.equal(seen.servers.length, INSTANCES);
    assert.equal(seen.volumes["iprod"]?.length, volumes);
    assert.equal(Object.values(seen.serverAttachments).flat().length, volumes + INSTANCES);
    const array = seen.arrays["iprod"];
    assert.ok(array?.ok);
    assert.deepEqual([array.value.luns.length, array.value.lunMaps.length], [volumes, volumes]);
    assert.ok(seen.attachments.length === volumes + INSTANCES && seen.attachments.length > PAGE);

    const large = await requestsOfPlan();
    const sentences = large.sentences.join("\n");
    assert.match(sentences, new RegExp(`Stop ${INSTANCES} instances`));
    assert.match(sentences, new RegExp(`Detach ${volumes} volumes from ${INSTANCES} instances`));
    // Lists of at most a thousand, and two looks at each instance's attachments: nothing more grows.
    const pages = Math.ceil((volumes + INSTANCES) / PAGE);
    say(
      `requests of a plan: ${JSON.stringify({ ...small, sentences: 1 })} → ${JSON.stringify({ ...large, sentences: 1 })}`,
    );
    assert.ok(large.cinder <= small.cinder + 4 * pages, `Cinder: ${small.cinder} → ${large.cinder}`);
    assert.ok(large.ontap <= small.ontap + 4 * pages, `ONTAP: ${small.ontap} → ${large.ontap}`);
    assert.ok(large.nova <= small.nova + 2 * (INSTANCES - 1) + 4 * pages, `Nova: ${small.nova} → ${large.nova}`);
  });

  it("is mirrored: every LUN is at the other site after a transfer", async () => {
    await scene.transferAll("idr");
    assert.equal((await lunsOn("idr")).length, (await lunsOn("iprod")).length);
  });

  it("bears a restart of its services, and what was populated is detached and attached as anything else", async () => {
    const before = await lunsOn("iprod");
    await restart("ontap", "ontap-simulator");
    // NetApp's driver that meets no cluster when it starts stays uninitialised for good.
    await until(
      "the clusters answer",
      () => scene.mirrorsSeen().catch(() => undefined),
      (mirrors) => mirrors !== undefined,
    );
    assert.deepEqual(await lunsOn("iprod"), before);
    for (const [host, name] of [
      ["control", "nova-api"],
      ["controller-1", "cinder-api"],
      ["controller-1", "cinder-volume"],
      ...scene.lab.computes.map((compute) => [compute.name, "nova-compute"] as const),
    ] as const)
      await restart(host, name);
    const service = () => scene.volumeService("iprod").catch(() => undefined);
    const seen = await until("the service's row is read", service, (row) => row !== undefined);
    // "up" is told of a service for a while after its end, too.
    await until("the backend reports", service, (row) => row !== undefined && row.updated_at !== seen?.updated_at);
    const [server = ""] = await uuids("populated-00002");
    const own = async () =>
      (await connections.ports.compute.listServerAttachments(server)).map(({ volumeId, device }) => ({
        volumeId,
        device,
      }));
    const attachments = await own();
    const data = attachments.filter(({ device }) => device !== "/dev/vda");
    assert.deepEqual(
      data.map(({ device }) => device),
      ["/dev/vdb", "/dev/vdc", "/dev/vdd", "/dev/vde"],
    );
    for (const { volumeId } of data) await scene.detach(server, volumeId);
    assert.equal((await lunsOn("iprod")).filter(({ maps }) => maps.length === 0).length, data.length);
    for (const { volumeId } of data) await scene.attach(server, volumeId);
    assert.deepEqual(await own(), attachments);
    assert.equal((await lunsOn("iprod")).filter(({ maps }) => maps.length === 0).length, 0);
  });

  // ------------------------------------------------------------------------------------------------------------- rows

  async function uuids(name: string): Promise<string[]> {
    const rows = await scene.sql("SELECT uuid FROM nova.instances WHERE deleted = 0 AND display_name = ?", [name]);
    return (rows as { uuid: string }[]).map(({ uuid }) => uuid);
  }

  /** Every row that belongs to an instance, without what has to differ: ids, times, names, and where it happens to be. */
  async function rowsOf(instance: string): Promise<Record<string, Row[]>> {
    const mappings = (await scene.sql("SELECT * FROM nova.block_device_mapping WHERE instance_uuid = ? ORDER BY id", [
      instance,
    ])) as Row[];
    const volumes = mappings.map((mapping) => String(mapping["volume_id"]));
    const all: Record<string, Row[]> = {
      "nova.block_device_mapping": mappings,
      "cinder.volumes": [],
      "cinder.volume_attachment": [],
      "cinder.volume_glance_metadata": [],
    };
    const read = async (sql: string, id: string) => (await scene.sql(sql, [id])) as Row[];
    for (const volume of volumes) {
      all["cinder.volumes"]?.push(...(await read("SELECT * FROM cinder.volumes WHERE id = ?", volume)));
      for (const [table, order] of [
        ["volume_attachment", "created_at"],
        ["volume_glance_metadata", "id"],
      ] as const)
        all[`cinder.${table}`]?.push(
          ...(await read(`SELECT * FROM cinder.${table} WHERE volume_id = ? ORDER BY ${order}`, volume)),
        );
    }
    all["nova.instances"] = await read("SELECT * FROM nova.instances WHERE uuid = ?", instance);
    for (const table of ["instance_info_caches", "instance_actions", "instance_system_metadata"])
      all[`nova.${table}`] = await read(`SELECT * FROM nova.${table} WHERE instance_uuid = ? ORDER BY id`, instance);
    all["nova.instance_actions_events"] = await read(
      "SELECT * FROM nova.instance_actions_events WHERE action_id IN (SELECT id FROM nova.instance_actions WHERE instance_uuid = ?) ORDER BY id",
      instance,
    );
    assert.equal(all["cinder.volumes"]?.length, 3);

    const hosts = scene.lab.computes.flatMap(({ name, initiator }) => [name, initiator]);
    const words: [RegExp, string][] = [
      [/\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b/g, "<id>"],
      [/\b[0-9a-f]{32}\b/g, "<id>"],
      [/\br-[0-9a-f]{8}\b/g, "<reservation>"],
      [/populated-\d+|made-by-hand/g, "<name>"],
      [/\bpool[12]\b/g, "<pool>"],
      [new RegExp(`\\b(${hosts.join("|")})\\b`, "g"), "<host>"],
      [/"target_lun":\d+/g, '"target_lun":<n>'],
      [/"target_luns":\[\d+,\d+\]/g, '"target_luns":[<n>,<n>]'],
    ];
    const plain = (column: string, value: unknown): string | number | null => {
      if (value instanceof Date) return "<time>";
      if (value !== null && typeof value === "number" && ["id", "action_id"].includes(column)) return "<id>";
      if (typeof value !== "string") return value as number | null;
      return words.reduce((text, [pattern, word]) => text.replace(pattern, word), value);
    };
    return Object.fromEntries(
      Object.entries(all).map(([table, rows]) => [
        table,
        rows.map((row) => Object.fromEntries(Object.entries(row).map(([name, value]) => [name, plain(name, value)]))),
      ]),
    );
  }
});

/** An instance with a root and two data volumes, made one step after another; resolves to its id. */
async function throughTheApis(scene: Scene): Promise<string> {
  const volume = async (what: string, type: string, more: object = {}): Promise<string> => {
    const body = { volume: { name: `made-by-hand-${what}`, size: 1, volume_type: type, ...more } };
    const { id } = (await scene.cloud<{ volume: { id: string } }>("POST", "blockStorage", "/volumes", body)).volume;
    await until(
      `${what} is available`,
      () => scene.volumes(),
      (volumes) => volumes.some((each) => each.id === id && each.status === "available"),
    );
    return id;
  };
  const [image] = (await scene.sql(
    "SELECT value FROM cinder.volume_glance_metadata WHERE `key` = 'image_id' LIMIT 1",
  )) as { value: string }[];
  const root = await volume("root", "populated-roots", { imageRef: image?.value });
  const { flavors } = await scene.cloud<{ flavors: { id: string; name: string }[] }>("GET", "compute", "/flavors");
  const { server } = await scene.cloud<{ server: { id: string } }>("POST", "compute", "/servers", {
    server: {
      name: "made-by-hand",
      flavorRef: flavors.find(({ name }) => name === scene.lab.flavor)?.id,
      networks: "none",
      block_device_mapping_v2: [{ boot_index: 0, uuid: root, source_type: "volume", destination_type: "volume" }],
    },
  });
  await until(
    "the instance runs",
    () => scene.servers(),
    (servers) => servers.some(({ id, status }) => id === server.id && status === "ACTIVE"),
  );
  for (const what of ["vdb", "vdc"]) await scene.attach(server.id, await volume(what, "populated"));
  return server.id;
}
