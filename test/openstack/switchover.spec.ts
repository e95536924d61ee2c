import assert from "node:assert/strict";
import { appendFileSync } from "node:fs";
import { missingForLab } from "../../lab/openstack/up";
import { skipBecause } from "../support/skip";
import { otherSite, say, Scene, type Site, until } from "./support";

/** The product through its own command line on a real cloud: one lab, one scenario after another. */
describe("the switchover by Pulumi's command line", function () {
  this.timeout(900_000);
  let scene: Scene;

  before(async function () {
    const missing = missingForLab(process.env["CINDER_CHEESECAKE_PYTHON"]);
    if (missing !== undefined) skipBecause(this, missing);
    scene = await Scene.open();
  });

  after(() => scene?.close());

  /** Where a scenario begins: promoted, protected, its bytes written. */
  async function at(site: Site): Promise<void> {
    const outputs = await scene.pulumi.outputs(scene.recovery);
    const normal = `active at ${site} (${scene.lab.volumeHost}@${site}), protected`;
    if (outputs["status"] !== normal) await scene.flip(site, { promotion: "immediate" });
    await assertNormal(site);
  }

  /** Everything runs, at the site, in its place, protected. */
  async function assertNormal(site: Site): Promise<void> {
    const outputs = await scene.pulumi.outputs(scene.recovery);
    assert.equal(outputs["status"], `active at ${site} (${scene.lab.volumeHost}@${site}), protected`);
    await assertInstancesRun();
    const volumes = (await scene.volumes()).filter(({ name }) => !name.endsWith("-root"));
    for (const volume of volumes) {
      assert.ok(volume["os-vol-host-attr:host"].startsWith(`${scene.lab.volumeHost}@${site}#`), JSON.stringify(volume));
      assert.equal(volume.status, "in-use");
    }
    const [own, other] = await Promise.all([scene.volumeService(site), scene.volumeService(otherSite(site))]);
    assert.deepEqual([own?.status, own?.state, own?.replication_status], ["enabled", "up", "enabled"]);
    if (other !== undefined) assert.equal(other.status, "disabled");
  }

  async function assertInstancesRun(): Promise<void> {
    const seen = (await scene.servers()).map(({ name, status, locked }) => ({ name, status, locked }));
    const running = ["guest-01", "guest-02", "guest-03"].map((name) => ({ name, status: "ACTIVE", locked: false }));
    assert.deepEqual(seen, running);
  }

  /** Neither a plain `up` nor one that looks at everything first finds anything to do, or does it. */
  async function assertNothingLeft(): Promise<void> {
    for (const stack of [scene.recovery, scene.pulumi.testLabStack])
      for (const more of [[], ["--refresh"]]) {
        const before = await scene.lastMutation();
        const { output } = await scene.up({ stack, more, quiet: true });
        assert.doesNotMatch(output, /\d+ (created|updated|deleted|replaced|changed)/, `${stack} ${more.join()}\n${output}`);
        assert.match(output, /\d+ unchanged/);
        assert.deepEqual(await scene.mutations(before), []);
      }
  }

  function withoutOurs(conf: string): string {
    return conf
      .replace(/^\[(iprod|idr)\]\n(?:(?!\[).*\n?)*/gm, "")
      .replace(/^enabled_backends.*$/m, "")
      .trim();
  }

  describe("at first", () => {
    it("activates iprod, and changes nothing of cinder.conf but its own", async () => {
      const odd = "\n# Kept for later\n[elsewhere]\nreplication_device=backend_id:a,x:1\n; as told\nreplication_device = backend_id:b\n";
      if (!scene.cinderConf(0).includes("[elsewhere]"))
        for (const { cinderConf } of scene.lab.controllers) appendFileSync(cinderConf, odd);
      const before = scene.lab.controllers.map((_, controller) => scene.cinderConf(controller));
      await scene.up();
      scene.lab.controllers.forEach((_, controller) => {
        const conf = scene.cinderConf(controller);
        assert.match(conf, /^enabled_backends\s*=\s*loweropenstack1,\s*iprod$/m);
        assert.equal(withoutOurs(conf), withoutOurs(before[controller] ?? ""));
      });
      const { status } = await scene.pulumi.outputs(scene.recovery);
      assert.equal(status, `active at iprod (${scene.lab.volumeHost}@iprod), protected`);
    });

    it("has instances with two data volumes each, which write", async () => {
      await scene.pulumi.set(scene.pulumi.testLabStack, "lab.dataVolumeSets", "2");
      await scene.up({ stack: scene.pulumi.testLabStack });
      await scene.format("vdb", "vdc");
      await scene.write("at-first", "vdb", "vdc");
      await scene.assertBytes("vdb", "vdc");
    });
  });

  describe("planned", () => {
    it("moves production to idr without losing a byte", async () => {
      await at("iprod");
      await scene.write("before-planned", "vdb", "vdc");
      const confs = scene.lab.controllers.map((_, controller) => scene.cinderConf(controller).split("\n"));
      await scene.configure({ activeSite: "idr", promotion: "immediate" });
      const { output } = await scene.preview();
      const previewed = [...output.matchAll(/"(\d+)\. ([a-z-]+): ([^"\\]*(?:\\"[^"\\]*)*)"$/gm)].map(([, , phase, sentence]) => ({
        phase,
        sentence: sentence?.replaceAll('\\"', '"'),
      }));
      await scene.up();
      const report = scene.lastReport();
      assert.equal(report.verdict, "completed");
      assert.deepEqual([report.from, report.to, report.mode, report.route, report.rpoSeconds], ["iprod", "idr", "planned", "failover-host", 0]);
      assert.deepEqual(
        report.steps.map(({ id, sentence }) => ({ phase: id.split("/")[0], sentence })),
        previewed,
      );
      const begins = report.steps.map((step) => Date.parse(step.startedAt ?? ""));
      assert.deepEqual(begins, [...begins].sort((a, b) => a - b));
      await assertNormal("idr");
      await scene.assertBytes("vdb", "vdc");

      const { iprod, idr } = scene.lab.arrays;
      assert.equal(report.servers.length, 3);
      for (const server of report.servers) {
        assert.deepEqual(
          server.attachments.map(({ device }) => device),
          ["/dev/vdb", "/dev/vdc"],
        );
        for (const { before, after } of server.attachments) {
          assert.ok(iprod.iscsiAddresses.some((address) => before?.portal?.startsWith(`${address}:`)), JSON.stringify(before));
          assert.ok(idr.iscsiAddresses.some((address) => after?.portal?.startsWith(`${address}:`)), JSON.stringify(after));
          assert.notEqual(before?.iqn, after?.iqn);
        }
      }
      scene.lab.controllers.forEach((_, controller) => {
        const now = scene.cinderConf(controller).split("\n");
        const former = confs[controller] ?? [];
        const only = (lines: string[], others: string[]): string[] => lines.filter((line) => !others.includes(line));
        for (const line of [...only(now, former), ...only(former, now)]) assert.match(line, /^(enabled_backends|replication_device)\s*=/);
        const kept = (lines: string[]) => lines.filter((line) => !/^(enabled_backends|replication_device)\s*=/.test(line));
        assert.deepEqual(kept(now), kept(former));
      });
    });

    it("leaves nothing to do for up, with and without --refresh, and nothing is sent to the clusters", async () => {
      await at("idr");
      await assertNothingLeft();
    });

    it("tells no secret: not in the state, journals, reports, or anything printed", async () => {
      const { stdout: state } = await scene.pulumi.run(["stack", "export", "--stack", scene.recovery], { quiet: true });
      const texts = new Map([...scene.reportTexts(), ["state", state], ["output", scene.printed]]);
      assert.ok(scene.secrets().size >= 10 && texts.size >= 4);
      for (const [what, secret] of scene.secrets())
        for (const [where, text] of texts) assert.ok(!text.includes(secret), `the secret ${what} is in ${where}`);
      for (const [where, text] of texts) assert.doesNotMatch(text, /netapp_password|auth_password"?\s*[:=]/, where);
    });
  });
});
void say;
void until;
