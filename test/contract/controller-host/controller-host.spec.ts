import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { createHash, generateKeyPairSync } from "node:crypto";
import {
  appendFileSync,
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import fc from "fast-check";
import ssh2 from "ssh2";
import { connectController, connectNovaManage, type ControllerOptions } from "../../../lib/controller-host";
import {
  LocalRunner,
  SshRunner,
  quote,
  succeed,
  type CommandRunner,
  type SshOptions,
} from "../../../lib/controller-host/runner";
import { DrError } from "../../../lib/errors";
import { badInput } from "../../support/bad-input";

/** A real SSH server in this process: every command is run by a real shell, as sshd does. */
class SshServer {
  private readonly keys = generateKeyPairSync("rsa", {
    modulusLength: 2048,
    privateKeyEncoding: { type: "pkcs1", format: "pem" },
    publicKeyEncoding: { type: "pkcs1", format: "pem" },
  });
  private readonly user = ssh2.utils.generateKeyPairSync("ed25519");
  private readonly connections = new Set<ssh2.Connection>();
  private readonly server: ssh2.Server;
  readonly commands: string[] = [];

  constructor(private readonly folder: string) {
    const allowed = ssh2.utils.parseKey(this.user.public);
    if (allowed instanceof Error) throw allowed;
    this.server = new ssh2.Server({ hostKeys: [this.keys.privateKey] }, (client) => {
      this.connections.add(client);
      client.on("error", () => undefined);
      client.on("authentication", (ctx) => {
        if (ctx.method !== "publickey" || !ctx.key.data.equals(allowed.getPublicSSH()))
          return ctx.reject(["publickey"]);
        if (ctx.signature && ctx.blob && allowed.verify(ctx.blob, ctx.signature, ctx.hashAlgo) !== true)
          return ctx.reject();
        ctx.accept();
      });
      client.on("session", (accept) => {
        accept().on("exec", (acceptExec, _reject, { command }) => {
          this.commands.push(command);
          const stream = acceptExec();
          const child = spawn("sh", ["-c", command]);
          child.stdout.pipe(stream, { end: false });
          child.stderr.pipe(stream.stderr, { end: false });
          stream.pipe(child.stdin);
          child.stdin.on("error", () => undefined);
          // As sshd does: the status at its end, the channel's end with that of its output.
          child.on("exit", (code) => stream.exit(code ?? 1));
          child.on("close", () => stream.end());
        });
      });
    });
  }

  async listen(): Promise<SshOptions> {
    await new Promise<void>((resolve) => this.server.listen(0, "127.71.0.5", resolve));
    const privateKeyFile = path.join(this.folder, "id_ed25519");
    writeFileSync(privateKeyFile, this.user.private, { mode: 0o600 });
    const key = ssh2.utils.parseKey(this.keys.privateKey);
    if (key instanceof Error) throw key;
    return {
      address: "127.71.0.5",
      port: (this.server.address() as AddressInfo).port,
      username: "cinder",
      privateKeyFile,
      hostKeySha256: `SHA256:${createHash("sha256").update(key.getPublicSSH()).digest("base64").replace(/=+$/, "")}`,
      sudo: false,
    };
  }

  drop(): void {
    for (const one of this.connections) one.end();
    this.connections.clear();
  }

  async close(): Promise<void> {
    this.drop();
    await new Promise<void>((resolve) => this.server.close(() => resolve()));
  }
}

const rejects = (work: Promise<unknown>, code: string, text: RegExp): Promise<void> =>
  assert.rejects(work, (error: Error) => {
    assert.ok(DrError.is(error) && error.code === code && text.test(error.message), String(error));
    return true;
  });

for (const kind of ["local", "ssh"] as const)
  describe(`controller-host, ${kind}`, function () {
    this.timeout(30_000);
    let folder: string;
    let server: SshServer | undefined;
    let ssh: SshOptions | undefined;
    let runner: CommandRunner;
    let options: ControllerOptions;
    let controller: ReturnType<typeof connectController>;
    const conf = (): string => path.join(folder, "cinder.conf");
    const log = (): string => path.join(folder, "volume.log");

    before(async () => {
      folder = mkdtempSync(path.join(tmpdir(), "controller-"));
      if (kind === "ssh") {
        server = new SshServer(folder);
        ssh = await server.listen();
      }
      runner = ssh === undefined ? new LocalRunner() : new SshRunner(ssh);
      // A scratch service: a process with a pid file, and a mask that its start obeys.
      const service = path.join(folder, "service.sh");
      writeFileSync(
        service,
        `#!/bin/sh
cd "$(dirname "$0")"
alive() { [ -f "$2.pid" ] && kill -0 "$(cat "$2.pid")" 2>/dev/null; }
case "$1" in
  start) [ ! -e "$2.masked" ] || { echo "$2 is masked" >&2; exit 1; }; alive "$@" || { sleep 600 & echo $! > "$2.pid"; } ;;
  stop) ! alive "$@" || kill "$(cat "$2.pid")"; rm -f "$2.pid" ;;
  mask) touch "$2.masked" ;;
  unmask) rm -f "$2.masked" ;;
  is-active) alive "$@" || exit 3 ;;
  is-masked) [ -e "$2.masked" ] || exit 3 ;;
esac
`,
      );
      chmodSync(service, 0o755);
      const command = (verb: string): string[] => [service, verb, "{service}"];
      const common = {
        name: "ctl1",
        cinderConf: conf(),
        services: {
          manager: "custom" as const,
          commands: {
            start: command("start"),
            stop: command("stop"),
            mask: command("mask"),
            unmask: command("unmask"),
            isActive: command("is-active"),
            isMasked: command("is-masked"),
          },
          units: [
            { role: "volume" as const, unit: "cinder-volume", startedHere: true, logFile: log() },
            { role: "api" as const, unit: "cinder-api", startedHere: false },
          ],
        },
      };
      options = ssh === undefined ? { kind: "local", ...common } : { kind: "ssh", ...common, ...ssh };
      controller = connectController(options);
    });
    after(async () => {
      await controller.stopAndMask("cinder-volume");
      await controller.close();
      await runner.close();
      await server?.close();
      rmSync(folder, { recursive: true, force: true });
    });

    describe("nova-manage", () => {
      /** Writes down how it's called, and ends with what the file says. */
      const program = (): string => path.join(folder, "nova-manage");
      const told = (): Record<string, string> =>
        Object.fromEntries(
          ["argv", "connector", "timeout"].map((name) => [name, readFileSync(path.join(folder, name), "utf8")]),
        );
      const connector = JSON.stringify({ host: "compute-1", initiator: "iqn.1994-05.com.redhat:it's" });
      // No other test's lock.
      const volumeId = (): string => `${kind}-${process.pid}`;
      const lock = (): string => `/tmp/cinder-cheesecake-${volumeId()}.lock`;
      const manage = (prefix: string[] = [], command = [program(), "--config-file", "/etc/nova/my nova.conf"]) =>
        connectNovaManage(options, { controller: "ctl1", prefix, command });
      const refresh = async (one: ReturnType<typeof manage>): Promise<void> => {
        try {
          await one.refreshAttachment({ serverId: "s1", volumeId: volumeId(), connector });
        } finally {
          await one.close();
        }
      };
      const ends = (code: number, more = ""): void => {
        writeFileSync(
          program(),
          `#!/bin/sh\ncd "$(dirname "$0")"\nprintf '%s\\n' "$@" > argv\nfor file; do :; done\n[ ! -p "$file" ] || cat "$file" > connector\nprintf %s "\${OS_DEFAULT__RPC_RESPONSE_TIMEOUT-}" > timeout\n${more}\nexit ${code}\n`,
        );
        chmodSync(program(), 0o755);
      };
      after(() => rmSync(lock(), { force: true }));

      it("gets the connector by a pipe that it can open, and 1800 s for its answer", async () => {
        ends(0);
        await refresh(manage());
        const { argv, ...rest } = told();
        const wanted = [
          "--config-file",
          "/etc/nova/my nova.conf",
          "volume_attachment",
          "refresh",
          "s1",
          volumeId(),
          "/dev/stdin",
        ];
        assert.deepEqual(argv?.trimEnd().split("\n"), wanted);
        assert.deepEqual(rest, { connector, timeout: "1800" });
        await refresh(manage(["env", "LANG=C"]));
      });

      for (const [code, says] of [
        [1, /failed in between/],
        [5, /isn't stopped/],
        [7, /another compute host's/],
      ] as const)
        it(`says what ${code} means, and nothing of what it printed`, async () => {
          ends(code, `echo auth_password=chap-secret; echo auth_password=chap-secret >&2`);
          await assert.rejects(refresh(manage()), (error: Error) => {
            assert.ok(DrError.is(error, "remote") && !error.retryable && says.test(error.message), String(error));
            assert.doesNotMatch(error.message, /chap-secret|iqn/);
            return true;
          });
        });

      it("isn't run beside another one on the same volume", async () => {
        ends(0, "touch began; while [ ! -e go ]; do sleep 0.05; done");
        const first = refresh(manage());
        while (!existsSync(path.join(folder, "began"))) await new Promise((resolve) => setTimeout(resolve, 20));
        await assert.rejects(
          refresh(manage()),
          (error: Error) => DrError.is(error, "remote") && error.retryable && /another one works/.test(error.message),
        );
        writeFileSync(path.join(folder, "go"), "");
        await first;
        await refresh(manage());
      });

      it("is missing: said by its name", async () => {
        await rejects(
          refresh(manage([], ["/nonexistent/nova-manage"])),
          "remote",
          /127: .*\/nonexistent\/nova-manage.*not found/,
        );
      });

      describe("without what its script needs", () => {
        const incomplete = (): string[] => {
          const bin = path.join(folder, `without-flock-${kind}`);
          mkdirSync(bin, { recursive: true });
          for (const name of ["sh", "cat"])
            if (!existsSync(path.join(bin, name))) symlinkSync(`/bin/${name}`, path.join(bin, name));
          return ["env", `PATH=${bin}`];
        };
        for (const [name, prefix, says] of [
          ["flock", incomplete, /127.*flock.*not found/s],
          ["standard input", () => ["sh", "-c", 'exec "$@" </dev/null', "sh"], /74.*no standard input/s],
        ] as const)
          it(`doesn't wait for ${name}, and its probe finds out`, async () => {
            ends(3);
            const one = manage(prefix());
            await rejects(one.probe("s1"), "remote", says);
            await assert.rejects(refresh(one), (error: Error) => {
              assert.ok(DrError.is(error, "remote") && !error.retryable && says.test(error.message), String(error));
              return true;
            });
          });
      });

      it("is probed by many at once", async () => {
        ends(3);
        const all = [manage(), manage(), manage()];
        await Promise.all(all.map((one) => one.probe("s1")));
        await Promise.all(all.map((one) => one.close()));
      });

      it("is proved by asking for a volume that no instance has", async () => {
        const one = manage();
        ends(3);
        await one.probe("s1");
        assert.deepEqual(told()["argv"]?.trimEnd().split("\n").slice(2), [
          "volume_attachment",
          "show",
          "s1",
          "00000000-0000-0000-0000-000000000000",
        ]);
        for (const code of [0, 1, 2]) {
          ends(code);
          await rejects(one.probe("s1"), "remote", new RegExp(`it ended with ${code}`));
        }
        await one.close();
      });
    });

    describe("commands", () => {
      it("get their arguments as they are, and their input", async () => {
        const odd = ["a b", "it's", "$HOME", "`id`", "", "ä*", "-n", "x\ny"];
        const seen = await runner.run(["sh", "-c", 'for one; do printf "<%s>" "$one"; done; cat', "sh", ...odd], {
          stdin: "input",
        });
        assert.equal(seen.stdout.toString(), `${odd.map((one) => `<${one}>`).join("")}input`);
        assert.equal(seen.code, 0);
      });
      it("get none of this process's credentials", async () => {
        process.env["PULUMI_CONFIG_PASSPHRASE"] = "hush-passphrase";
        try {
          const { stdout } = await runner.run(["env"]);
          assert.match(stdout.toString(), /^PATH=/m);
          // The server of this test gives its own surroundings to every shell, as sshd wouldn't.
          if (kind === "local") assert.doesNotMatch(stdout.toString(), /hush/);
          else assert.ok(!server?.commands.at(-1)?.includes("hush"));
        } finally {
          delete process.env["PULUMI_CONFIG_PASSPHRASE"];
        }
      });
      it("fail without the passwords of URLs that they print", async () => {
        const said = "Could not parse URL from string 'mysql+pymysql://nova:hush%40it@10.0.0.1/nova', nor a://b:c@d";
        await rejects(
          succeed(runner, "ctl1", ["sh", "-c", 'echo "$1" >&2; exit 1', "sh", said]),
          "remote",
          /ended with 1: Could not parse URL from string 'mysql\+pymysql:\/\/nova:…@10\.0\.0\.1\/nova', nor a:\/\/b:…@d/,
        );
      });
      it("give code and both outputs", async () => {
        const seen = await runner.run(["sh", "-c", "echo out; echo err >&2; exit 7"]);
        assert.deepEqual([seen.code, seen.stdout.toString(), seen.stderr], [7, "out\n", "err\n"]);
      });
      it("that only ask are answered by their codes, whatever they print", async () => {
        const questions = [["sh", "-c", "echo exit-code 1 7; exit 3"], ["true"], ["a program's name that isn't there"]];
        assert.deepEqual(await runner.exitCodes(questions), [3, 0, 127]);
      });
      it("are killed at their deadline, with what they started", async () => {
        const file = path.join(folder, "children");
        await rejects(
          runner.run(["sh", "-c", 'sleep 300 & echo $! > "$1"; wait', "sh", file], { timeoutMs: 1000 }),
          "wait-timeout",
          /did not end within 1000 ms/,
        );
        const pid = Number(readFileSync(file, "utf8"));
        const dead = (): boolean =>
          !existsSync(`/proc/${pid}`) || /^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
        const deadline = Date.now() + 10_000;
        while (!dead() && Date.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 50));
        assert.ok(dead());
      });
      it("are ended when they never stop talking", async () => {
        await rejects(runner.run(["yes"], { timeoutMs: 20_000 }), "remote", /more than \d+ bytes/);
      });
    });

    describe("services", () => {
      it("are stopped, masked, unmasked, started and restarted, each safe to repeat", async () => {
        const state = async (): Promise<unknown> =>
          (await controller.listUnits()).map(({ unit, startedHere, active, masked }) => [
            unit,
            startedHere,
            active,
            masked,
          ]);
        await controller.unmaskAndStart("cinder-volume");
        await controller.unmaskAndStart("cinder-volume");
        assert.deepEqual(await state(), [
          ["cinder-volume", true, true, false],
          ["cinder-api", false, false, false],
        ]);
        const pid = readFileSync(path.join(folder, "cinder-volume.pid"), "utf8");
        await controller.restart("cinder-volume");
        assert.notEqual(readFileSync(path.join(folder, "cinder-volume.pid"), "utf8"), pid);
        await controller.stopAndMask("cinder-volume");
        await controller.stopAndMask("cinder-volume");
        assert.deepEqual(await state(), [
          ["cinder-volume", true, false, true],
          ["cinder-api", false, false, false],
        ]);
        await controller.unmask("cinder-volume");
        assert.deepEqual(await state(), [
          ["cinder-volume", true, false, false],
          ["cinder-api", false, false, false],
        ]);
      });
    });

    describe("files", () => {
      const content = "[DEFAULT]\r\nname = ä 💾 'x' \"y\" $z\n\n  no final newline";
      beforeEach(() => {
        rmSync(conf(), { force: true });
        writeFileSync(conf(), content, { mode: 0o640 });
      });

      it("are read byte for byte with their digest", async () => {
        assert.deepEqual(await controller.readFile(conf()), {
          content,
          sha256: createHash("sha256").update(content).digest("hex"),
        });
      });
      it("keep owner and mode, leave nothing beside them, and follow symbolic links", async () => {
        if (process.getuid?.() === 0) chownSync(conf(), 12, 34);
        const link = path.join(folder, "link.conf");
        rmSync(link, { force: true });
        symlinkSync(conf(), link);
        const before = await controller.readFile(link);
        const inode = statSync(conf()).ino;
        const names = readdirSync(folder).sort();
        const written = await controller.writeFile(link, `${content}\nmore`, before.sha256);
        assert.equal(readFileSync(conf(), "utf8"), `${content}\nmore`);
        assert.deepEqual(await controller.readFile(conf()), written);
        const stat = statSync(conf());
        assert.equal(stat.mode & 0o7777, 0o640);
        if (process.getuid?.() === 0) assert.deepEqual([stat.uid, stat.gid], [12, 34]);
        assert.notEqual(stat.ino, inode, "a new file was renamed over it");
        assert.deepEqual(readdirSync(folder).sort(), names);
        assert.deepEqual(
          await controller.writeFile(link, `${content}\nmore`, before.sha256),
          written,
          "a repeat is success",
        );
      });
      it("are told that are read after cinder.conf", async () => {
        assert.deepEqual(await controller.listDropIns(), []);
        const [first, second] = ["cinder.conf.d/20 a.conf", "cinder-volume.conf.d/10.conf"].map((name) =>
          path.join(folder, name),
        );
        for (const file of [first, second, path.join(folder, "cinder.conf.d/30.conf.bak")]) {
          mkdirSync(path.dirname(file ?? ""), { recursive: true });
          writeFileSync(file ?? "", "");
        }
        assert.deepEqual(await controller.listDropIns(), [first, second]);
        for (const name of ["cinder.conf.d", "cinder-volume.conf.d"])
          rmSync(path.join(folder, name), { recursive: true });
      });
      badInput("cinder.conf", "are left alone when somebody else has changed them", async () => {
        const before = await controller.readFile(conf());
        appendFileSync(conf(), "# theirs\n");
        const names = readdirSync(folder).sort();
        await rejects(controller.writeFile(conf(), "ours", before.sha256), "conflict", /changed by somebody else/);
        assert.equal(readFileSync(conf(), "utf8"), `${content}# theirs\n`);
        assert.deepEqual(readdirSync(folder).sort(), names);
      });
      badInput("cinder.conf", "are refused where they aren't UTF-8 or aren't there", async () => {
        writeFileSync(conf(), Buffer.from([0x5b, 0xe4, 0x5d]));
        await rejects(controller.readFile(conf()), "config", /UTF-8/);
        await rejects(controller.readFile(path.join(folder, "nowhere")), "remote", /No such file/);
        await rejects(controller.writeFile(path.join(folder, "nowhere"), "x", "y"), "remote", /ended with/);
      });
    });

    describe("logs", () => {
      beforeEach(() => {
        for (const name of readdirSync(folder)) if (name.startsWith("volume.log")) rmSync(path.join(folder, name));
      });
      it("are read from the mark on", async () => {
        writeFileSync(log(), "old\n");
        const mark = await controller.markLog("cinder-volume");
        assert.equal(await controller.readLogSince("cinder-volume", mark), "");
        appendFileSync(log(), "new ä\n");
        assert.equal(await controller.readLogSince("cinder-volume", mark), "new ä\n");
      });
      it("are read across a rotation, a truncation in place, and a compression", async () => {
        writeFileSync(log(), "old\n");
        const mark = await controller.markLog("cinder-volume");
        appendFileSync(log(), "before rotation\n");
        renameSync(log(), `${log()}.1`);
        writeFileSync(log(), "after rotation\n");
        assert.equal(await controller.readLogSince("cinder-volume", mark), "before rotation\nafter rotation\n");
        rmSync(`${log()}.1`);
        assert.equal(await controller.readLogSince("cinder-volume", mark), "after rotation\n");
        const second = await controller.markLog("cinder-volume");
        writeFileSync(log(), "cut\n");
        assert.equal(await controller.readLogSince("cinder-volume", second), "cut\n");
      });
      it("may not exist yet, and are bounded", async () => {
        const mark = await controller.markLog("cinder-volume");
        assert.equal(await controller.readLogSince("cinder-volume", mark), "");
        writeFileSync(log(), "x".repeat(3 * 1024 * 1024));
        assert.equal((await controller.readLogSince("cinder-volume", mark)).length, 1024 * 1024);
      });
      it("are refused for a custom service without a log file", async () => {
        await rejects(controller.markLog("cinder-api"), "config", /logFile/);
      });
    });

    if (kind === "local")
      it("names a program that isn't there", async () => {
        await rejects(runner.run(["/nowhere/program"]), "remote", /ENOENT/);
      });

    if (kind === "ssh")
      describe("the connection", () => {
        const sshOptions = (): SshOptions => {
          assert.ok(ssh);
          return ssh;
        };
        it("is refused to a host with another key, before anything is sent", async () => {
          const sent = server?.commands.length;
          const other = new SshRunner({ ...sshOptions(), hostKeySha256: "SHA256:AAAA" });
          await rejects(other.run(["true"]), "config", /shows the key SHA256:.*SHA256:AAAA/);
          assert.equal(server?.commands.length, sent);
          await other.close();
        });
        it("is refused to a user with another key, without a key, and with nobody there", async () => {
          const file = path.join(folder, "other");
          writeFileSync(file, ssh2.utils.generateKeyPairSync("ed25519").private);
          await rejects(
            new SshRunner({ ...sshOptions(), privateKeyFile: file }).run(["true"]),
            "config",
            /refuses the user/,
          );
          await rejects(
            new SshRunner({ ...sshOptions(), privateKeyFile: path.join(folder, "none") }).run(["true"]),
            "config",
            /private key/,
          );
          writeFileSync(file, "no key");
          await rejects(new SshRunner({ ...sshOptions(), privateKeyFile: file }).run(["true"]), "config", /passphrase/);
          await rejects(new SshRunner({ ...sshOptions(), port: 1 }).run(["true"]), "unreachable", /ECONNREFUSED/);
        });
        it("says unreachable when it's lost in the middle, and comes back", async () => {
          const lost = rejects(runner.run(["sleep", "20"]), "unreachable", /whether the command ran/i);
          const deadline = Date.now() + 10_000;
          while (!server?.commands.some((command) => command.includes("sleep 20")) && Date.now() < deadline)
            await new Promise((resolve) => setTimeout(resolve, 20));
          server?.drop();
          await lost;
          assert.equal((await runner.run(["echo", "back"])).stdout.toString(), "back\n");
        });
        it("puts sudo in front, without a prompt", async () => {
          const elevated = new SshRunner({ ...sshOptions(), sudo: true });
          await elevated.run(["cat", "--", "/a b"]);
          assert.equal(server?.commands.at(-1), `sudo -n -- timeout -k 5 60 cat -- '/a b'`);
          await elevated.close();
        });
      });
  });

describe("quote", () => {
  it("survives a real shell", () => {
    for (const word of ["", "a b", "it's", "'", "$x", "\\", "a\nb", "~", "*", "!", "ä"])
      assert.equal(execFileSync("sh", ["-c", `printf %s ${quote(word)}`]).toString(), word);
  });
  it("survives it whatever the words are", () => {
    // No argument of a program holds a zero byte.
    const word = fc.string({ unit: "binary", maxLength: 30 }).map((drawn) => drawn.replaceAll("\0", ""));
    fc.assert(
      fc.property(fc.array(word, { minLength: 50, maxLength: 100 }), (words) => {
        const script = `for one in ${words.map(quote).join(" ")}; do printf '%s\\0' "$one"; done`;
        assert.deepEqual(execFileSync("sh", ["-c", script]).toString().split("\0").slice(0, -1), words);
      }),
      { numRuns: 3 },
    );
  });
});
