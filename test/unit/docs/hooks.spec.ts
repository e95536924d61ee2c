import assert from "node:assert/strict";
import http from "node:http";
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import type { AddressInfo } from "node:net";
import os from "node:os";
import path from "node:path";
import { parse } from "yaml";
import { hookRunner } from "../../../lib/connections/hooks";
import { type HookSpec, hookSchema } from "../../../lib/topology/hooks";
import { priorityGroupsSchema, startOrderOf } from "../../../lib/topology/priority-groups";
import { at, journals, killAt, operator } from "../switchover/support";
import { intentTo, World } from "../switchover/world";
import { blocks, read } from "./documents";

/** The example as it stands there, on a world: its scripts are run, and what they call is recorded. */
describe("docs/hooks.md", () => {
  const document = read("docs/hooks.md");
  const block = (info: string): string => {
    const [only, ...others] = blocks(document, info);
    assert.ok(only !== undefined && others.length === 0, `one block ${info}`);
    return only;
  };
  const newJournal = journals();
  const formerPath = process.env["PATH"];
  let folder = "";
  let server: http.Server;
  const told: unknown[] = [];
  let hooks: HookSpec[] = [];

  before(async () => {
    folder = mkdtempSync(path.join(os.tmpdir(), "hooks-example-"));
    const bin = path.join(folder, "bin");
    mkdirSync(bin);
    const program = (file: string, text: string): void => {
      writeFileSync(file, text);
      chmodSync(file, 0o755);
    };
    for (const script of ["application.sh", "dns.sh"]) program(path.join(folder, script), block(`sh ${script}`));
    const recorder = `#!/bin/sh\n{ echo "$(basename "$0") $*"; case "$0" in *nsupdate) cat ;; esac; } >> ${folder}/called\n`;
    for (const name of ["ssh", "nsupdate"]) program(path.join(bin, name), recorder);
    process.env["PATH"] = `${bin}:${formerPath}`;
    server = http.createServer((request, response) => {
      let body = "";
      request.on("data", (chunk: Buffer) => (body += chunk.toString()));
      request.on("end", () => {
        told.push([request.method, request.url, JSON.parse(body)]);
        response.writeHead(500).end("down");
      });
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const chat = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const text = block("yaml hooks")
      .replaceAll("/usr/local/lib/cheesecake", folder)
      .replaceAll("https://chat.example.org", chat);
    hooks = (parse(text) as { hooks: unknown[] }).hooks.map((hook) => hookSchema.parse(hook));
  });
  after(() => {
    process.env["PATH"] = formerPath;
    server.closeAllConnections();
    server.close();
    rmSync(folder, { recursive: true });
  });
  beforeEach(() => {
    writeFileSync(path.join(folder, "called"), "");
    told.length = 0;
  });

  /** A world whose hooks are run on this machine. */
  function begin(): { world: World; dr: ReturnType<typeof operator> } {
    const world = new World();
    const secrets = {
      ontapPasswords: {},
      databasePassword: "hush-1",
      messageQueuePassword: "hush-2",
      openstackSecret: "hush-3",
      hookSecrets: { chat: "hush-4" },
    };
    const ports = { ...world.ports(), hooks: hookRunner(secrets) };
    world.ports = () => ports;
    return { world, dr: operator(world, newJournal()) };
  }
  const called = (): string => readFileSync(path.join(folder, "called"), "utf8");
  const remote = "ssh -n -o BatchMode=yes shop.example.org /opt/shop/maintenance";

  it("has an example that freezes, thaws, moves the address, and tells, though the chat is down", async () => {
    const { world, dr } = begin();
    await dr.up(intentTo("idr", { hooks }), at("iprod"));
    const update = [
      "nsupdate -k /etc/cheesecake/dns.key",
      "server ns.example.org",
      "zone example.org",
      "update delete shop.example.org. A",
      "update add shop.example.org. 60 A 198.51.100.10",
      "send",
    ];
    assert.deepEqual(called().trimEnd().split("\n"), [`${remote} on`, `${remote} off`, ...update]);
    const [id = ""] = world.journals.keys();
    const text = `The shop runs at idr (planned switchover from iprod, ${id})`;
    assert.deepEqual(told, [["POST", "/hooks/hush-4", { text }]]);
    assert.ok(
      dr.said.some((line) => /^warning: hook "tell-chat" failed: it answered 500 .*; its last output: down/.test(line)),
    );
    const journal = [...world.journals.values()].flatMap(({ entries }) => entries).join("\n");
    assert.match(journal, /hooks\/\{secret:chat\}/);
    assert.doesNotMatch(`${journal}\n${dr.said.join("\n")}`, /hush/);
  });

  it("has an example that thaws again where the switchover is aborted", async () => {
    const { dr } = begin();
    await assert.rejects(
      dr.up(intentTo("idr", { hooks }), at("iprod"), killAt("final-sync/update-mirrors", "recorded")),
    );
    await dr.up(intentTo("iprod", { hooks }), at("iprod"));
    assert.equal(called(), `${remote} on\n${remote} off\n`);
    assert.deepEqual(told, []);
  });

  it("shows the preview as it is", async () => {
    const { dr } = begin();
    const { sentences } = await dr.preview(intentTo("idr", { hooks }), at("iprod"));
    const [shown = ""] = /Hook "freeze-shop".*$/m.exec(document.text) ?? [];
    const line = shown.replace("/usr/local/lib/cheesecake", folder);
    assert.ok(line !== "" && sentences.some((sentence) => sentence.includes(line)), `${line}\n${sentences.join("\n")}`);
  });

  it("has groups that start in the order that it tells", () => {
    const groups = priorityGroupsSchema.parse(
      (parse(block("yaml groups")) as { priorityGroups: unknown }).priorityGroups,
    );
    const rest = { name: "default", priority: 3, dependsOn: [] };
    const order = startOrderOf([...groups, rest]).order.map(({ name }) => name);
    assert.ok(document.text.includes(`Here: ${order.join(", ")}.`), order.join(", "));
  });
});
