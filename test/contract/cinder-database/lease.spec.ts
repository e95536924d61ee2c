import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { connectCinderDatabase, type DatabaseOptions } from "../../../lib/cinder-database";
import { systemClock } from "../../../lib/connections/system-clock";
import { DrError } from "../../../lib/errors";
import { requestStop } from "../../../lib/switchover";
import { Lease } from "../../../lib/switchover/lease";
import type { LeaseHolder } from "../../../lib/switchover/ports";
import { skipBecause } from "../../support/skip";
import { read } from "../../unit/docs/documents";
import { pair } from "../../unit/switchover/world";
import { FaultProxy } from "./fault-proxy";
import type { Order } from "./operator";
import { type PrivateMariadb, startMariadb } from "./private-mariadb";

/** The table of the lease in docs/switchover.md: its rows are the cases of this file, and the cases its rows. */
const rows = [
  ...(read("docs/switchover.md").text.split("\n## Lease\n")[1]?.split("\n## ")[0] ?? "").matchAll(/^\| (.*?) +\| /gm),
]
  .map(([, first = ""]) => first)
  .slice(2);
const cases: string[] = [];
let passed = 0;
function leaseCase(row: string, work: (this: Mocha.Context) => Promise<void>): void {
  cases.push(row);
  it(row, async function () {
    await work.call(this);
    passed += 1;
  });
}

const password = "hush'word\\%";
const grants = `CREATE USER dr@'127.%' IDENTIFIED BY 'hush''word\\\\%'; GRANT ALL ON cinder_cheesecake.* TO dr@'127.%'`;
const optionsOf = ({ host, port }: { host: string; port: number }): DatabaseOptions => ({
  host,
  port,
  user: "dr",
  password,
  cinderSchema: "cinder",
  tls: false,
});
const holder = (owner: string): LeaseHolder => ({ owner, host: "h", pid: 1, stack: "test", planDigest: "" });
const fails = (code: string, text: RegExp) => (error: unknown) =>
  DrError.is(error) && error.code === code && text.test(error.message);

describe("two operators, one pair", function () {
  this.timeout(180_000);
  let server: PrivateMariadb;
  let proxy: FaultProxy;
  let root: string;
  const started: Operator[] = [];
  const clients: ReturnType<typeof connectCinderDatabase>[] = [];

  before(async () => {
    root = mkdtempSync(path.join(os.tmpdir(), "cheesecake-lease-"));
    server = await startMariadb("127.71.0.12", 13312);
    await server.sql(grants);
    proxy = await FaultProxy.start("127.71.0.13", 13313, server);
  });
  beforeEach(() => server.sql("DROP DATABASE IF EXISTS cinder_cheesecake"));
  afterEach(async () => {
    for (const { child } of started.splice(0)) child.kill("SIGKILL");
    for (const client of clients.splice(0)) await client.close();
    proxy.setAway(false);
    proxy.fate = () => undefined;
  });
  after(async () => {
    await proxy?.stop();
    await server?.stop();
    rmSync(root, { recursive: true });
  });

  interface Operator {
    readonly child: ChildProcess;
    readonly lines: string[];
    /** Resolves at the first line that fits, also one that was said already. */
    says(what: RegExp): Promise<string>;
    goOn(): void;
    readonly calls: () => string[];
  }

  /** A process of its own. */
  function operator(by: Order["by"], o: Partial<Order> = {}): Operator {
    const order: Order = { by, stack: "test", options: optionsOf(server), folder: mkdtempSync(path.join(root, "run-")), waits: false, ...o }; // prettier-ignore
    const child = spawn(
      process.execPath,
      ["-r", "ts-node/register", path.join(__dirname, "operator.ts"), JSON.stringify(order)],
      { stdio: ["pipe", "pipe", "pipe"] },
    );
    const lines: string[] = [];
    let heard: () => void = () => undefined;
    for (const stream of [child.stdout, child.stderr])
      createInterface(stream).on("line", (line) => (lines.push(line), heard()));
    child.on("close", () => (lines.push("closed"), heard()));
    const one: Operator = {
      child,
      lines,
      async says(what) {
        for (;;) {
          const line = lines.find((each) => what.test(each));
          if (line !== undefined) return line;
          assert.ok(lines.at(-1) !== "closed", `it never said ${String(what)}:\n${lines.join("\n")}`);
          await new Promise<void>((resolve) => (heard = resolve));
        }
      },
      goOn: () => void child.stdin.write("go on\n"),
      calls: () => lines.filter((line) => line.startsWith("call: ")),
    };
    started.push(one);
    return one;
  }

  type Client = ReturnType<typeof connectCinderDatabase>["coordination"];
  function client(options = optionsOf(server)): Client {
    const made = connectCinderDatabase(options);
    clients.push(made);
    return made.coordination;
  }

  const take = (said: string[] = [], coordination = client()): Promise<Lease> =>
    Lease.acquire({
      pair: pair.name,
      holder: holder("heir"),
      coordination,
      clock: systemClock,
      signal: new AbortController().signal,
      say: (line) => said.push(line),
    });

  /** By the database's clock: the first entry of each switchover, and the last. */
  const journals = (): Promise<Record<string, unknown>[]> =>
    server.sql(
      "SELECT MIN(written_at) AS begun, MAX(written_at) AS ended FROM cinder_cheesecake.journal GROUP BY switchover_id ORDER BY begun",
    );

  for (const [first, second] of [
    ["pulumi", "cli"],
    ["cli", "pulumi"],
  ] as const)
    // prettier-ignore
    leaseCase(`a second operator, by ${second === "cli" ? "the command line" : "Pulumi"}, while one is at it`, async () => {
      const one = operator(first, { waits: true });
      await one.says(/^at the hook/);
      const two = operator(second);
      await two.says(new RegExp(`waiting for the lease of pair "pair", held by .* \\(pid ${one.child.pid ?? 0}\\)`));
      assert.deepEqual(two.calls(), []);
      one.goOn();
      await one.says(/^ended: idr/);
      await two.says(/^ended: idr/);
      const [a, b, ...others] = await journals();
      assert.deepEqual(others, []);
      assert.ok(String(a?.["ended"]) < String(b?.["begun"]), JSON.stringify([a, b]));
    });

  leaseCase("two stacks at the same moment", async () => {
    const both = ["one", "other"].map((stack) => operator("pulumi", { stack }));
    const ends = await Promise.all(both.map((each) => each.says(/^ended: /)));
    const [owner] = await server.sql("SELECT stack FROM cinder_cheesecake.ownership");
    assert.deepEqual(ends.filter((end) => end === "ended: idr").length, 1, ends.join("\n"));
    for (const [index, stack] of ["one", "other"].entries()) {
      if (owner?.["stack"] === stack) continue;
      assert.match(ends[index] ?? "", new RegExp(`^ended: lease .*belongs to stack "${String(owner?.["stack"])}"`));
      assert.deepEqual(both[index]?.calls(), []);
    }
  });

  leaseCase("the holder was killed", async () => {
    const dead = operator("pulumi", { waits: true });
    await dead.says(/^at the hook/);
    dead.child.kill("SIGKILL");
    await dead.says(/^closed/);
    // Nobody renews it; most of its time is taken off here.
    await server.sql("UPDATE cinder_cheesecake.lease SET expires_at = expires_at - INTERVAL 25 SECOND");
    const row = await client().findLease(pair.name);
    assert.equal(row?.pid, dead.child.pid);
    const said: string[] = [];
    const lease = await take(said);
    assert.match(said.join(), new RegExp(`held by .* \\(pid ${dead.child.pid ?? 0}\\)`));
    const heir = await client().findLease(pair.name);
    assert.ok(String(heir?.acquiredAt) >= String(row?.expiresAt), JSON.stringify([row, heir]));
    await lease.guard();
    await lease.release();
    assert.deepEqual((await client().listSwitchovers(pair.name)).map(({ open }) => open), [true]); // prettier-ignore
  });

  leaseCase("an orphan, or a machine that slept, goes on after another run took over", async () => {
    const orphan = operator("pulumi", { waits: true });
    await orphan.says(/^at the hook/);
    orphan.child.kill("SIGSTOP");
    const lease = await take();
    const calls = orphan.calls();
    orphan.goOn();
    orphan.child.kill("SIGCONT");
    await orphan.says(/^ended: lease .*the lease was taken over by another run.*stopped before its next change/);
    assert.deepEqual(orphan.calls(), calls);
    assert.equal((await client().findLease(pair.name))?.owner, "heir", "it gave back nothing that isn't its own");
    await lease.guard();
    await lease.release();
  });

  leaseCase("an operator who doesn't reach the database", async () => {
    for (const by of ["pulumi", "cli"] as const) {
      const one = operator(by, { options: { ...optionsOf(server), port: 1 } });
      const end = await one.says(/^ended: /);
      assert.match(end, by === "pulumi" ? /unreachable .*did not answer/ : /exit 3 .*did not answer/);
      assert.deepEqual(one.calls(), []);
    }
  });

  leaseCase("the database goes away on the way", async () => {
    const one = operator("pulumi", { waits: true, options: optionsOf(proxy) });
    await one.says(/^at the hook/);
    const calls = one.calls();
    proxy.setAway(true);
    one.goOn();
    await one.says(/^ended: unreachable .*did not answer/);
    assert.deepEqual(one.calls(), calls);
    // What it couldn't give back runs out.
    await server.sql("UPDATE cinder_cheesecake.lease SET expires_at = expires_at - INTERVAL 25 SECOND");
    await (await take()).release();
  });

  for (const [what, options] of [
    ["somebody asks the run to stop, from another machine", () => optionsOf(server)],
    ["somebody asks it who doesn't reach the database, in the same folder", () => ({ ...optionsOf(server), port: 1 })],
  ] as const)
    leaseCase(what, async () => {
      const folder = mkdtempSync(path.join(root, "run-"));
      const one = operator("pulumi", { waits: true, folder });
      await one.says(/^at the hook/);
      const calls = one.calls();
      const said: string[] = [];
      const ports = { coordination: client(options()), clock: systemClock };
      const asked = requestStop({ pair, ports, journalDir: folder, waitSeconds: 60, say: (line) => said.push(line) });
      await one.says(/^said: stopping at the next safe point \(`cheesecake stop` by /);
      one.goOn();
      await one.says(/^ended: stopped /);
      const { run, said: told, open } = await asked;
      assert.deepEqual([run, told.startsWith("Stopped at detach/volumes. ")], ["stopped", true], told);
      assert.deepEqual(one.calls(), calls, "nothing was begun any more");
      const [switchover] = await client().listSwitchovers(pair.name);
      assert.deepEqual([switchover?.switchoverId, switchover?.open], [open, true]);
      assert.equal(await client().findLease(pair.name), undefined);
      assert.equal(said.length, 1, said.join("\n"));
    });

  leaseCase("a request to stop that another run finds", async () => {
    const coordination = client();
    await coordination.prepare();
    await coordination.requestStop(pair.name, "of one that died", "ops on bastion");
    assert.equal(await coordination.findStop(pair.name, "of one that died"), "ops on bastion");
    assert.equal(await coordination.findStop(pair.name, "another"), undefined);
    assert.equal(await coordination.findStop("another pair", "of one that died"), undefined);
    const one = operator("pulumi");
    await one.says(/^ended: idr/);
    await coordination.requestStop(pair.name, "next", "somebody else");
    assert.equal(await coordination.findStop(pair.name, "next"), "somebody else");
    assert.equal(await coordination.findStop(pair.name, "of one that died"), undefined, "one row for each pair");
  });

  leaseCase("the answer to a statement is lost", async () => {
    const coordination = client(optionsOf(proxy));
    await coordination.prepare();
    proxy.fate = (sql) => (/UPDATE cinder_cheesecake\.lease/.test(sql) ? "answer lost" : undefined);
    await assert.rejects(
      coordination.acquireLease("p", holder("a"), "t1", 60),
      fails("unreachable", /outcome is unknown/),
    );
    proxy.fate = (sql) => (/^COMMIT/.test(sql) ? "answer lost" : undefined);
    await assert.rejects(
      coordination.appendJournal("s1", 0, "p", ["entry"]),
      fails("unreachable", /outcome is unknown/),
    );
    proxy.fate = () => undefined;
    // Both were done: the same again is success, another's is refused.
    assert.equal(await coordination.acquireLease("p", holder("b"), "t2", 60), undefined);
    assert.equal((await coordination.acquireLease("p", holder("a"), "t1", 60))?.owner, "a");
    await coordination.appendJournal("s1", 0, "p", ["entry"]);
    assert.deepEqual(await coordination.readJournal("s1"), ["entry"]);
  });

  leaseCase("error 1213 at a statement, or at COMMIT", async () => {
    const coordination = client(optionsOf(proxy));
    await coordination.prepare();
    const refused: string[] = [];
    const once = (what: RegExp) => (sql: string) => {
      if (!what.test(sql) || refused.includes(String(what))) return undefined;
      refused.push(String(what));
      return "deadlock" as const;
    };
    proxy.fate = once(/UPDATE cinder_cheesecake\.lease/);
    assert.equal((await coordination.acquireLease("p", holder("a"), "t1", 60))?.owner, "a");
    proxy.fate = once(/SET expires_at/);
    assert.equal(await coordination.renewLease("p", "t1", 60), true);
    proxy.fate = once(/^COMMIT/);
    await coordination.appendJournal("s1", 0, "p", ["entry"]);
    assert.deepEqual(await coordination.readJournal("s1"), ["entry"]);
    assert.equal(refused.length, 3);
    let times = 0;
    proxy.fate = (sql) => (/^COMMIT/.test(sql) ? ((times += 1), "deadlock") : undefined);
    await assert.rejects(
      coordination.appendJournal("s1", 1, "p", ["next"]),
      fails("remote", /Deadlock found.*1213.*Nothing of this change was kept.*Other clients write the same rows/),
    );
    assert.ok(times > 1);
    proxy.fate = () => undefined;
    assert.deepEqual(await coordination.readJournal("s1"), ["entry"]);
  });

  describe("on Galera", () => {
    const nodes: PrivateMariadb[] = [];

    before(async function () {
      this.timeout(180_000);
      const library = ["/usr/lib/galera/libgalera_smm.so", "/usr/lib64/galera/libgalera_smm.so"].find((one) =>
        existsSync(one),
      );
      if (library === undefined) skipBecause(this, "Galera's library isn't installed");
      const node = (host: string, port: number, cluster: string): Promise<PrivateMariadb> =>
        startMariadb(host, port, [
          "--skip-ssl", "--binlog-format=ROW", "--innodb-autoinc-lock-mode=2", "--wsrep-on=ON", `--wsrep-provider=${library}`,
          `--wsrep-cluster-address=gcomm://${cluster}`, "--wsrep-cluster-name=lease", `--wsrep-node-address=${host}`,
          "--wsrep-sst-method=rsync", `--wsrep-sst-receive-address=${host}:14444`,
          `--wsrep-provider-options=gmcast.listen_addr=tcp://${host}:14567;ist.recv_addr=${host}:14568`,
        ]); // prettier-ignore
      nodes.push(await node("127.71.0.14", 13314, ""));
      nodes.push(await node("127.71.0.15", 13315, "127.71.0.14:14567"));
      await nodes[0]?.sql(grants);
    });
    after(async () => {
      for (const node of nodes.splice(0).reverse()) await node.stop();
    });

    /** Transactions that lost against one of the other node, found at their commit or on the way to it. */
    async function conflicts(): Promise<number> {
      let sum = 0;
      for (const node of nodes)
        for (const { Value } of await node.sql("SHOW GLOBAL STATUS WHERE Variable_name IN ('wsrep_local_cert_failures', 'wsrep_local_bf_aborts')"))
          sum += Number(Value);
      return sum;
    } // prettier-ignore

    /** Lease, owner and journal, each from both nodes at once. */
    async function race(a: Client, b: Client, round: number): Promise<void> {
      const name = `p${round}`;
      const taken = await Promise.all([
        a.acquireLease(name, holder("a"), "ta", 60),
        b.acquireLease(name, holder("b"), "tb", 60),
      ]);
      assert.equal(taken.filter((lease) => lease !== undefined).length, 1, `round ${round}`);
      const owners = await Promise.all([a.claimOwnership(name, "one"), b.claimOwnership(name, "other")]);
      assert.equal(owners[0].stack, owners[1].stack, `round ${round}`);
      const written = await Promise.allSettled([
        a.appendJournal(`s${round}`, 0, name, ["by a"]),
        b.appendJournal(`s${round}`, 0, name, ["by b"]),
      ]);
      const refusals = written.flatMap((one) => (one.status === "rejected" ? [one.reason as unknown] : []));
      assert.equal(refusals.length, 1, `round ${round}`);
      assert.ok(fails("journal", /another entry has this number/)(refusals[0]), String(refusals[0]));
      assert.equal((await b.readJournal(`s${round}`)).length, 1);
    }

    leaseCase("two operators at two nodes of a Galera cluster at the same moment", async () => {
      const [a, b] = nodes.map((node) => client(optionsOf(node)));
      assert.ok(a !== undefined && b !== undefined);
      await a.prepare();
      assert.equal(await a.findLease("p"), undefined);
      const before = await conflicts();
      let rounds = 0;
      for (; rounds < 500 && (rounds < 25 || (await conflicts()) < before + 5); rounds++) await race(a, b, rounds);
      const failed = (await conflicts()) - before;
      console.log(
        `      ${rounds} rounds, ${failed} transactions that failed their certification or were aborted for it`,
      );
      assert.ok(failed >= 5, `only ${failed} conflicts: nothing was tried`);
    });
  });

  describe("in docs/switchover.md", () => {
    it("the table has a row for each case, and a case for each row", () =>
      assert.deepEqual([...rows].sort(), [...cases].sort()));
    after(() => console.log(`    ${passed} lease cases passed, of ${cases.length}`));
  });
});
