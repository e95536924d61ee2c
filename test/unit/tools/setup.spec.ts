import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import fs from "node:fs";
import http from "node:http";
import { createRequire } from "node:module";
import type { AddressInfo } from "node:net";
import os from "node:os";
import path from "node:path";
import { skipBecause } from "../../support/skip";

interface Setup {
  ensureToolchain(options: {
    need: string[];
    root?: string;
    cache?: string;
    log?: (line: string) => void;
  }): Promise<Record<string, unknown>>;
  expandNeed(names: string[]): Set<string>;
  cacheFolder(env: Record<string, string>): string;
  atLeast(version: string, wanted: string): boolean;
  pulumiOnPath(searchPath: string): string | undefined;
  nodeModulesMatchLock(root: string): boolean;
  downloadVerified(url: string, checksumsUrl: string, file: string, patienceMs?: number): Promise<void>;
  withLock<T>(file: string, work: () => Promise<T>, onWait?: (pid: number) => void): Promise<T>;
}

const projectRoot = path.resolve(__dirname, "../../..");
const setupFile = path.join(projectRoot, "tools/setup.mjs");
// An ES module without types, since it runs before TypeScript is there.
const setup = createRequire(__filename)(setupFile) as Setup;

describe("the set-up", function () {
  this.timeout(120_000); // starts programs, on machines that may be busy

  let folder: string;
  beforeEach(() => (folder = fs.mkdtempSync(path.join(os.tmpdir(), "cheesecake-setup-"))));
  afterEach(() => fs.rmSync(folder, { recursive: true }));

  it("knows its parts by name", () => {
    assert.deepEqual([...setup.expandNeed(["all"])], ["node_modules", "pulumi", "system", "python"]);
    assert.deepEqual([...setup.expandNeed(["python"])], ["python"]);
    assert.deepEqual([...setup.expandNeed(["python-older"])], ["python-older"]);
    assert.throws(
      () => setup.expandNeed(["docker"]),
      /no part "docker".*node_modules, pulumi, system, python, python-older, bench, embedded, browser/,
    );
  });

  it("keeps its cache where it is told to, else where the user keeps caches", () => {
    assert.equal(setup.cacheFolder({ CINDER_CHEESECAKE_CACHE: "/a/b", XDG_CACHE_HOME: "/x" }), "/a/b");
    assert.equal(setup.cacheFolder({ XDG_CACHE_HOME: "/x" }), "/x/cinder-cheesecake");
    assert.equal(setup.cacheFolder({}), path.join(os.homedir(), ".cache/cinder-cheesecake"));
  });

  it("compares versions within a major version", () => {
    for (const version of ["3.259.0", "v3.259.0\n", "3.259.1", "3.300.0"]) assert.ok(setup.atLeast(version, "3.259.0"));
    for (const version of ["3.258.9", "2.999.0", "4.0.0", "", "unknown"]) {
      assert.ok(!setup.atLeast(version, "3.259.0"), version);
    }
  });

  describe("node_modules", () => {
    const entry = { version: "1.0.0", integrity: "sha512-a" };

    it("matches the lock file as long as the same packages are installed", () => {
      installed({ "node_modules/a": entry }, { "node_modules/a": entry });
      assert.ok(setup.nodeModulesMatchLock(folder));
    });

    it("doesn't match when a package is missing, of another version or of other content", () => {
      installed({ "node_modules/a": entry }, {});
      assert.ok(!setup.nodeModulesMatchLock(folder));
      installed({ "node_modules/a": entry }, { "node_modules/a": { ...entry, version: "1.0.1" } });
      assert.ok(!setup.nodeModulesMatchLock(folder));
      installed({ "node_modules/a": entry }, { "node_modules/a": { ...entry, integrity: "sha512-b" } });
      assert.ok(!setup.nodeModulesMatchLock(folder));
    });

    it("doesn't match when npm left no record of a complete install", () => {
      installed({ "node_modules/a": entry }, undefined);
      assert.ok(!setup.nodeModulesMatchLock(folder));
    });

    it("may lack what npm leaves out on this platform", () => {
      installed(
        { "node_modules/a": entry, "node_modules/mac": { ...entry, optional: true } },
        { "node_modules/a": entry },
      );
      assert.ok(setup.nodeModulesMatchLock(folder));
    });

    function installed(wanted: object, present: object | undefined): void {
      fs.writeFileSync(path.join(folder, "package-lock.json"), JSON.stringify({ packages: { "": {}, ...wanted } }));
      fs.rmSync(path.join(folder, "node_modules"), { recursive: true, force: true });
      fs.mkdirSync(path.join(folder, "node_modules"));
      const record = path.join(folder, "node_modules/.package-lock.json");
      if (present) fs.writeFileSync(record, JSON.stringify({ packages: present }));
    }
  });

  describe("a Pulumi on PATH", () => {
    const hosts = ["pulumi-language-nodejs", "pulumi-resource-pulumi-nodejs"];

    it("is taken when it's new enough and has its Node.js hosts beside it", () => {
      programs({ pulumi: "echo v3.260.1" }, hosts);
      assert.equal(setup.pulumiOnPath(folder), fs.realpathSync(folder));
    });

    it("isn't taken when it's older, broken or without its hosts", () => {
      programs({ pulumi: "echo v3.258.0" }, hosts);
      assert.equal(setup.pulumiOnPath(folder), undefined);
      programs({ pulumi: "exit 1" }, hosts);
      assert.equal(setup.pulumiOnPath(folder), undefined);
      fs.rmSync(path.join(folder, "pulumi-language-nodejs"));
      programs({ pulumi: "echo v3.260.1" }, []);
      assert.equal(setup.pulumiOnPath(folder), undefined);
    });

    function programs(scripts: Record<string, string>, empty: string[]): void {
      for (const [name, script] of [...Object.entries(scripts), ...empty.map((host) => [host, ""] as const)]) {
        fs.writeFileSync(path.join(folder, name), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
      }
    }
  });

  describe("a download", () => {
    const content = "the archive";
    const sha256 = createHash("sha256").update(content).digest("hex");
    let server: http.Server;
    let base: string;
    let answers: Record<string, string | (() => void)>;

    beforeEach(async () => {
      answers = { "/a.tar.gz": content, "/sums": `${"0".repeat(64)}  b.tar.gz\n${sha256}  a.tar.gz\n` };
      server = http.createServer((request, response) => {
        const answer = answers[request.url ?? ""];
        if (typeof answer === "function") return answer(); // and never an answer
        response.writeHead(answer === undefined ? 404 : 200).end(answer);
      });
      server.listen(0, "127.0.0.1");
      await once(server, "listening");
      base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    });

    afterEach(() => {
      server.closeAllConnections();
      server.close();
    });

    const get = (patienceMs?: number) =>
      setup.downloadVerified(`${base}/a.tar.gz`, `${base}/sums`, path.join(folder, "a"), patienceMs);

    it("is kept when its checksum is the release's", async () => {
      await get();
      assert.equal(fs.readFileSync(path.join(folder, "a"), "utf8"), content);
    });

    it("is refused, and not kept, when its checksum is another", async () => {
      answers["/a.tar.gz"] = "something else";
      await assert.rejects(get(), /has SHA-256 [0-9a-f]{64}, its release says/);
      assert.ok(!fs.existsSync(path.join(folder, "a")));
    });

    it("is refused when the release has no checksum for it", async () => {
      answers["/sums"] = `${sha256}  other.tar.gz\n`;
      await assert.rejects(get(), /has no SHA-256 of a\.tar\.gz/);
    });

    it("is refused when the release isn't there", async () => {
      answers = {};
      await assert.rejects(get(), /\/sums: HTTP 404/);
    });

    it("is given up when nothing arrives", async () => {
      answers["/a.tar.gz"] = () => undefined;
      await assert.rejects(get(50), /a\.tar\.gz: nothing arrived/);
    });

    it("is given up when the server can't be reached", async () => {
      server.close();
      await once(server, "close");
      await assert.rejects(get(), /\/sums: .*ECONNREFUSED/);
    });
  });

  describe("its lock", () => {
    let file: string;
    beforeEach(() => (file = path.join(folder, "cache/part.lock")));

    it("lets one in at a time, and leaves nothing behind", async () => {
      let inside = 0;
      let most = 0;
      const work = async () => {
        most = Math.max(most, ++inside);
        await new Promise((resolve) => setImmediate(resolve));
        inside--;
      };
      await Promise.all([1, 2, 3].map(() => setup.withLock(file, work)));
      assert.equal(most, 1);
      assert.deepEqual(fs.readdirSync(path.dirname(file)), []);
    });

    it("is given back when the work fails", async () => {
      await assert.rejects(
        setup.withLock(file, () => Promise.reject(new Error("no disk"))),
        /no disk/,
      );
      assert.equal(await setup.withLock(file, () => Promise.resolve("in")), "in");
    });

    it("is waited for while its holder lives, and taken over when the holder was killed", async () => {
      const program = `import(${JSON.stringify(setupFile)}).then(({ withLock }) =>
        withLock(${JSON.stringify(file)}, () => { console.log("held"); return new Promise((r) => setInterval(r, 1e9)); }))`;
      const holder = spawn(process.execPath, ["-e", program], { stdio: ["ignore", "pipe", "inherit"] });
      await once(holder.stdout, "data");
      const waited: number[] = [];
      const second = setup.withLock(
        file,
        () => Promise.resolve("in"),
        (pid) => {
          waited.push(pid);
          holder.kill("SIGKILL");
        },
      );
      assert.equal(await second, "in");
      assert.deepEqual(waited, [holder.pid]);
      assert.deepEqual(fs.readdirSync(path.dirname(file)), []);
    });

    it("is taken over from a process that isn't there, and from one that merely has its number", async () => {
      const gone = spawnSync("true").pid;
      for (const owner of [{ pid: gone, started: "1" }, { pid: process.pid, started: "1" }, "half a fi"]) {
        fs.mkdirSync(path.dirname(file), { recursive: true });
        fs.writeFileSync(file, JSON.stringify(owner));
        assert.equal(await setup.withLock(file, () => Promise.resolve("in")), "in");
      }
    });
  });

  describe("the system tools", () => {
    let searchPath: string | undefined;
    const program = (name: string) => fs.writeFileSync(path.join(folder, name), "#!/bin/sh\n", { mode: 0o755 });

    beforeEach(() => {
      searchPath = process.env.PATH;
      process.env.PATH = folder; // without apt-get
      program("mariadbd");
    });
    afterEach(() => {
      process.env.PATH = searchPath;
    });

    it("must all be there for a real lab", async () => {
      program("mariadb-install-db");
      const refused = setup.ensureToolchain({ need: ["system"], log: () => undefined });
      await assert.rejects(refused, /Not on PATH: .*qemu-io.*; as root, run `apt-get install .*qemu-utils/);
    });

    it("may be missing for an embedded lab, which says so, but for the database", async () => {
      const lines: string[] = [];
      const ensure = () => setup.ensureToolchain({ need: ["embedded"], log: (line) => lines.push(line) });
      // For each system in its own words, and nothing else than the database.
      await assert.rejects(ensure(), (error: Error) => {
        assert.match(error.message, /^MariaDB is missing: mariadb-install-db can't be found\. /);
        assert.match(error.message, /`apt-get install mariadb-server` \(Debian, Ubuntu; as root\)/);
        assert.match(
          error.message,
          /`dnf install mariadb-server` \(Fedora; as root\), `brew install mariadb` \(macOS\)/,
        );
        return true;
      });
      program("mariadb-install-db");
      const { system } = (await ensure()) as { system: Record<string, string> };
      assert.equal(system["mariadbd"], path.join(folder, "mariadbd"));
      assert.equal(system["qemu-io"], undefined);
      assert.match(lines.join("\n"), /set-up: system: going on without .*qemu-io.*; as root, `apt-get install/);
    });

    it("may also be impossible to install for an embedded lab, but for the database", async () => {
      const apt = path.join(folder, "apt-get");
      fs.writeFileSync(apt, "#!/bin/sh\necho no network >&2\nexit 100\n", { mode: 0o755 });
      const lines: string[] = [];
      const ensure = () => setup.ensureToolchain({ need: ["embedded"], log: (line) => lines.push(line) });
      const getuid = process.getuid as () => number;
      process.getuid = () => 0;
      try {
        await assert.rejects(ensure(), /^Error: system can't be set up: /);
        assert.doesNotMatch(lines.join("\n"), /going on/);
        program("mariadb-install-db");
        await ensure();
      } finally {
        process.getuid = getuid;
      }
      assert.match(lines.join("\n"), /system can't be set up: .*\n[^]*going on without .*qemu-io/);
    });
  });

  describe("the browser", () => {
    let searchPath: string | undefined;
    beforeEach(() => {
      searchPath = process.env.PATH;
      process.env.PATH = folder;
    });
    afterEach(() => {
      process.env.PATH = searchPath;
    });
    const ensure = (lines: string[] = []) =>
      setup.ensureToolchain({ need: ["browser"], log: (line) => lines.push(line) });

    it("is the one that is there", async () => {
      const chromium = path.join(folder, "chromium");
      fs.writeFileSync(chromium, "#!/bin/sh\n", { mode: 0o755 });
      assert.deepEqual(await ensure(), { browser: chromium });
    });

    it("may be missing, which is said with the way to get it on each system", async function () {
      if (process.platform === "darwin")
        skipBecause(this, "an application that is installed is found, wherever PATH leads");
      const lines: string[] = [];
      assert.deepEqual(await ensure(lines), {});
      assert.match(
        lines.join("\n"),
        /going on without Chromium\. Get it by `apt-get install chromium` \(Debian; as root\)/,
      );
      assert.match(
        lines.join("\n"),
        /`dnf install chromium` \(Fedora; as root\), `brew install --cask chromium` \(macOS\)/,
      );
    });

    it("may be impossible to install", async () => {
      fs.writeFileSync(path.join(folder, "apt-get"), "#!/bin/sh\necho no network >&2\nexit 100\n", { mode: 0o755 });
      const getuid = process.getuid as () => number;
      process.getuid = () => 0;
      const lines: string[] = [];
      try {
        assert.deepEqual(await ensure(lines), {});
      } finally {
        process.getuid = getuid;
      }
      assert.match(lines.join("\n"), /browser can't be set up: [^]*going on without Chromium/);
    });
  });

  describe("the Python environment", () => {
    let root: string;
    let searchPath: string | undefined;

    beforeEach(() => {
      root = path.join(folder, "checkout");
      fs.mkdirSync(path.join(root, "tools/python"), { recursive: true });
      fs.writeFileSync(path.join(root, "tools/python/requirements.txt"), "# nothing\n");
      fs.mkdirSync(path.join(folder, "bin"));
      searchPath = process.env.PATH;
    });
    afterEach(() => (process.env.PATH = searchPath));

    // Stands for Python: makes an "environment" with itself as the interpreter, and takes pip's arguments down.
    function fakePython(version: string, pip = "exit 0"): void {
      const program = path.join(folder, "bin/python3.11");
      fs.writeFileSync(
        program,
        `#!/bin/sh
case "$*" in
  -c*) echo ${version};;
  "-m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python";;
  *) echo "$@" >> ${folder}/pip.log; ${pip};;
esac
`,
        { mode: 0o755 },
      );
      process.env.PATH = `${folder}/bin:${searchPath ?? ""}`;
    }
    const ensure = () =>
      setup.ensureToolchain({ need: ["python"], root, cache: path.join(folder, "cache"), log: () => undefined });

    it("is made once, and anew when its requirements change", async () => {
      fakePython("3.11");
      const first = await ensure();
      assert.deepEqual(await ensure(), first);
      const runs = fs.readFileSync(path.join(folder, "pip.log"), "utf8").trim().split("\n").length;
      fs.appendFileSync(path.join(root, "tools/python/requirements.txt"), "six==1.17.0\n");
      assert.notDeepEqual(await ensure(), first);
      assert.equal(fs.readFileSync(path.join(folder, "pip.log"), "utf8").trim().split("\n").length, 2 * runs);
    });

    it("that was left half-made is made anew", async () => {
      fakePython("3.11", "exit 1");
      await assert.rejects(ensure(), /python can't be set up: .*pip.*ended with 1/);
      fakePython("3.11");
      const { pythonVenv } = await ensure();
      assert.deepEqual(fs.readdirSync(pythonVenv as string), ["bin"]);
    });

    it("asks for a Python that can be used", async () => {
      fs.mkdirSync(path.join(folder, "empty"));
      for (const name of ["python3.11", "python3.12", "python3"]) {
        fs.writeFileSync(path.join(folder, "empty", name), "#!/bin/sh\necho 3.9\n", { mode: 0o755 });
      }
      process.env.PATH = `${folder}/empty:/usr/bin:/bin`;
      await assert.rejects(ensure(), /Python 3\.11 or 3\.12 with venv isn't on PATH: as root, run `apt-get install/);
    });
  });

  it("knows every type and function of the OpenStack SDK that is installed", () => {
    const sdk = path.join(projectRoot, "node_modules/@pulumi/openstack");
    const used = new Set<string>();
    for (const file of fs.readdirSync(sdk, { recursive: true, encoding: "utf8" })) {
      if (!file.endsWith(".js") || file.startsWith("node_modules")) continue;
      const source = fs.readFileSync(path.join(sdk, file), "utf8");
      const calls = source.matchAll(/(?:__pulumiType = '|\.invoke\("|runtime\.invokeOutput\(")(openstack:[^'"]+)/g);
      for (const [, token = ""] of calls) used.add(token);
    }
    const known = fs.readFileSync(path.join(projectRoot, "tools/go/resource-openstack/tokens.txt"), "utf8");
    assert.ok(used.size > 100);
    assert.deepEqual([...used].sort(), known.trim().split("\n").sort());
  });
});
