import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { runGuest } from "../../lab/guest/main";
import { missingForLab } from "../../lab/openstack/up";
import { pairOfLab } from "../../lab/pair";
import { skipBecause } from "../support/skip";
import { setIscsi } from "./site-pair";
import { say, sayFailures, Scene, type Server, type Site, until } from "./support";

const FILL_BYTES = 1 << 20;
/** The second one boots from a volume of the pair. */
const disks: Readonly<Record<string, readonly string[]>> = { "guest-01": ["vdb"], "guest-root": ["vda", "vdb"] };
const key = "cinder-cheesecake:pair";

/** Two instances on a real cloud, one of which boots from a volume of the pair. */
describe("an instance that boots from the pair", function () {
  this.timeout(900_000);
  let scene: Scene;
  /** By "instance device": sha256 of what was filled in last. */
  let fills = new Map<string, string>();

  before(async function () {
    const missing = missingForLab(process.env["CINDER_CHEESECAKE_PYTHON"]);
    if (missing !== undefined) skipBecause(this, missing);
    scene = await Scene.open({ instances: 1 });
    scene.configure({ pair: pairOfLab(scene.lab), promotion: "immediate" });
  });
  sayFailures(() => scene);
  after(() => scene?.close());

  // -------------------------------------------------------------------------------------------------------------- bytes

  async function guest<T>(instance: string, verb: string, ...args: string[]): Promise<T> {
    const lines: string[] = [];
    const errors: string[] = [];
    const code = await runGuest([verb, "--lab", scene.lab.dir, "--instance", instance, "--json", ...args], {
      out: (line) => void lines.push(line),
      err: (line) => void errors.push(line),
    });
    if (code !== 0) throw new Error(`guest ${verb} ended with ${code}: ${errors.join("\n")}`);
    return JSON.parse(lines.at(-1) ?? "") as T;
  }

  const record = (): string => path.join(scene.lab.dir, "roots-breadcrumbs.jsonl");

  /** A file on every disk, roots too, that says where and when, and new bytes behind its filesystem. */
  async function write(stage: string): Promise<void> {
    for (const [instance, devices] of Object.entries(disks)) {
      const device = ["--device", devices.join(",")];
      await guest(instance, "breadcrumb", ...device, "--stage", stage, "--record", record());
      const seed = ["--bytes", String(FILL_BYTES), "--seed", stage];
      for (const one of await guest<{ device: string; result: string }[]>(instance, "fill", ...device, ...seed))
        fills.set(`${instance} ${one.device}`, one.result);
    }
  }

  async function assertBytes(): Promise<void> {
    const seen = new Map<string, string>();
    for (const [instance, devices] of Object.entries(disks)) {
      await guest(instance, "check", "--expected", record());
      const asked = ["--device", devices.join(","), "--bytes", String(FILL_BYTES)];
      for (const one of await guest<{ device: string; result: { fill: string } }[]>(instance, "hash", ...asked))
        seen.set(`${instance} ${one.device}`, one.result.fill);
    }
    assert.deepEqual(seen, fills);
  }

  // ------------------------------------------------------------------------------------------------------------ systems

  async function serverNamed(name: string): Promise<Server | undefined> {
    return (await scene.servers()).find((server) => server.name === name);
  }

  /** Names and states of Cinder's attachments to an instance, by device. */
  async function attachmentsOf(volumeId: string): Promise<{ id: string; status: string }[]> {
    const below = `/attachments?all_tenants=1&volume_id=${volumeId}`;
    return (await scene.cloud<{ attachments: { id: string; status: string }[] }>("GET", "blockStorage", below))
      .attachments;
  }

  /** The same from the database: for a moment that is over soon, and where a later step stops Cinder's API. */
  async function attachmentRowsOf(volumeId: string): Promise<{ id: string; status: string }[]> {
    const where = "FROM cinder.volume_attachment WHERE deleted = 0 AND volume_id = ?";
    return (await scene.sql(`SELECT id, attach_status AS status ${where}`, [volumeId])) as {
      id: string;
      status: string;
    }[];
  }

  async function rootVolume(): Promise<string> {
    const volume = (await scene.volumes()).find(({ name }) => name === "guest-root-root");
    return volume?.id ?? assert.fail("guest-root has no root");
  }

  async function lunMaps(site: Site): Promise<string[]> {
    const maps = await scene.onArray(site, (client) => client.listLunMaps(scene.flexVols()));
    return maps.map(({ lunPath }) => lunPath.replace(/^.*volume-/, "")).sort();
  }

  /** Everything runs at the site, on its devices, each volume attached once, mapped there, its bytes what was written. */
  async function assertAt(site: Site): Promise<void> {
    assert.deepEqual(
      (await scene.servers()).map(({ name, status, locked }) => ({ name, status, locked })),
      Object.keys(disks).map((name) => ({ name, status: "ACTIVE", locked: false })),
    );
    const volumes = (await scene.volumes()).filter((volume) => volume.name !== "guest-01-root");
    for (const volume of volumes) {
      assert.ok(volume["os-vol-host-attr:host"].startsWith(`${scene.lab.volumeHost}@${site}#`), JSON.stringify(volume));
      assert.deepEqual([volume.status, (await attachmentsOf(volume.id)).map(({ status }) => status)], ["in-use", ["attached"]]);
    }
    const root = (await scene.volumes()).find(({ name }) => name === "guest-root-root");
    assert.deepEqual(root?.attachments.map(({ device }) => device), ["/dev/vda"]);
    assert.deepEqual(await lunMaps(site), volumes.map(({ id }) => id).sort());
    await assertBytes();
  } // prettier-ignore

  async function status(): Promise<unknown> {
    return (await scene.pulumi.outputs(scene.recovery))["status"];
  }
  const normal = (site: Site): string => `active at ${site} (${scene.lab.volumeHost}@${site}), protected`;

  /** The report names the root with where it led before, and where it leads. */
  function assertRootInReport(from: Site, to: Site): void {
    const report = scene.lastReport();
    const [root, data] = report.servers.find((server) => server.name === "guest-root")?.attachments ?? [];
    assert.deepEqual([root?.device, data?.device], ["/dev/vda", "/dev/vdb"]);
    for (const [connection, site] of [[root?.before, from], [root?.after, to]] as const)
      assert.ok(
        scene.lab.arrays[site].iscsiAddresses.some((address) => connection?.portal?.startsWith(`${address}:`)),
        JSON.stringify(root),
      );
  } // prettier-ignore

  it("is there, at iprod, beside one that doesn't", async () => {
    scene.configure({ activeSite: "iprod", unplanned: undefined, reprotect: undefined });
    await scene.up();
    await scene.up({ stack: scene.pulumi.testLabStack });
    if ((await serverNamed("guest-root")) === undefined) {
      const root = await scene.createVolume("guest-root-root", "netapp_iscsi");
      await scene.cloud("POST", "blockStorage", `/volumes/${root}/action`, { "os-set_bootable": { bootable: true } });
      const { flavors } = await scene.cloud<{ flavors: { id: string }[] }>("GET", "compute", "/flavors");
      const boot = { boot_index: 0, uuid: root, source_type: "volume", destination_type: "volume" };
      const server = { name: "guest-root", flavorRef: flavors[0]?.id, networks: "none", block_device_mapping_v2: [boot] };
      await scene.cloud("POST", "compute", "/servers", { server });
      const made = await until("guest-root runs", () => serverNamed("guest-root"), (seen) => seen?.status === "ACTIVE");
      await scene.attach(made?.id ?? "", await scene.createVolume("guest-root-data", "netapp_iscsi"));
    }
    if (!existsSync(record()))
      for (const [instance, devices] of Object.entries(disks)) await guest(instance, "mkfs", "--device", devices.join(","));
    await write("at-first");
    await assertAt("iprod");
  }); // prettier-ignore

  it("can't be moved without nova-manage: refused by its name, and nothing is changed", async () => {
    const pair = pairOfLab(scene.lab);
    const { novaManage, ...without } = pair;
    const cases = [
      { wrong: without, says: /instance "guest-root" .* boots from volume .* no host of it is configured.*novaManage/s },
      { wrong: { ...pair, novaManage: { ...novaManage, command: ["/nonexistent/nova-manage"] } }, says: /nova-manage, which moves their roots, can't be used/ },
      { wrong: { ...pair, novaManage: { ...novaManage, command: [scene.lab.novaManage.program, "--config-file", scene.lab.computes[0]?.novaConf] } }, says: /can't be used: .*ended with 1/s },
    ];
    for (const { wrong, says } of cases)
      await scene.withConfiguration(
        (config) => void Object.assign(config, { [key]: wrong, "cinder-cheesecake:activeSite": "idr" }),
        async () => {
          const before = await scene.everything();
          assert.match((await scene.refused()).replaceAll(/\s+/g, " "), says);
          assert.deepEqual(await scene.everything(), before);
        },
      );
  }); // prettier-ignore

  it("gets its root back where the switchover is given up after it was unmapped", async () => {
    await write("before-abort");
    const root = await rootVolume();
    scene.configure({ activeSite: "idr" });
    assert.ok(await scene.killedUp(/ running .*final-sync\/update-mirrors: Update/, "tree"));
    assert.deepEqual(await lunMaps("iprod"), []);
    assert.equal((await attachmentsOf(root)).length, 1);
    await scene.cancel();
    await scene.flip("iprod");
    assert.equal(scene.lastReport().verdict, "aborted");
    assert.equal(await status(), normal("iprod"));
    await assertAt("iprod");
  });

  it("moves to idr without losing a byte, its root unmapped at iprod before the final transfer began", async () => {
    await write("before-planned");
    const since = await scene.lastMutation();
    const root = await rootVolume();
    const report = await scene.flip("idr");
    assert.deepEqual([report.verdict, report.mode, report.rpoSeconds], ["completed", "planned", 0]);
    assertRootInReport("iprod", "idr");
    assert.equal(await status(), normal("idr"));
    await assertAt("idr");
    assert.deepEqual(await lunMaps("iprod"), []);
    const mutations = (await scene.mutations(since)).filter(({ status: answered }) => (answered ?? 500) < 300);
    const unmapped = mutations.findLast((m) => m.method === "DELETE" && m.path.includes("/lun-maps/") && m.cluster === scene.lab.arrays.iprod.cluster);
    const transfers = mutations.filter((m) => m.method === "POST" && /\/transfers/.test(m.path));
    assert.ok(unmapped !== undefined && transfers.length >= 4);
    // The ones before it are of the pre-sync; after it the engine's final ones, and the driver's own.
    assert.equal(transfers.filter(({ id }) => id < unmapped.id).length, 2);
    assert.match(scene.printed, new RegExp(`removing a LUN map: /vol/pool\\d/volume-${root}`));
  }); // prettier-ignore

  for (const moment of ["its new attachment is there", "its former attachment is gone"])
    it(`fails back over a nova-manage that is killed when ${moment}`, async () => {
      const from = (await status()) === normal("idr") ? "idr" : "iprod";
      const to = from === "idr" ? "iprod" : "idr";
      await write(`before-kill ${moment}`.replaceAll(" ", "-"));
      const root = await rootVolume();
      const [former] = await attachmentsOf(root);
      scene.configure({ activeSite: to });
      let watched: Promise<void> | undefined;
      let killed: string | undefined;
      await scene.up({
        anyCode: true,
        onLine: (line) => {
          if (!/ running .*attach\/renew-roots: Renew/.test(line)) return;
          watched ??= (async () => {
            const seen = await until(
              moment,
              () => attachmentRowsOf(root),
              (rows) => (moment.startsWith("its new") ? rows.length > 1 : rows.every(({ id }) => id !== former?.id)),
              60_000,
              10,
            );
            killed = seen.map(({ status: state }) => state).join();
            scene.killTree();
            say(`killed; its attachments: ${killed}`);
          })();
        },
      });
      await watched;
      assert.ok(killed !== undefined, "nobody was killed");
      await scene.cancel();
      const { code, output } = await scene.up({ anyCode: true });
      if (code !== 0) {
        // The one point that only an administrator's password gets past: what the error says is done, and `up` goes on.
        const left = /volume attachment delete ([0-9a-f-]{36})/.exec(output.replaceAll(/\s+/g, " "))?.[1];
        assert.ok(left !== undefined, output);
        await scene.cloud("DELETE", "blockStorage", `/attachments/${left}`);
        await scene.up();
      }
      const report = scene.lastReport();
      assert.deepEqual([report.verdict, report.to, report.resumes], ["completed", to, code === 0 ? 1 : 2]);
      assertRootInReport(from, to);
      assert.equal(await status(), normal(to));
      await assertAt(to);
    });

  it("comes up at idr after iprod was lost, with what was transferred; then is protected anew and fails back", async () => {
    if ((await status()) !== normal("iprod")) await scene.flip("iprod");
    await write("before-loss");
    await scene.transferAll("idr");
    const kept = new Map(fills);
    const lines = readFileSync(record(), "utf8");
    // Neither its API nor a path to its LUNs answers any more.
    await setIscsi(scene.lab, "iprod", false);
    await scene.setReachable("iprod", false);
    try {
      const report = await scene.flip("idr", { unplanned: { from: "iprod", acceptLossSeconds: 7200 } });
      assert.deepEqual([report.verdict, report.mode, report.lostVolumes], ["completed", "unplanned", []]);
      assertRootInReport("iprod", "idr");
      fills = kept;
      assert.equal(readFileSync(record(), "utf8"), lines);
      await assertAt("idr");
    } finally {
      await scene.setReachable("iprod", true);
      await setIscsi(scene.lab, "iprod", true);
    }
    await scene.flip("idr", { unplanned: undefined, reprotect: "discardDiverged" });
    scene.configure({ reprotect: undefined });
    assert.equal(await status(), normal("idr"));
    assert.deepEqual(await lunMaps("iprod"), []);
    await write("before-return");
    await scene.flip("iprod");
    assert.equal(await status(), normal("iprod"));
    await assertAt("iprod");
  });

  it("leaves no connector and no secret in what was printed, journalled and reported", async () => {
    const texts = new Map([...scene.reportTexts(), ["what was printed", scene.printed]]);
    const forbidden = [...scene.secrets(), ...scene.lab.computes.map(({ name, initiator }) => [`initiator of ${name}`, initiator])];
    for (const [file, text] of texts)
      for (const [what, secret] of forbidden) assert.ok(!text.includes(secret ?? ""), `${what} is in ${file}`);
  }); // prettier-ignore
});
