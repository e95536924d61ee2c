import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { promisify } from "node:util";
import { missingForLab } from "../../lab/openstack/up";
import { setIscsi } from "../openstack/site-pair";
import { otherSite, say, sayFailures, Scene, type Site, until } from "../openstack/support";
import { skipBecause } from "../support/skip";

const run = promisify(execFile);
const INITIALISED = /Driver (post RPC )?initialization completed|is uninitialized|Failed to initialize driver/;

/**
 * NetApp's driver looks after its mirrors when cinder-volume starts, and resyncs what it finds broken, in its own
 * direction. So at each step boundary everything of a switchover is killed, a supervisor starts Cinder's services again
 * at once, and a configuration management run puts the cinder.conf of before back on one controller and starts that.
 */
describe("Cinder restarted at every step boundary, also with the former cinder.conf", function () {
  this.timeout(0);
  let scene: Scene;
  const rows: string[][] = [];

  before(async function () {
    const missing = missingForLab(process.env["CINDER_CHEESECAKE_PYTHON"]);
    if (missing !== undefined) skipBecause(this, missing);
    scene = await Scene.open();
    await scene.begin();
  });

  sayFailures(() => scene);
  after(async () => {
    for (const row of rows) console.log(`| ${row.join(" | ")} |`);
    await scene?.close();
  });

  const manager = (host: string, verb: string, service: string) =>
    run(scene.lab.serviceManager, ["--lab", scene.lab.dir, "--host", host, verb, service]);
  const logOf = (file = ""): string => (existsSync(file) ? readFileSync(file, "utf8") : "");

  /** As a supervisor does: whatever isn't masked. Returns once the drivers have started, or refused to. */
  async function startAgain(controller: number, services: readonly string[]): Promise<string[]> {
    const host = scene.lab.controllers[controller];
    assert.ok(host);
    const started: string[] = [];
    for (const service of services) {
      const log = host.services.find(({ name }) => name === service)?.log;
      const logged = logOf(log).length;
      const masked = await manager(host.name, "is-masked", service).then(
        () => true,
        () => false,
      );
      if (masked) continue;
      await manager(host.name, "restart", service);
      started.push(service);
      if (service === "cinder-volume")
        await until(
          `the drivers of ${host.name} have started`,
          () => logOf(log).slice(logged),
          (text) => INITIALISED.test(text),
        );
    }
    return started;
  }

  /** The standby controller with the cinder.conf of before, for as long as its driver needs to look at the mirrors. */
  async function formerConfiguration(former: string): Promise<string[]> {
    const [, standby] = scene.lab.controllers;
    assert.ok(standby);
    const present = readFileSync(standby.cinderConf, "utf8");
    writeFileSync(standby.cinderConf, former);
    try {
      const started = await startAgain(1, ["cinder-volume"]);
      if (started.length > 0) await housekeepingOver();
      return started;
    } finally {
      await manager(standby.name, "stop", "cinder-volume");
      writeFileSync(standby.cinderConf, present);
    }
  }

  /** No request of a driver is on its way any more. */
  async function housekeepingOver(): Promise<void> {
    let last = -1;
    await until(
      "the drivers have nothing more to ask",
      async () => {
        const now = await scene.lastMutation();
        const quiet = now === last;
        last = now;
        await new Promise((resolve) => setTimeout(resolve, 2_000));
        return quiet;
      },
      (quiet) => quiet,
    );
  }

  /** Nobody made the new site a copy of the old one again: its cluster took no order to copy, but the one to turn round. */
  async function assertNotOverwritten(to: Site, since: number): Promise<void> {
    const { cluster } = scene.lab.arrays[to];
    const turnedRound = `"${scene.lab.arrays[otherSite(to)].svm}:`;
    const overwriting = (await scene.mutations(since)).filter(
      (request) =>
        request.cluster === cluster &&
        (request.status ?? 0) < 300 &&
        /snapmirror\/relationships/.test(request.path) &&
        /"state"\s*:\s*"snapmirrored"/.test(request.body) &&
        !/"destination":\s*\{[^}]*\}/.exec(request.body)?.[0].includes(turnedRound),
    );
    assert.deepEqual(overwriting, []);
  }

  async function travel(what: string, to: Site, settings: Readonly<Record<string, unknown>>): Promise<void> {
    const former = scene.cinderConf(1);
    const command = await scene.writeCommand(`after-${what.replaceAll(" ", "-")}`);
    const hooks = [{ name: "first-words", when: "after:start", command, timeoutSeconds: 300 }];
    scene.configure({ activeSite: to, hooks, ...settings });
    const seen: string[] = [];
    // Where production doesn't move, its site may be overwritten at no point.
    const moves = (await scene.pulumi.outputs(scene.recovery))["activeSite"] !== to;
    let cutover = moves ? undefined : await scene.lastMutation();
    for (;;) {
      const others = seen.length === 0 ? "" : `(?!(?:${seen.join("|")}): )`;
      let step = "";
      const moment = new RegExp(` running \\[\\d+/\\d+\\] ${others}(?!hold/disable)([a-z-]+/[a-z-]+): (?!done)`);
      const killed = await scene.killedUp(moment, "tree", (line) => (step = moment.exec(line)?.[1] ?? ""));
      if (!killed) break;
      seen.push(step);
      if (cutover === undefined && step.startsWith("cutover/")) cutover = await scene.lastMutation();
      await scene.cancel();
      const supervised = await startAgain(0, ["cinder-api", "cinder-scheduler", "cinder-volume"]);
      await housekeepingOver();
      const reverted = await formerConfiguration(former);
      if (cutover !== undefined) await assertNotOverwritten(to, cutover);
      rows.push([what, step, supervised.join(", ") || "all masked", reverted.length > 0 ? "started" : "masked", "0"]);
    }
    say(`${what}: killed at ${seen.length} boundaries`);
    const report = scene.lastReport();
    const failures = report.steps.flatMap((step) => step.failures).join("\n");
    assert.deepEqual([report.verdict, report.to], ["completed", to], failures);
    assert.deepEqual(
      report.steps.map(({ id }) => id).filter((id) => id !== "hold/disable-backend" && !seen.includes(id)),
      [],
      "boundaries without a kill",
    );
    scene.assertOnce(report.switchoverId);
    await formerConfiguration(former);
    // Last of all the right one: a driver without replication_device writes that into the row that both share.
    await startAgain(0, ["cinder-api", "cinder-scheduler", "cinder-volume"]);
    await housekeepingOver();
    assert.ok(cutover !== undefined, "no cutover was seen");
    await assertNotOverwritten(to, cutover);
  }

  it("planned: nothing of the new site is overwritten", async () => {
    await scene.at("iprod");
    await scene.write("before-planned");
    await travel("planned", "idr", {});
    await scene.assertSettled("idr");
  });

  it("failback: nothing of the site that is returned to is overwritten", async () => {
    await scene.at("idr");
    await scene.write("before-failback");
    await travel("failback", "iprod", {});
    await scene.assertSettled("iprod");
  });

  // By failover-host its cluster answers, so that a restarted driver comes up, and could do harm.
  for (const { route, give } of [
    { route: "failover-host", give: (site: Site, present: boolean) => setIscsi(scene.lab, site, present) },
    { route: "direct", give: (site: Site, present: boolean) => scene.setReachable(site, present) },
  ])
    it(`unplanned by ${route}, and the former site's return: nothing of the new site is overwritten`, async () => {
      const from = (await scene.pulumi.outputs(scene.recovery))["activeSite"] as Site;
      const to = otherSite(from);
      await scene.at(from);
      await scene.write(`before-unplanned-${route}`);
      await scene.transferAll(to);
      await give(from, false);
      try {
        await travel(`unplanned ${route}`, to, { unplanned: { from, acceptLossSeconds: 7200 }, route });
      } finally {
        await give(from, true);
      }
      await scene.assertBytes();
      await travel("reprotect", to, { unplanned: undefined, route: undefined, reprotect: "discardDiverged" });
      await scene.assertSettled(to);
      scene.configure({ reprotect: undefined });
    });
});
