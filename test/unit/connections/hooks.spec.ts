import assert from "node:assert/strict";
import http from "node:http";
import https from "node:https";
import type { AddressInfo } from "node:net";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { hookRunner } from "../../../lib/connections/hooks";
import { redacted, Tail } from "../../../lib/connections/tail";
import type { HookOutcome } from "../../../lib/switchover/ports";
import { hookSchema } from "../../../lib/topology/hooks";
import { makeCertificate } from "../http/certificates";

const secrets = {
  ontapPasswords: { iprod: "array-password" },
  databasePassword: "database-password",
  messageQueuePassword: "queue-password",
  openstackSecret: "cloud-secret",
  hookSecrets: { chat: "T0/B0/hush" },
};
const facts = {
  pair: "pair",
  switchoverId: "20260101T000000Z-pair",
  kind: "switchover",
  mode: "planned",
  route: "failover-host",
  from: "iprod",
  to: "idr",
  when: "before",
  phase: "quiesce",
  hook: "h",
};
const instances = [{ id: "1", name: "server-1" }];
const run = (declared: Record<string, unknown>, signal = new AbortController().signal): Promise<HookOutcome> =>
  hookRunner(secrets).run({
    hook: hookSchema.parse({ name: "h", when: "before:quiesce", timeoutSeconds: 20, ...declared }),
    facts,
    instances,
    signal,
  });
const script = (text: string, more: Record<string, unknown> = {}): Promise<HookOutcome> =>
  run({ command: [process.execPath, "-e", text], ...more });

describe("a hook's command", () => {
  let folder = "";
  before(async () => void (folder = await mkdtemp(path.join(os.tmpdir(), "hooks-"))));
  after(() => rm(folder, { recursive: true }));

  it("gets the facts in its environment and, with the instances, as JSON, and none of this process's credentials", async () => {
    process.env["CHEESECAKE_DATABASE_PASSWORD"] = "database-password";
    process.env["CHEESECAKE_GROUP"] = "from elsewhere";
    try {
      const file = path.join(folder, "seen");
      const text = `const fs = require("node:fs");
        const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => name.startsWith("CHEESECAKE_")));
        fs.writeFileSync(${JSON.stringify(file)}, JSON.stringify({ env, input: JSON.parse(fs.readFileSync(0, "utf8")) }));`;
      const outcome = await script(text);
      assert.equal(outcome.passed, true, JSON.stringify(outcome));
      assert.deepEqual(JSON.parse(await readFile(file, "utf8")), {
        env: {
          CHEESECAKE_PAIR: "pair",
          CHEESECAKE_SWITCHOVER_ID: "20260101T000000Z-pair",
          CHEESECAKE_KIND: "switchover",
          CHEESECAKE_MODE: "planned",
          CHEESECAKE_ROUTE: "failover-host",
          CHEESECAKE_FROM: "iprod",
          CHEESECAKE_TO: "idr",
          CHEESECAKE_WHEN: "before",
          CHEESECAKE_PHASE: "quiesce",
          CHEESECAKE_HOOK: "h",
          CHEESECAKE_GROUP: "",
        },
        input: { ...facts, instances },
      });
    } finally {
      delete process.env["CHEESECAKE_DATABASE_PASSWORD"];
      delete process.env["CHEESECAKE_GROUP"];
    }
  });

  it("tells its status and the last of what it said, without a secret", async () => {
    const { passed, said, exitCode, output } = await script(
      `console.log("using cloud-secret"); console.error("T0%2FB0%2Fhush, token=abc"); process.exitCode = 3`,
    );
    assert.deepEqual({ passed, said, exitCode }, { passed: false, said: "it ended with status 3", exitCode: 3 });
    assert.deepEqual(output?.split("\n").sort(), ["using …", "…, token=…"].sort());
  });

  it("is no shell's: words stay words", async () => {
    const { output } = await run({ command: ["/bin/echo", "$HOME; true", "a  b"] });
    assert.equal(output, "$HOME; true a  b");
  });

  it("ends at its deadline, with all that it started", async () => {
    const file = path.join(folder, "alive");
    const child = `setInterval(() => require("node:fs").writeFileSync(${JSON.stringify(file)}, String(Date.now())), 20)`;
    const outcome = await script(
      `require("node:child_process").spawn(process.execPath, ["-e", ${JSON.stringify(child)}], { stdio: "inherit" });`,
      { timeoutSeconds: 1 },
    );
    assert.deepEqual([outcome.passed, outcome.timedOut], [false, true]);
    assert.match(outcome.said, /didn't end within 1 s/);
    const last = await readFile(file, "utf8");
    await delay(200);
    assert.equal(await readFile(file, "utf8"), last);
  });

  it("is ended with its group where the run may wait no longer", async () => {
    const file = path.join(folder, "late");
    const stop = new AbortController();
    const text = `require("node:child_process").spawn("/bin/sh", ["-c", "sleep 2; touch ${file}"]); setTimeout(() => undefined, 60_000);`;
    setTimeout(() => stop.abort(), 500);
    const { passed, said, cutOff, durationSeconds } = await run(
      { command: [process.execPath, "-e", text] },
      stop.signal,
    );
    assert.deepEqual([passed, said, cutOff], [false, "it was killed before its end", true]);
    assert.ok(durationSeconds < 10);
    const late = await run({ command: ["/bin/true"] }, stop.signal);
    assert.equal(late.cutOff, true);
  });

  it("says that it couldn't be started", async () => {
    const { passed, said } = await run({ command: [path.join(folder, "nowhere")] });
    assert.equal(passed, false);
    assert.match(said, /^it couldn't be started \(.*ENOENT/);
  });

  it("may leave its input unread, however long that is", async () => {
    const many = Array.from({ length: 20_000 }, (_, index) => ({ id: String(index), name: `server-${index}` }));
    const outcome = await hookRunner(secrets).run({
      hook: hookSchema.parse({ name: "h", when: "before:quiesce", command: ["/bin/true"] }),
      facts,
      instances: many,
      signal: new AbortController().signal,
    });
    assert.equal(outcome.passed, true);
  });
});

describe("a hook's HTTP call", () => {
  interface Seen {
    readonly method: string | undefined;
    readonly url: string | undefined;
    readonly authorization: string | undefined;
    readonly body: string;
  }
  let answer: { status: number; text: string } | undefined;
  const seen: Seen[] = [];
  const handle: http.RequestListener = (request, response) => {
    let body = "";
    request.on("data", (chunk: Buffer) => (body += chunk.toString()));
    request.on("end", () => {
      const { method, url, headers } = request;
      seen.push({ method, url, authorization: headers.authorization, body });
      if (answer !== undefined) response.writeHead(answer.status).end(answer.text);
    });
  };
  const server = http.createServer(handle);
  let base = "";
  before(async () => {
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  });
  after(() => {
    server.closeAllConnections();
    server.close();
  });
  beforeEach(() => {
    answer = { status: 200, text: "ok" };
    seen.length = 0;
  });

  it("sends the facts; secrets where they are named, and what is of the run, encoded for its place", async () => {
    const outcome = await run({
      http: { url: `${base}/{secret:chat}?to={to}&x={unknown}`, headers: { Authorization: "Bearer {secret:chat}" } },
    });
    assert.deepEqual({ ...outcome, durationSeconds: 0 }, { passed: true, said: "it answered 200", status: 200, durationSeconds: 0, output: "ok" }); // prettier-ignore
    const [call] = seen;
    assert.equal(call?.method, "POST");
    assert.equal(call?.url, "/T0/B0/hush?to=idr&x={unknown}");
    assert.equal(call?.authorization, "Bearer T0/B0/hush");
    assert.deepEqual(JSON.parse(call?.body ?? ""), { ...facts, instances });
  });

  it("sends a body of its own with the run's facts in it", async () => {
    const body = { text: "{from} → {to}: {hook}", nested: [{ key: "{secret:chat}" }, 7] };
    await run({ http: { method: "PUT", url: base, body } });
    assert.deepEqual(JSON.parse(seen[0]?.body ?? ""), {
      text: "iprod → idr: h",
      nested: [{ key: "T0/B0/hush" }, 7],
    });
  });

  it("fails by any status but 2xx, once asked, and tells the answer without a secret", async () => {
    answer = { status: 503, text: "no such thing as T0/B0/hush" };
    const outcome = await run({ http: { url: `${base}/{secret:chat}` } });
    assert.deepEqual([outcome.passed, outcome.said, outcome.output], [false, "it answered 503", "no such thing as …"]);
    assert.equal(seen.length, 1);
  });

  it("ends at its deadline", async () => {
    answer = undefined;
    const outcome = await run({ http: { url: `${base}/{secret:chat}` }, timeoutSeconds: 1 });
    assert.deepEqual([outcome.passed, outcome.timedOut, outcome.said], [false, true, "it wasn't answered"]);
    assert.doesNotMatch(JSON.stringify(outcome), /hush/);
  });

  it("is refused where a secret isn't set, before anything is sent", async () => {
    const outcome = await run({ http: { url: `${base}/{secret:other}` } });
    assert.deepEqual([outcome.passed, outcome.said], [false, "hookSecrets.other isn't set"]);
    assert.equal(seen.length, 0);
  });

  it("is made to a server only whose certificate its CA signed", async () => {
    const authority = makeCertificate("a CA of one's own");
    const secure = https.createServer(makeCertificate("hooks", authority), handle);
    await new Promise<void>((resolve) => secure.listen(0, "127.0.0.1", resolve));
    const url = `https://127.0.0.1:${(secure.address() as AddressInfo).port}/`;
    const folder = await mkdtemp(path.join(os.tmpdir(), "hooks-"));
    const caFile = path.join(folder, "ca.pem");
    await writeFile(caFile, authority.cert);
    try {
      const stranger = await run({ http: { url } });
      assert.deepEqual([stranger.passed, seen.length], [false, 0]);
      assert.match(stranger.output ?? "", /could not be verified/);
      const known = await run({ http: { url, caFile } });
      assert.deepEqual([known.passed, seen.length], [true, 1]);
    } finally {
      secure.closeAllConnections();
      secure.close();
      await rm(folder, { recursive: true });
    }
  });
});

describe("what is kept of an output", () => {
  it("is its last 4,000 characters, in whole lines, and never the rest of a secret that was cut", () => {
    for (let before = 0; before < 60; before++) {
      const tail = new Tail(["s3cret-with-a-tail"]);
      tail.add(`s3cret-with-a-tail${"x".repeat(before)}\n`);
      tail.add(`${"y".repeat(3_950)}\nend s3cret-with-`);
      tail.add("a-tail");
      const text = tail.text();
      assert.ok(text.length <= 4_000);
      assert.doesNotMatch(text, /tail|cret/, `${before} before it`);
      assert.match(text, /end …$/);
    }
  });

  it("leaves out what is called a secret by the word before it", () => {
    for (const [text, shown] of [
      ['{"password": "abc", "user": "ann"}', '{"password": "…", "user": "ann"}'],
      ["Authorization: Bearer abc.def", "Authorization: …"],
      ["mysql://ann:abc@host/x", "mysql://…@host/x"],
      ["OS_PASSWORD=abc PATH=/bin", "OS_PASSWORD=… PATH=/bin"],
      ["all is well: 7 passed", "all is well: 7 passed"],
    ] as const)
      assert.equal(redacted(text, []), shown);
  });
});
