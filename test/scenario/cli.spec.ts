import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { createInterface } from "node:readline";
import { secretVariables } from "../../cli/configuration";
import { runCli } from "../../cli/run";
import { missingFor } from "../../lab/lab";
import { secretsOfLab } from "../../lab/pair";
import { connect } from "../../lib/connections";
import type { LastSwitchover, MirrorLag, Readiness, Report, Runbook } from "../../lib/switchover";
import type { Clock } from "../../lib/switchover/ports";
import { sitePairSchema } from "../../lib/topology/site-pair";
import { changeOntap } from "../openstack/site-pair";
import { otherSite, say, sayFailures, Scene, until } from "../openstack/support";
import { Artefacts } from "../support/artefacts";
import { ProcessList } from "../support/process-list";
import { skipBecause } from "../support/skip";

interface Result {
  /** Null where a signal ended it. */
  readonly code: number | null;
  readonly output: string;
}

/** The command line on a lab, beside Pulumi's: one lab, one scenario after another. */
describe("cheesecake (embedded lab)", function () {
  this.timeout(900_000);
  let scene: Scene;
  let secretsFile = "";
  let printed = "";
  let processes: ProcessList;
  /** Of Pulumi, at a high verbosity, and its events. */
  let logs = "";
  /** As of NetApp's driver with use_chap_auth, in every connection_info; and one in provider_auth, as of others. */
  const chap = new Map(["auth_password", "discovery_auth_password", "provider_auth"].map((what) => [`CHAP ${what}`, `chap-${randomUUID()}`])); // prettier-ignore
  /** Of failures that are provoked. */
  const wrong = new Map(Object.values(secretVariables).map((name) => [`wrong ${name}`, `wrong-${randomUUID()}`]));

  before(async function () {
    const missing = missingFor("embedded", process.env["CINDER_CHEESECAKE_PYTHON"]);
    if (missing !== undefined) skipBecause(this, missing);
    processes = new ProcessList();
    scene = await Scene.open({ flavour: "embedded" });
    logs = path.join(scene.lab.dir, "verbose");
    mkdirSync(logs);
    await useChap();
    secretsFile = path.join(scene.lab.dir, "secrets.json");
    writeFileSync(secretsFile, JSON.stringify(secretsOfLab(scene.lab)), { mode: 0o600 });
    await scene.begin();
    await scene.sql("UPDATE cinder.volumes SET provider_auth = ?", [`CHAP user ${chap.get("CHAP provider_auth")}`]);
  });

  sayFailures(() => scene);

  after(async () => {
    processes?.stop();
    if (logs !== "") rmSync(logs, { recursive: true });
    await scene?.close();
  });

  /**
   * Whatever connection_info Cinder keeps of an attachment, it tells it with a CHAP password from now on. Without
   * auth_method: the clusters ask for none, and guests refuse what they can't do.
   */
  async function useChap(): Promise<void> {
    const keys = ["auth_password", "discovery_auth_password"];
    const values = keys.map((key) => `'$.${key}', '${chap.get(`CHAP ${key}`)}'`).join(", ");
    for (const event of ["INSERT", "UPDATE"])
      await scene.sql(`CREATE TRIGGER cinder.chap_at_${event} BEFORE ${event} ON cinder.volume_attachment FOR EACH ROW
        SET NEW.connection_info = JSON_SET(NEW.connection_info, '$.auth_username', 'user', ${values})`);
  }

  /** Where Pulumi has no state, no passphrase and isn't on PATH: the stack's file as it is, secrets from their file. */
  function cheesecake(
    [command = "", ...args]: readonly string[],
    onLine: (line: string, signal: (name: NodeJS.Signals) => void) => void = () => undefined,
    more: Readonly<Record<string, string>> = {},
  ): Promise<Result> {
    say(`── cheesecake ${command} ${args.join(" ")}`);
    const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.includes("PULUMI")));
    const program = path.resolve(__dirname, "../../cli/cheesecake.cjs");
    const config = scene.pulumi.configFile(scene.recovery);
    const child = spawn(
      process.execPath,
      [program, command, "--config", config, "--secrets", secretsFile, ...args],
      { cwd: scene.lab.dir, env: { ...env, ...more, PATH: "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin" }, stdio: ["ignore", "pipe", "pipe"] },
    ); // prettier-ignore
    let output = "";
    for (const stream of [child.stdout, child.stderr])
      createInterface({ input: stream }).on("line", (line) => {
        output += `${line}\n`;
        printed += `${line}\n`;
        onLine(line, (name) => child.kill(name));
      });
    return new Promise((resolve, reject) => {
      child.on("error", reject);
      child.on("close", (code) => resolve({ code, output }));
    });
  }

  async function ends(code: number, ...args: string[]): Promise<string> {
    const { output, ...result } = await cheesecake(args);
    assert.equal(result.code, code, output);
    return output;
  }

  /** The same in this process: to start one takes longer than to look. */
  async function tells(code: number, args: readonly string[], connecting = connect): Promise<string> {
    say(`── cheesecake ${args.join(" ")}`);
    const lines: string[] = [];
    const print = (line: string): void => void lines.push(line);
    const ended = await runCli(
      [...args, "--config", scene.pulumi.configFile(scene.recovery), "--secrets", secretsFile],
      {
        env: {},
        cwd: scene.lab.dir,
        out: print,
        err: print,
        stopSignal: () => new AbortController().signal,
        connect: connecting,
      },
    );
    const output = lines.join("\n");
    printed += `${output}\n`;
    assert.equal(ended, code, output);
    return output;
  }

  const json = async (...args: string[]): Promise<unknown> => JSON.parse(await tells(0, [...args, "--json"]));

  /** Pulumi is back: it adopts what was done without it, and then finds nothing to do. */
  async function adopted(site: "iprod" | "idr"): Promise<void> {
    const before = await scene.everything();
    scene.configure({ activeSite: site });
    const { output } = await scene.preview();
    assert.match(output, new RegExp(`Adopt "${site}" as the active site: production runs there already`));
    await scene.up();
    assert.deepEqual(await scene.everything(), before);
    const { report } = await scene.pulumi.outputs(scene.recovery);
    const { switchoverId, begunAs } = (await json("report")) as Report;
    const [time = ""] = switchoverId.split("-");
    assert.equal(report, path.join(scene.reports, `${time}-${begunAs.from}-${begunAs.to}`));
    await scene.assertSettled(site);
  }

  it("switches over by the plan that was read, proves it, and leaves Pulumi nothing to do but to adopt it", async () => {
    assert.match(await ends(0, "status"), /^active site +iprod$/m);
    await tells(0, ["verify"]);
    const before = await scene.everything();
    const plan = await tells(0, ["plan", "--to", "idr"]);
    scene.configure({ activeSite: "idr" });
    const preview = await scene.preview();
    scene.configure({ activeSite: "iprod" });
    const digest = /--digest (\S+)/.exec(plan)?.[1] ?? "";
    assert.ok(digest !== "" && preview.output.includes(`plan ${digest}`), `${plan}\n${preview.output}`);
    assert.deepEqual(await scene.everything(), before);

    const done = await ends(0, "apply", "--to", "idr", "--digest", digest);
    assert.match(done, /^\[\d+\/\d+\] attach\/volumes: /m);
    const { verified, proofs } = (await json("verify")) as { verified: boolean; proofs: { what: string }[] };
    assert.equal(verified, true);
    assert.deepEqual(
      proofs.map(({ what }) => what),
      ["active site", "journal", "cinder.conf, services", "database", "mirrors", "LUNs", "attachments", "instances"],
    );
    const { verdict, mode, to } = (await json("report")) as Report;
    assert.deepEqual([verdict, mode, to], ["completed", "planned", "idr"]);
    await scene.assertBytes();
    await adopted("idr");
  });

  it("tells the way home as a runbook, and holds it back for a while", async () => {
    const before = await scene.everything();
    const { digest, runbook } = JSON.parse(await tells(0, ["plan", "--to", "iprod", "--json"])) as {
      digest: string;
      runbook: Runbook;
    };
    const markdown = await tells(0, ["plan", "--to", "iprod", "--markdown"]);
    assert.ok(markdown.includes(`| Plan | ${digest} |`), markdown);
    assert.deepEqual(
      [runbook.from, runbook.to, runbook.checks.filter(({ mark }) => mark === "✗")],
      ["idr", "iprod", []],
    );
    assert.equal(runbook.instances.length, (await scene.servers()).length);
    scene.configure({ minimumSecondsBetweenSwitchovers: 3600 });
    try {
      const { switchoverId } = scene.lastReport();
      const refused = await tells(3, ["plan", "--to", "iprod"]);
      assert.match(
        refused,
        /✗ What was asked for: the switchover "iprod" → "idr" \(\S+\) ended \d+ s ago, needed 3600 s/,
      );
      assert.ok(refused.includes(`--soon-after ${switchoverId}`), refused);
      assert.ok((await tells(0, ["plan", "--to", "iprod", "--soon-after", switchoverId])).includes(`plan ${digest}`));
      assert.match(await tells(3, ["plan", "--to", "iprod", "--soon-after", switchoverId, "--expected-active", "iprod"]), /✗ .*production runs at "idr", but expectedActive is "iprod"/); // prettier-ignore
    } finally {
      scene.configure({ minimumSecondsBetweenSwitchovers: 0 });
    }
    assert.deepEqual(await scene.everything(), before);
  });

  it("tells status and metrics alike, and changes nothing by it", async () => {
    const before = await scene.everything();
    const seen = (await json("status")) as {
      mirrors: MirrorLag[];
      readiness: Readiness[];
      lastSwitchover: LastSwitchover;
    };
    assert.deepEqual(
      seen.readiness.map(({ to, mode, ready, reasons }) => [to, mode, ready, reasons]),
      [
        ["iprod", "planned", true, []],
        ["iprod", "unplanned", true, []],
      ],
    );
    assert.equal(seen.lastSwitchover.switchoverId, scene.lastReport().switchoverId);
    assert.ok(
      seen.mirrors.length > 0 && seen.mirrors.every(({ healthy, lagSeconds }) => healthy && lagSeconds !== undefined),
    );
    let metrics: Promise<string> | undefined;
    const ended = await cheesecake(["exporter", "--listen", "127.0.0.1:0", "--every", "1"], (line, signal) => {
      const url = /http:\S+/.exec(line)?.[0];
      if (url === undefined) return;
      metrics = until("the first look is over", async () => (await fetch(url)).text(), (text) => /^cheesecake_up\{.*\} 1$/m.test(text)); // prettier-ignore
      void metrics.finally(() => signal("SIGTERM")).catch(() => undefined);
    });
    assert.equal(ended.code, 0, ended.output);
    const text = (await metrics) ?? assert.fail(ended.output);
    printed += text;
    for (const { flexVol } of seen.mirrors)
      assert.match(text, new RegExp(`^cheesecake_mirror_lag_seconds\\{flexvol="${flexVol}",source="idr",destination="iprod",`, "m")); // prettier-ignore
    assert.match(text, /^cheesecake_ready\{to="iprod",mode="planned",.*\} 1$/m);
    assert.match(text, /^cheesecake_protected\{.*\} 1$/m);
    assert.deepEqual(await scene.everything(), before);
  });

  /** What Nova was asked to start and stop since, by the names of instances. */
  async function powered(since: number): Promise<{ readonly last: number; readonly actions: readonly string[] }> {
    const url = new URL("/_lab/requests", scene.lab.endpoints.compute);
    const all = (await (await fetch(url)).json()) as { id: number; path: string; action?: string }[];
    const names = new Map((await scene.servers()).map(({ id, name }) => [id, name]));
    const actions = all.flatMap(({ id, path: asked, action = "" }) => {
      const server = /\/servers\/([^/]+)\/action$/.exec(asked)?.[1] ?? "";
      return id > since && /^os-st(art|op)$/.test(action) ? [`${action.slice(3)} ${names.get(server)}`] : [];
    });
    return { last: all.at(-1)?.id ?? 0, actions };
  }

  it("goes on with an up that was killed past its cutover; by groups, with hooks, and when it's approved", async () => {
    await scene.write("before-killed-up");
    const names = (await scene.servers()).map(({ name }) => name).sort();
    const [first = "", ...others] = names;
    const pair = scene.readConfiguration()["cinder-cheesecake:pair"] as { openstack: object };
    const group = { name: "database", instances: [{ name: first }], priority: 1, approveAfter: true };
    const file = path.join(scene.lab.dir, "phases");
    const script = `require("node:fs").appendFileSync(process.argv[1], process.env.CHEESECAKE_WHEN + " " + process.env.CHEESECAKE_PHASE + " " + process.env.CHEESECAKE_GROUP + "\\n")`;
    const command = [process.execPath, "-e", script, file];
    const hooks = [
      { name: "freeze", when: "before:quiesce", command },
      { name: "check", when: "after:start", group: "database", command },
      { name: "all", when: "after:start", command },
    ];
    const { last } = await powered(0);
    scene.configure({
      activeSite: "iprod",
      hooks,
      pair: { ...pair, openstack: { ...pair.openstack, priorityGroups: [group] } },
    });
    assert.ok(await scene.killedUp(/attach\/volumes: Attach/, "tree"));
    await scene.cancel();
    assert.match(await tells(0, ["status"]), /^open switchover +\S+ \(switchover "idr" → "iprod"\)$/m);
    await tells(4, ["verify"]);
    await tells(3, ["approve"]);
    assert.match(await ends(5, "resume"), /Group "database" runs at "iprod"; what comes after it is stopped/);
    assert.match(await tells(0, ["status"]), /^waits for +the approval of group "database"$/m);
    const { output } = await scene.up({ anyCode: true });
    assert.match(output, /waits for an approval/);
    assert.deepEqual((await powered(last)).actions.slice(names.length), [`start ${first}`]);
    await tells(0, ["approve", "database", "--by", "ann"]);
    await ends(0, "resume");
    const { actions } = await powered(last);
    assert.deepEqual(
      actions.slice(0, others.length).sort(),
      others.map((name) => `stop ${name}`),
    );
    assert.deepEqual(actions.slice(others.length, names.length + 1), [`stop ${first}`, `start ${first}`]);
    assert.deepEqual(
      actions.slice(names.length + 1).sort(),
      others.map((name) => `start ${name}`),
    );
    assert.equal(readFileSync(file, "utf8"), "before quiesce \nafter start database\nafter start \n");
    await tells(0, ["verify"]);
    const { switchoverId, resumes } = scene.lastReport();
    assert.equal(resumes, 3);
    scene.assertOnce(switchoverId);
    scene.configure({ hooks: undefined, pair });
    await adopted("iprod");
  });

  const startIntended = async (): Promise<number> => {
    const pattern = '%"intent","step":"promote/start-services"%';
    const sql = "SELECT seq FROM cinder_cheesecake.journal JOIN cinder_cheesecake.switchover USING (switchover_id) WHERE closed_at IS NULL AND entry LIKE ?"; // prettier-ignore
    return ((await scene.sql(sql, [pattern], scene.lab.database.product)) as unknown[]).length;
  };

  it("stops at Ctrl-C and on request, also up, and ends at once at a second Ctrl-C: each goes on where the other ended", async () => {
    await scene.write("before-stopped-apply");
    const stopped = await cheesecake(["apply", "--to", "idr", "--yes"], (line, signal) => {
      if (/quiesce\/stop-instances: Stop/.test(line)) signal("SIGINT");
    });
    assert.equal(stopped.code, 1, stopped.output);
    assert.match(
      stopped.output,
      /^Ctrl-C, or `cheesecake stop`, stops at the next safe point[^]*^stopping at the next safe point \(Ctrl-C\)[^]*isn't finished: `cheesecake resume` goes on/m,
    );
    assert.match(await tells(0, ["status"]), /^verdict +unfinished: \S+ was stopped by request at .*\(Ctrl-C\)$/m);

    scene.configure({ activeSite: "idr" });
    let asked: Promise<string> | undefined;
    const up = await scene.up({
      anyCode: true,
      onLine: (line) => {
        if (/detach\/volumes: Detach/.test(line)) asked ??= tells(0, ["stop"]);
      },
    });
    assert.notEqual(up.code, 0);
    assert.match(
      (await asked) ?? "",
      /^Stopped at \S+\/\S+\. Production's data is at "i\w+"\.[^]*^\S+ isn't finished\. Go on: /m,
    );

    let pressed: Promise<unknown> | undefined;
    const ended = await cheesecake(["resume"], (line, signal) => {
      if (!/promote\/start-services: /.test(line)) return;
      pressed ??= until("the services start", startIntended, (count) => count > 0).then(() => {
        signal("SIGINT");
        setTimeout(() => signal("SIGINT"), 600); // later than one press may be heard twice
      });
    });
    await pressed;
    assert.equal(ended.code, 130, ended.output);
    assert.match(ended.output, /^Ended at once\. /m);

    let interrupts = 0;
    const interrupted = await scene.up({
      anyCode: true,
      onLine: (line, pid) => {
        if (/promote\/start-services: /.test(line) && interrupts++ === 0) process.kill(pid, "SIGINT");
      },
    });
    assert.notEqual(interrupted.code, 0);
    assert.match(interrupted.output, /stopping at the next safe point \(Ctrl-C\)/);
    assert.match(await tells(0, ["status"]), /was stopped by request at .*, at \S+ \(Ctrl-C\)$/m);

    const report = await scene.flip("idr");
    assert.deepEqual([report.verdict, report.resumes], ["completed", 4]);
    scene.assertOnce(report.switchoverId);
    await scene.assertSettled("idr");
    await tells(0, ["verify"]);
  });

  /** A lease of another is waited for for 90 s: here they are over at once. */
  const impatient: typeof connect = (...pair) => {
    const connections = connect(...pair);
    let waitedMs = 0;
    const clock: Clock = {
      now: () => new Date(Date.now() + waitedMs),
      sleep: (ms) => Promise.resolve(void (waitedMs += ms)),
    };
    return { ports: { ...connections.ports, clock }, close: () => connections.close() };
  };

  it("is refused while another run holds the lease, and waits for one that is at the same switchover", async () => {
    const connections = connect(
      sitePairSchema.parse(scene.readConfiguration()["cinder-cheesecake:pair"]),
      secretsOfLab(scene.lab),
    );
    const { coordination } = connections.ports;
    const pair = "netapp_iscsi";
    const token = randomUUID();
    const holder = { owner: "ops", host: "bastion", pid: 7, stack: scene.recovery, planDigest: "" };
    try {
      assert.ok(await coordination.acquireLease(pair, holder, token, 600));
      const before = await scene.everything();
      assert.match(
        await tells(3, ["apply", "--to", "iprod", "--yes"], impatient),
        /the lease is held by ops on bastion \(pid 7\)/,
      );
      assert.match(await tells(0, ["status"]), /^run +ops on bastion/m);
      assert.deepEqual(await scene.everything(), before);
      await coordination.releaseLease(pair, token);
    } finally {
      await connections.close();
    }
    await scene.write("before-two-at-once");
    scene.configure({ activeSite: "iprod" });
    let second: Promise<Result> | undefined;
    await scene.up({
      // With its plugins, to files there; from 9 on Pulumi itself logs what it hands to a provider, secrets in clear.
      more: ["--verbose", "8", "--logflow", "--event-log", path.join(logs, "events.json")],
      env: { TMPDIR: logs, PULUMI_DEBUG_COMMANDS: "true" },
      onLine: (line) => {
        if (/hold\/lock-instances: /.test(line)) second ??= cheesecake(["resume"]);
      },
    });
    const { code, output } = (await second) ?? assert.fail("up ended before its steps");
    assert.equal(code, 0, output);
    assert.match(output, /waiting for the lease of pair "netapp_iscsi", held by /);
    const { switchoverId, resumes } = scene.lastReport();
    assert.equal(resumes, 0);
    scene.assertOnce(switchoverId);
    await scene.assertSettled("iprod");
  });

  it("fails over from a lost site with Pulumi's state gone, protects anew, and a new state adopts it", async () => {
    await scene.write("before-loss");
    await scene.transferAll("idr");
    await scene.setReachable("iprod", false);
    try {
      assert.match(await ends(3, "apply", "--to", "idr", "--yes"), /✗ /);
      const flags = ["--unplanned-from", "iprod", "--accept-loss-seconds", "7200", "--yes"];
      assert.match(await ends(0, "apply", "--to", "idr", ...flags), /^active at idr .*, unprotected$/m);
      assert.match(await tells(4, ["verify"]), /✗ mirrors.*\n +the array of "iprod" can't be asked/);
      await scene.assertBytes();
    } finally {
      await scene.setReachable("iprod", true);
    }
    await ends(0, "apply", "--to", "idr", "--reprotect", "discardDiverged", "--yes");
    await tells(0, ["verify"]);
    await scene.forgetActiveSite();
    await adopted("idr");
  });

  /** Running the program, too, which makes the stack's outputs of what the resources are told. */
  const refresh = () =>
    scene.pulumi.run(["refresh", "--run-program", "--stack", scene.recovery, "--yes", "--non-interactive"]);

  /** The same verdict by the command line and by a refresh, with the mismatch that it's about. */
  async function told(verdict: string, mismatch: RegExp): Promise<void> {
    const before = await scene.everything();
    const status = await ends(4, "status");
    assert.match(status, new RegExp(`^verdict +${verdict}: `, "m"));
    assert.match(status, mismatch);
    const { output } = await refresh();
    assert.match(output, mismatch, "as a warning, too");
    const outputs = await scene.pulumi.outputs(scene.recovery);
    const said = /^verdict +(.*)$/m.exec(status)?.[1] ?? "";
    assert.ok(String(outputs["status"]).endsWith(said), String(outputs["status"]));
    assert.match((outputs["mismatches"] as string[]).join("\n"), mismatch);
    assert.equal(outputs["activeSite"], "idr");
    assert.deepEqual(await scene.everything(), before);
  }

  it("gives the verdict that a refresh gives: what was edited by hand, and the alarm where both sites are open", async () => {
    await scene.at("idr");
    const [, controller] = scene.lab.controllers;
    assert.ok(controller);
    const right = readFileSync(controller.cinderConf, "utf8");
    writeFileSync(controller.cinderConf, right.replace(/^(enabled_backends.*)idr/m, "$1iprod"));
    try {
      await told(
        "contradiction",
        /enabled_backends of .* on controller-2: "iprod", expected "idr", as \d+ volumes on cinder-dr@idr have it/,
      );
    } finally {
      writeFileSync(controller.cinderConf, right);
    }

    const svm = scene.lab.arrays.iprod.svm;
    const igroup = { name: "stranger", svm: { name: svm }, os_type: "linux", protocol: "iscsi" };
    await changeOntap(scene.lab, "iprod", "/api/protocols/san/igroups", igroup, "POST");
    await scene.onArray("iprod", async (client) => {
      const mirrors = () => client.listMirrors(scene.flexVols());
      const [mirror] = await mirrors();
      assert.ok(mirror);
      await client.setMirrorState(mirror.uuid, "broken_off");
      const name = `${mirror.source.svm}:${mirror.source.flexVol} → ${svm}:${mirror.destination.flexVol}`;
      await told("unfinished", new RegExp(`mirror ${name}: broken_off, expected snapmirrored`));
      const lun = (await client.listLuns([mirror.destination.flexVol]))[0]?.path ?? "";
      const map = { svm: { name: svm }, lun: { name: lun }, igroup: { name: igroup.name } };
      await changeOntap(scene.lab, "iprod", "/api/protocols/san/lun-maps", map, "POST");
      await told(
        "alarm",
        new RegExp(`FlexVol ${mirror.destination.flexVol}: writable and mapped .*${lun} to stranger`),
      );
      for (const each of await client.listLunMaps(scene.flexVols())) await client.deleteLunMap(each);
      await client.setMirrorState(mirror.uuid, "snapmirrored");
      await until("the mirror is whole", mirrors, (all) =>
        all.every(({ state, healthy }) => state === "snapmirrored" && healthy),
      );
    });
    await refresh();
    assert.match(await ends(0, "status"), /^verdict +in place: every system names "idr"$/m);
    await scene.assertSettled("idr");
  });

  it("names what isn't in its place", async () => {
    const [{ id = "", name = "" } = {}] = await scene.servers();
    await scene.cloud("POST", "compute", `/servers/${id}/action`, { "os-stop": null });
    const stopped = (servers: readonly { id: string; status: string }[]): boolean =>
      servers.some((server) => server.id === id && server.status === "SHUTOFF");
    await until("the instance is stopped", () => scene.servers(), stopped);
    assert.match(await tells(4, ["verify"]), new RegExp(`✗ instances.*\\n +${name} ran before and is SHUTOFF`));
    await scene.cloud("POST", "compute", `/servers/${id}/action`, { "os-start": null });
    await until("the instance runs", () => scene.servers(), (servers) => !stopped(servers)); // prettier-ignore
    await tells(0, ["verify"]);
  });

  // With those of hooks nobody logs in anywhere.
  for (const [secret, variable] of Object.entries(secretVariables).filter(([name]) => name !== "hookSecrets"))
    it(`says that ${secret} is wrong, and not what it is`, async () => {
      const value = wrong.get(`wrong ${variable}`) ?? "";
      const given = secret === "ontapPasswords" ? JSON.stringify({ iprod: value, idr: value }) : value;
      const { activeSite } = await scene.pulumi.outputs(scene.recovery);
      const to = otherSite(activeSite === "idr" ? "idr" : "iprod");
      const { output } = await cheesecake(["plan", "--to", to], undefined, { [variable]: given });
      assert.match(output, /40[13]|1045/, output);
    });

  it("tells no secret: what it prints, leaves behind, logs, or shows in the process list", async () => {
    const { attachments } = await scene.cloud<{ attachments: object[] }>("GET", "blockStorage", "/attachments/detail?all_tenants=1"); // prettier-ignore
    const told = new Artefacts(chap).add("Cinder's API", JSON.stringify(attachments)).seen;
    assert.deepEqual([...told.keys()], ["CHAP auth_password", "CHAP discovery_auth_password"], "the API tells them");

    const passphrase = readFileSync(path.join(scene.lab.dir, "pulumi", "passphrase"), "utf8");
    const secrets = new Map([...scene.secrets(), ["the stack's passphrase", passphrase], ...chap, ...wrong]);
    const artefacts = new Artefacts(secrets);
    const { stdout: state } = await scene.pulumi.run(["stack", "export", "--stack", scene.recovery], { quiet: true });
    const rows = ["journal", "promotion", "lease", "switchover", "ownership"].map((table) => scene.sql(`SELECT * FROM cinder_cheesecake.${table}`, [], scene.lab.database.product)); // prettier-ignore
    const processList = processes.stop();
    artefacts
      .add("printed by cheesecake", printed)
      .add("printed by pulumi", scene.printed)
      .add("state", state)
      .add("cinder_cheesecake", JSON.stringify(await Promise.all(rows)))
      .add("process list", processList);
    const dumps = new Artefacts(secrets);
    const isDump = (file: string): boolean => file.endsWith(".sql");
    const counts = {
      reports: artefacts.addFolder(scene.reports, (file) => !isDump(file)),
      dumps: dumps.addFolder(scene.reports, isDump),
      backups: artefacts.addFolder(path.join(scene.lab.dir, "pulumi", "state")),
      logs: artefacts.addFolder(logs),
    };
    for (const stack of [scene.recovery, scene.pulumi.testLabStack])
      artefacts.add(`configuration of ${stack}`, readFileSync(scene.pulumi.configFile(stack)));
    say(`${artefacts.summary}; ${JSON.stringify(counts)}, ${processes.samples} looks at the process list`);
    say(`dumps: ${dumps.summary}`);

    assert.deepEqual(artefacts.seen, new Map());
    assert.deepEqual([...dumps.seen.keys()].sort(), [...chap.keys()].sort(), "the dumps hold what the database does");
    for (const [what, count] of Object.entries(counts)) assert.ok(count > 0, what);
    assert.match(processList, /^mariadb-dump --defaults-file=/m);
    assert.match(processList, /^pulumi up /m);
  });
});
