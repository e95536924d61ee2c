import assert from "node:assert/strict";
import http from "node:http";
import { parse } from "yaml";
import type { Session } from "../../../cli/commands";
import { exitCodes } from "../../../cli/exit-codes";
import { type ExporterOptions, listen } from "../../../cli/exporter";
import { labelNames, metricNames } from "../../../cli/metrics";
import { disasterRecoverySchema } from "../../../lib/settings";
import { read } from "../docs/documents";
import { at, killAt, operator } from "../switchover/support";
import { intentTo, pair, World } from "../switchover/world";
import { cliOn, folder, secrets } from "./support";

const newFolder = folder();
type Ports = ReturnType<World["ports"]>;

interface Scraped {
  readonly status: number;
  readonly text: string;
  /** Values by series, without the pair's label. */
  readonly values: ReadonlyMap<string, number>;
}

function get(url: string, method = "GET"): Promise<Scraped> {
  return new Promise((resolve, reject) => {
    const request = http.request(url, { method }, (response) => {
      let text = "";
      response.on("data", (chunk: Buffer) => (text += chunk.toString()));
      response.on("end", () => {
        const series = [...text.matchAll(/^cheesecake_(\w+)\{(.*)\} (\S+)$/gm)].map(
          ([, name = "", labels = "", value]) =>
            [`${name}{${labels.replace(/,?pair="pair"/, "")}}`, Number(value)] as const,
        );
        resolve({ status: response.statusCode ?? 0, text, values: new Map(series) });
      });
    });
    request.on("error", reject).end();
  });
}

/** An exporter whose looks come when they're told to. */
class Scene {
  readonly world: World;
  readonly errors: string[] = [];
  looks = 0;
  ports: (ports: Ports) => Ports = (ports) => ports;
  private readonly ended = new AbortController();
  private wake: () => void = () => undefined;
  private asleep: Promise<void> = Promise.resolve();
  private fallAsleep: () => void = () => undefined;
  private listening: Awaited<ReturnType<typeof listen>> | undefined;

  constructor(world = new World()) {
    this.world = world;
  }

  async open(o: Partial<ExporterOptions> = {}): Promise<this> {
    const settings = disasterRecoverySchema.parse({
      program: "disaster-recovery",
      activeSite: "iprod",
      pair,
      journalDir: newFolder(),
      ...secrets,
    });
    const scene = this.sleepers();
    const session: Session = {
      settings,
      get ports() {
        return scene();
      },
      stack: undefined,
      terminal: {
        out: () => undefined,
        err: (line) => void this.errors.push(line),
        stopSignal: () => this.ended.signal,
      },
    };
    this.asleep = new Promise((resolve) => (this.fallAsleep = resolve));
    this.listening = await listen(
      session,
      { address: "127.0.0.1", port: 0, everySeconds: 60, readinessEverySeconds: 900, ...o },
      this.ended.signal,
    );
    await this.asleep;
    return this;
  }

  private sleepers(): () => Ports {
    return () => {
      const real = this.ports(this.world.ports());
      return {
        ...real,
        controllers: real.controllers.map((controller) => ({
          ...controller,
          listUnits: () => (this.looks++, controller.listUnits()),
        })),
        clock: {
          ...real.clock,
          sleep: (ms) =>
            new Promise((resolve, reject) => {
              this.fallAsleep();
              this.wake = () => {
                this.world.nowMs += ms;
                resolve();
              };
              this.ended.signal.addEventListener("abort", () => reject(new Error("ended")));
            }),
        },
      };
    };
  }

  /** The interval is over, and the look after it, where that comes to an end. */
  async next(wait = true): Promise<void> {
    this.asleep = new Promise((resolve) => (this.fallAsleep = resolve));
    this.wake();
    if (wait) await this.asleep;
  }

  scrape = (path = "/metrics", method = "GET"): Promise<Scraped> => get(`${this.listening?.url ?? ""}${path}`, method);

  async close(): Promise<void> {
    this.ended.abort();
    await this.listening?.close();
  }
}

describe("cheesecake exporter", () => {
  let scene: Scene;
  beforeEach(() => void (scene = new Scene()));
  afterEach(() => scene.close());

  it("tells the pair as status does, each value once", async () => {
    await scene.open();
    const { status, values, text } = await scene.scrape();
    assert.equal(status, 200);
    const expected: Readonly<Record<string, number>> = {
      "up{}": 1,
      'site_active{site="iprod"}': 1,
      'site_active{site="idr"}': 0,
      'site_up{site="idr"}': 1,
      "protected{}": 1,
      "promoted{}": 1,
      'verdict{word="in place"}': 1,
      'verdict{word="alarm"}': 0,
      "both_sites_writable{}": 0,
      'mirror_lag_seconds{flexvol="pool1",source="iprod",destination="idr"}': 60,
      "schedule_seconds{}": 3600,
      "target_lag_seconds{}": 7200,
      'ready{to="idr",mode="planned"}': 1,
      'reasons_against{to="idr",mode="unplanned"}': 0,
      "look_timestamp_seconds{}": Date.parse("2026-01-01T00:00:00Z") / 1000,
    };
    for (const [name, value] of Object.entries(expected)) assert.equal(values.get(name), value, `${name}\n${text}`);
    assert.ok(!values.has("last_switchover_timestamp_seconds{}"), "there was none");
  });

  it("asks the sites once in an interval, however often it's scraped", async () => {
    await scene.open();
    const looked = scene.looks;
    assert.ok(looked > 0);
    for (let n = 0; n < 20; n++) await scene.scrape();
    assert.equal(scene.looks, looked);
    await scene.next();
    assert.equal(scene.looks, 2 * looked);
  });

  it("looks at readiness at an interval of its own, or never", async () => {
    let asked = 0;
    const counting = (ports: Ports): Ports => ({
      ...ports,
      compute: { ...ports.compute, listServers: () => (asked++, ports.compute.listServers()) },
    });
    scene.ports = counting;
    await scene.open({ readinessEverySeconds: 120 });
    assert.equal(asked, 1);
    await scene.next();
    assert.equal(asked, 1);
    assert.equal((await scene.scrape()).values.get('ready{to="idr",mode="planned"}'), 1);
    await scene.next();
    assert.equal(asked, 2);
    await scene.close();
    asked = 0;
    scene = new Scene();
    scene.ports = counting;
    await scene.open({ readinessEverySeconds: 0 });
    assert.equal(asked, 0);
    assert.doesNotMatch((await scene.scrape()).text, /^cheesecake_ready\{/m);
  });

  it("tells no readiness for longer than it could be told", async () => {
    let silent = false;
    const listSwitchovers = () => Promise.reject(new Error("no answer"));
    scene.ports = (ports) => (silent ? { ...ports, coordination: { ...ports.coordination, listSwitchovers } } : ports);
    await scene.open({ readinessEverySeconds: 60 });
    assert.match((await scene.scrape()).text, /^cheesecake_ready\{/m);
    silent = true;
    await scene.next();
    const { text, values } = await scene.scrape();
    assert.equal(values.get("up{}"), 1);
    assert.doesNotMatch(text, /^cheesecake_(ready|reasons_against|readiness_timestamp_seconds)\{/m);
  });

  it("tells readiness from one look to the next, also where it's due at each", async () => {
    await scene.open({ readinessEverySeconds: 1 });
    scene.world.nowMs += 59_000;
    assert.equal((await scene.scrape()).values.get('ready{to="idr",mode="planned"}'), 1);
  });

  it("tells no readiness for the site that production moved to", async () => {
    await scene.open({ readinessEverySeconds: 86_400 });
    assert.equal((await scene.scrape()).values.get('ready{to="idr",mode="planned"}'), 1);
    await operator(scene.world, newFolder()).up(intentTo("idr"), at("iprod"));
    await scene.next();
    const { text, values } = await scene.scrape();
    assert.equal(values.get('site_active{site="idr"}'), 1);
    assert.doesNotMatch(text, /^cheesecake_ready\{/m);
    await scene.next();
    assert.ok((await scene.scrape()).values.has('ready{to="iprod",mode="planned"}'));
  });

  it("tells no end of a switchover that hasn't ended", async () => {
    const { world } = scene;
    const dr = operator(world, newFolder());
    const after = await dr.up(intentTo("idr"), at("iprod"));
    await scene.open({ readinessEverySeconds: 0 });
    const ended = (await scene.scrape()).values.get("last_switchover_timestamp_seconds{}") ?? 0;
    assert.ok(ended > Date.parse("2026-01-01T00:00:00Z") / 1000);
    await assert.rejects(dr.up(intentTo("iprod"), after, killAt("detach/volumes", "before-call")));
    await scene.next();
    const { values } = await scene.scrape();
    assert.deepEqual([values.get("open_switchover{}"), values.has("last_switchover_timestamp_seconds{}")], [1, false]); // prettier-ignore
  });

  it("tells that it isn't up, and nothing else, while its looks fail; and all again when they succeed", async () => {
    let broken = false;
    // What no client should answer, and nobody foresaw.
    const nonsense = () => Promise.resolve(null as never);
    scene.ports = (ports) =>
      broken ? { ...ports, database: { ...ports.database, listServiceRows: nonsense } } : ports;
    await scene.open();
    broken = true;
    await scene.next();
    const { values } = await scene.scrape();
    assert.deepEqual([...values], [["up{}", 0]]);
    broken = false;
    await scene.next();
    assert.equal((await scene.scrape()).values.get("up{}"), 1);
    assert.match(scene.errors.join("\n"), /the look failed: .*null.*\n.*looks succeed again/);
  });

  it("tells nothing of a look that hangs once it's too old", async () => {
    let hangs = false;
    scene.ports = (ports) => {
      const { iprod } = ports.arrays;
      assert.ok(iprod);
      return hangs
        ? { ...ports, arrays: { ...ports.arrays, iprod: { ...iprod, getCluster: () => new Promise<never>(() => undefined) } } } // prettier-ignore
        : ports;
    };
    await scene.open();
    hangs = true;
    await scene.next(false);
    assert.equal((await scene.scrape()).values.get("up{}"), 1);
    scene.world.nowMs += 121_000;
    assert.deepEqual([...(await scene.scrape()).values], [["up{}", 0]]);
  });

  it("isn't up while nobody can tell where production runs, and doesn't call that unprotected", async () => {
    scene.ports = (ports) => ({
      ...ports,
      database: { ...ports.database, describe: () => Promise.reject(new Error("hush-db: no answer")) },
    });
    await scene.open();
    const { values, text } = await scene.scrape();
    assert.equal(values.get("up{}"), 0);
    assert.equal(values.get('verdict{word="unknown"}'), 1);
    assert.ok(!values.has("protected{}"));
    assert.doesNotMatch(text, /hush/);
  });

  it("has no lag of a mirror whose array doesn't answer, nor a word on what that maps", async () => {
    await scene.open();
    scene.world.reachable.idr = false;
    await scene.next();
    const { values } = await scene.scrape();
    assert.equal(values.get('site_up{site="idr"}'), 0);
    assert.deepEqual(
      [...values.keys()].filter((name) => /^(mirror_|both_sites_writable)/.test(name)),
      [],
    );
  });

  it("has as many series for many volumes as for few, and no secret, name or id of one", async () => {
    await scene.open();
    const few = (await scene.scrape()).values.size;
    await scene.close();
    scene = await new Scene(new World(40, 3)).open();
    const { values, text } = await scene.scrape();
    assert.equal(values.size, few);
    assert.doesNotMatch(text, /hush|server-|"v\d|volume-/);
  });

  it("answers a GET of /metrics and of / alone", async () => {
    await scene.open();
    assert.equal((await scene.scrape("/")).status, 200);
    assert.equal((await scene.scrape("/metrics?x=1")).status, 200);
    assert.equal((await scene.scrape("/other")).status, 404);
    for (const method of ["POST", "DELETE", "PUT"]) assert.equal((await scene.scrape("/metrics", method)).status, 405);
    assert.deepEqual(scene.world.calls, []);
  });
});

describe("the command exporter", () => {
  it("listens where it's told until it's stopped, on this host alone by default", async () => {
    const cli = cliOn(new World(), newFolder());
    const { code, out } = await cli.run(["exporter", "--listen", "127.0.0.1:0"], { stopAt: /^Metrics of pair/ });
    assert.deepEqual(
      [code, /^Metrics of pair "pair" at http:\/\/127\.0\.0\.1:\d+\/metrics$/.test(out)],
      [0, true],
      out,
    );
    assert.match((await cli.run(["exporter", "--help"])).out, /--listen <address:port> +where \(127\.0\.0\.1:\d+\)/);
  });

  it("ends with 2 where it can't listen, or doesn't understand", async () => {
    const server = http.createServer();
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as { port: number };
    const cli = cliOn(new World(), newFolder());
    const taken = await cli.run(["exporter", "--listen", `127.0.0.1:${port}`]);
    assert.equal(taken.code, exitCodes.usage);
    assert.match(taken.err, /EADDRINUSE.*another address or port by --listen/);
    server.close();
    for (const listen of ["9843", "127.0.0.1", "127.0.0.1:99999", "a:b:1"])
      assert.equal((await cli.run(["exporter", "--listen", listen])).code, exitCodes.usage, listen);
    assert.equal((await cli.run(["exporter", "--every", "0"])).code, exitCodes.usage);
  });
});

describe("docs/prometheus-rules.yaml", () => {
  interface Rule {
    readonly alert: string;
    readonly expr: string;
    readonly for?: string;
    readonly labels: { readonly severity: string };
    readonly annotations: { readonly summary: string; readonly description: string };
  }
  const file = read("docs/prometheus-rules.yaml");
  const { groups } = parse(file.text) as {
    groups: readonly { readonly name: string; readonly rules: readonly Rule[] }[];
  };
  const rules = groups.flatMap((group) => group.rules);
  const monitoring = read("docs/monitoring.md").text;

  it("has what has to wake somebody", () => {
    assert.equal(new Set(rules.map(({ alert }) => alert)).size, rules.length);
    for (const alert of [
      "LagBeyondTwoSchedules",
      "LagBeyondThreeSchedules",
      "Unprotected",
      "Drift",
      "ExporterDown",
      "BothSitesWritable",
    ])
      assert.ok(
        rules.some((rule) => rule.alert === `Cheesecake${alert}`),
        alert,
      );
    const expr = (name: string) => rules.find((rule) => rule.alert === `Cheesecake${name}`)?.expr ?? "";
    // Another pair's exporter goes on: what is gone is told until somebody has seen to it.
    assert.match(expr("ExporterDown"), /last_over_time\(cheesecake_up\[1w\]\) unless on \(pair\) cheesecake_up\b/);
    assert.match(expr("LagBeyondTwoSchedules"), /mirror_lag_seconds > .* 2 \* cheesecake_schedule_seconds/);
    assert.match(expr("LagBeyondThreeSchedules"), /mirror_lag_seconds >= .* 3 \* cheesecake_schedule_seconds/);
  });

  for (const rule of rules)
    it(`${rule.alert} asks for metrics, labels and words that are exported, and is told in docs/monitoring.md`, async () => {
      const { text } = await (async () => {
        const scene = await new Scene().open();
        return scene.scrape().finally(() => scene.close());
      })();
      const names = [...`${rule.expr} ${rule.annotations.summary}`.matchAll(/cheesecake_\w+/g)].map(([name]) => name);
      assert.ok(names.length > 0);
      for (const name of names) assert.ok(metricNames.includes(name), name);
      const used = [
        ...[...rule.expr.matchAll(/on \(([^)]*)\)/g)].flatMap(([, list = ""]) => list.split(/, */)),
        ...[...rule.expr.matchAll(/(\w+) *(?:=|!=|=~|!~)"/g)].map(([, label]) => label),
        ...[...JSON.stringify(rule.annotations).matchAll(/\$labels\.(\w+)/g)].map(([, label]) => label),
      ];
      for (const label of used) assert.ok(labelNames.includes(label ?? ""), label);
      const words = [...text.matchAll(/word="([^"]*)"/g)].map(([, word]) => word);
      for (const [, list = ""] of rule.expr.matchAll(/word[=!~]+"([^"]*)"/g))
        for (const word of list.split("|")) assert.ok(words.includes(word), word);
      assert.match(rule.for ?? "0m", /^\d+[smh]$/);
      assert.ok(["warning", "critical"].includes(rule.labels.severity));
      assert.ok(monitoring.includes(`\`${rule.alert}\``), `${rule.alert} in docs/monitoring.md`);
    });

  it("and the metrics: docs/monitoring.md has every one, and no other", () => {
    const told = [...monitoring.matchAll(/^\| `(cheesecake_\w+)`/gm)].map(([, name]) => name);
    assert.deepEqual(told.sort(), [...metricNames].sort());
  });
});
