// Gets everything that the project runs on and says where it is. Runs before `npm ci`, so: Node's built-in modules only,
// Node 20. What is on the machine and new enough is taken; else it is downloaded, built or installed, once for all
// checkouts, into the cache. Each part may be killed at any point and started again, also by two set-ups at once: files
// appear under their final name only when complete, and one lock for each part makes the second wait for the first.
import { spawn, spawnSync } from "node:child_process";
import { createHash, randomUUID } from "node:crypto";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

export const PARTS = ["node_modules", "pulumi", "system", "python"];
/**
 * Parts that "all" leaves out: what only the tests that compare with former releases need, what only the measurements need, of
 * "system" what the embedded lab can't do without, the rest where it can be installed, and a browser where it can be.
 */
export const EXTRA_PARTS = ["python-older", "bench", "embedded", "browser"];

const PULUMI = "3.259.0";
const LANGUAGE_NODEJS = "3.68.0"; // the last one that the Go module proxy serves; used by the Go build only
const OPENSTACK_PLUGIN = "3.15.2"; // the version of @pulumi/openstack in package.json
const NODE_MAJOR = 24;

const projectRoot = path.resolve(import.meta.dirname, "..");
const platform = `${process.platform}-${process.arch}`;

/** Something can't be had; the message is one sentence with the command that a person can run. */
export class SetupError extends Error {}

/**
 * Makes sure that the named parts are there.
 * @param {{need?: string[], root?: string, cache?: string, log?: (line: string) => void}} [options]
 *   need: names from PARTS or EXTRA_PARTS, or "all" (the default: PARTS); log: progress, one line each (default: stderr).
 * @returns {Promise<Toolchain>} absolute paths, only those of the parts asked for
 * @throws {SetupError} when a part can't be had
 *
 * @typedef {object} Toolchain
 * @property {string} [node] Node 24
 * @property {string} [nodeModules]
 * @property {string} [pulumiBinDir] folder with pulumi, pulumi-language-nodejs, pulumi-resource-pulumi-nodejs
 * @property {string} [pulumiHome] a PULUMI_HOME to copy from: its plugins/ has the OpenStack plugin. Not to be written to.
 * @property {string} [python] interpreter of the environment with the OpenStack services and NetApp's client
 * @property {string} [pythonVenv]
 * @property {string} [olderPython] interpreter of the environment for former releases of Cinder
 * @property {Record<string, string>} [olderCinder] by release: the folder for PYTHONPATH that has it
 * @property {string} [browser] a Chromium; absent where there is none
 * @property {string} [benchBinDir] folder with openstack, cinder and ansible-playbook
 */
export async function ensureToolchain(options = {}) {
  const need = expandNeed(options.need ?? ["all"]);
  const context = {
    root: options.root ?? projectRoot,
    cache: options.cache ?? cacheFolder(),
    log: options.log ?? ((line) => process.stderr.write(`${line}\n`)),
    changed: false,
  };
  const started = Date.now();
  const found = {};
  // One after another: npm, Go, apt and pip would only compete for the same cores and make each other's progress unreadable.
  if (need.has("node_modules") || need.has("pulumi")) Object.assign(found, await ensureNodeModules(context));
  if (need.has("system")) Object.assign(found, await ensureSystemTools(context));
  else if (need.has("embedded")) Object.assign(found, await ensureSystemTools(context, EMBEDDED_TOOLS));
  if (need.has("pulumi")) Object.assign(found, await ensurePulumi(context));
  if (need.has("python")) Object.assign(found, await ensurePython(context));
  if (need.has("python-older")) Object.assign(found, await ensureOlderCinder(context));
  if (need.has("browser")) Object.assign(found, await ensureBrowser(context));
  if (need.has("bench")) Object.assign(found, await ensureBench(context));
  const verdict = context.changed ? "complete" : "everything is there";
  context.log(`set-up: ${verdict} (${[...need].join(", ")}; ${elapsed(started)})`);
  return found;
}

/** @param {string[]} names @returns {Set<string>} */
export function expandNeed(names) {
  const need = new Set();
  for (const name of names) {
    if (name === "all") PARTS.forEach((part) => need.add(part));
    else if ([...PARTS, ...EXTRA_PARTS].includes(name)) need.add(name);
    else
      throw new SetupError(
        `There is no part "${name}" to set up: name one of all, ${[...PARTS, ...EXTRA_PARTS].join(", ")}.`,
      );
  }
  return need;
}

/** Where downloads and builds are kept: outside the checkout, so that a fresh clone doesn't build again. */
export function cacheFolder(env = process.env) {
  const base = env.XDG_CACHE_HOME || path.join(os.homedir(), ".cache");
  return path.resolve(env.CINDER_CHEESECAKE_CACHE || path.join(base, "cinder-cheesecake"));
}

// --- node_modules ------------------------------------------------------------------------------------------------------

async function ensureNodeModules(context) {
  const nodeModules = path.join(context.root, "node_modules");
  const node = path.join(nodeModules, ".bin", "node");
  const paths = { nodeModules, node };
  const ready = () => nodeModulesMatchLock(context.root) && nodeMajor(node) === NODE_MAJOR;
  if (ready()) return paths;

  const lockName = `node_modules-${sha256(context.root).slice(0, 12)}`;
  await step(context, "node_modules", lockName, async (progress) => {
    if (ready()) return "already installed by another set-up";
    if (!nodeModulesMatchLock(context.root)) {
      progress("npm ci");
      await run("npm", ["ci", "--no-audit", "--no-fund"], { cwd: context.root });
    }
    if (nodeMajor(node) !== NODE_MAJOR) {
      // The npm package `node` fetches its binary in a script of its own, which npm may have been told not to run.
      progress(`Node ${NODE_MAJOR}`);
      const script = path.join(nodeModules, "node", "installArchSpecificPackage.js");
      // Not process.execPath: that may be the Node inside the node_modules that `npm ci` has just replaced.
      await run("node", [script], { cwd: path.dirname(script) });
      if (!fs.existsSync(node)) fs.symlinkSync(path.join("..", "node", "bin", "node"), node);
    }
    if (nodeMajor(node) !== NODE_MAJOR) {
      throw new SetupError(
        `${node} isn't Node ${NODE_MAJOR}: run \`npm ci --ignore-scripts=false\` in ${context.root}.`,
      );
    }
    return "npm ci";
  });
  return paths;
}

/**
 * Whether what is installed is what package-lock.json asks for, by npm's own record of the last complete install. A stamp
 * of our own would call for a new `npm ci` after each `npm install` of a developer, and would outlive a partial one.
 */
export function nodeModulesMatchLock(root) {
  const wanted = readJson(path.join(root, "package-lock.json"));
  const installed = readJson(path.join(root, "node_modules", ".package-lock.json"));
  if (!wanted) throw new SetupError(`${root} has no package-lock.json: run \`git checkout package-lock.json\` there.`);
  if (!installed) return false;
  for (const [where, entry] of Object.entries(wanted.packages)) {
    if (where === "") continue;
    const present = installed.packages[where];
    // npm leaves out what is optional and made for another platform.
    if (!present && !entry.optional && !entry.devOptional) return false;
    if (present && (present.version !== entry.version || present.integrity !== entry.integrity)) return false;
  }
  return true;
}

function nodeMajor(node) {
  const { stdout } = spawnSync(node, ["--version"], { encoding: "utf8" });
  return Number(/^v(\d+)\./.exec(stdout ?? "")?.[1] ?? 0);
}

// --- Pulumi ------------------------------------------------------------------------------------------------------------

async function ensurePulumi(context) {
  const pulumiBinDir =
    pulumiOnPath() ?? (await component(context, `pulumi-${PULUMI}`, `Pulumi ${PULUMI}`, buildPulumi));
  const pulumiHome =
    installedPlugin() ??
    (await component(
      context,
      `resource-openstack-${OPENSTACK_PLUGIN}`,
      "Pulumi's OpenStack plugin",
      buildOpenstackPlugin,
    ));
  return { pulumiBinDir, pulumiHome };
}

/** The folder of a Pulumi on PATH, if it is new enough and has its Node.js hosts beside it. */
export function pulumiOnPath(searchPath = process.env.PATH) {
  const pulumi = findProgram("pulumi", { searchPath });
  if (!pulumi) return undefined;
  const folder = path.dirname(fs.realpathSync(pulumi));
  const hosts = ["pulumi-language-nodejs", "pulumi-resource-pulumi-nodejs"];
  if (!hosts.every((host) => fs.existsSync(path.join(folder, host)))) return undefined;
  const { stdout } = spawnSync(pulumi, ["version"], {
    encoding: "utf8",
    env: { ...process.env, PULUMI_SKIP_UPDATE_CHECK: "1" },
  });
  return atLeast(stdout ?? "", PULUMI) ? folder : undefined;
}

function installedPlugin() {
  const home = process.env.PULUMI_HOME || path.join(os.homedir(), ".pulumi");
  return fs.existsSync(path.join(home, pluginPath())) ? home : undefined;
}

const pluginPath = () => path.join("plugins", `resource-openstack-v${OPENSTACK_PLUGIN}`, "pulumi-resource-openstack");

/** @returns {boolean} whether "v3.260.1" is the same major version as "3.259.0" and not older */
export function atLeast(version, wanted) {
  const parse = (text) => /(\d+)\.(\d+)\.(\d+)/.exec(text)?.slice(1).map(Number);
  const [have, want] = [parse(version), parse(wanted)];
  if (!have || have[0] !== want[0]) return false;
  return have[1] > want[1] || (have[1] === want[1] && have[2] >= want[2]);
}

async function buildPulumi(context, folder, progress) {
  const goTools = path.join(context.root, "tools", "go");
  const how = await firstThatWorks(progress, {
    "official download": async () => {
      const release = `https://github.com/pulumi/pulumi/releases/download/v${PULUMI}`;
      const archive = `pulumi-v${PULUMI}-${process.platform}-${process.arch}.tar.gz`;
      const file = path.join(folder, archive);
      await downloadVerified(`${release}/${archive}`, `${release}/pulumi-${PULUMI}-checksums.txt`, file);
      await run("tar", ["-xzf", file, "--strip-components=1", "-C", folder]);
      fs.rmSync(file);
    },
    "built from Go modules": async () => {
      const versionFlag = (version) => `-X github.com/pulumi/pulumi/sdk/v3/go/common/version.Version=${version}`;
      await goBuild(progress, {
        module: path.join(goTools, "language-nodejs"),
        package: "github.com/pulumi/pulumi/sdk/v3/nodejs/cmd/pulumi-language-nodejs",
        flags: versionFlag(LANGUAGE_NODEJS),
        output: path.join(folder, "pulumi-language-nodejs"),
      });
      await goBuild(progress, {
        module: path.join(goTools, "pulumi"),
        package: "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi",
        flags: versionFlag(PULUMI),
        output: path.join(folder, "pulumi"),
      });
      const host = "pulumi-resource-pulumi-nodejs"; // a shell script that ships inside the npm package
      fs.copyFileSync(path.join(context.root, "node_modules", "@pulumi", "pulumi", host), path.join(folder, host));
      fs.chmodSync(path.join(folder, host), 0o755);
    },
  });
  const { stdout } = spawnSync(path.join(folder, "pulumi"), ["version"], { encoding: "utf8" });
  if (!atLeast(stdout ?? "", PULUMI))
    throw new SetupError(`The Pulumi that was ${how} doesn't run: see https://www.pulumi.com/docs/install.`);
  return how;
}

async function buildOpenstackPlugin(context, folder, progress) {
  const plugin = path.join(folder, pluginPath());
  fs.mkdirSync(path.dirname(plugin), { recursive: true });
  return firstThatWorks(progress, {
    "official download": async () => {
      const release = `https://github.com/pulumi/pulumi-openstack/releases/download/v${OPENSTACK_PLUGIN}`;
      const arch = process.arch === "x64" ? "amd64" : process.arch;
      const archive = `pulumi-resource-openstack-v${OPENSTACK_PLUGIN}-${process.platform}-${arch}.tar.gz`;
      const file = path.join(folder, archive);
      await downloadVerified(
        `${release}/${archive}`,
        `${release}/pulumi-openstack_${OPENSTACK_PLUGIN}_checksums.txt`,
        file,
      );
      await run("tar", ["-xzf", file, "-C", path.dirname(plugin)]);
      fs.rmSync(file);
    },
    "built from Go modules": () =>
      goBuild(progress, {
        module: path.join(context.root, "tools", "go", "resource-openstack"),
        package: ".",
        flags: "",
        output: plugin,
      }),
  });
}

/** @param {Record<string, () => Promise<void>>} ways by name, best first @returns {Promise<string>} the one that worked */
async function firstThatWorks(progress, ways) {
  const refusals = [];
  for (const [name, way] of Object.entries(ways)) {
    try {
      progress(name);
      await way();
      return name;
    } catch (error) {
      refusals.push(`${name}: ${firstLine(error)}`);
      progress(`no ${name} (${firstLine(error)})`);
    }
  }
  throw new SetupError(`None of the ways worked (${refusals.join("; ")}).`);
}

/**
 * Downloads a file, and removes it again unless its SHA-256 is the one that the release's checksum file has for its name.
 * @param {number} [patienceMs] how long nothing at all may arrive
 */
export async function downloadVerified(url, checksumsUrl, file, patienceMs = 10_000) {
  const checksums = (await download(checksumsUrl, patienceMs)).toString("utf8");
  const name = path.posix.basename(new URL(url).pathname);
  const wanted = checksums
    .split("\n")
    .map((line) => line.trim().split(/\s+\*?/))
    .find(([, of]) => of === name)?.[0];
  if (!wanted || !/^[0-9a-f]{64}$/i.test(wanted)) throw new Error(`${checksumsUrl} has no SHA-256 of ${name}`);
  const content = await download(url, patienceMs);
  const actual = sha256(content);
  if (actual !== wanted.toLowerCase()) throw new Error(`${url} has SHA-256 ${actual}, its release says ${wanted}`);
  fs.writeFileSync(file, content);
}

async function download(url, patienceMs) {
  const abort = new AbortController();
  let timer;
  const heard = () => {
    clearTimeout(timer);
    timer = setTimeout(() => abort.abort(new Error(`${url}: nothing arrived for ${patienceMs / 1000} s`)), patienceMs);
  };
  heard();
  try {
    const response = await fetch(url, { signal: abort.signal });
    if (!response.ok) throw new Error(`${url}: HTTP ${response.status}`);
    const chunks = [];
    for await (const chunk of response.body) {
      heard();
      chunks.push(chunk);
    }
    return Buffer.concat(chunks);
  } catch (error) {
    throw abort.signal.aborted ? abort.signal.reason : new Error(`${url}: ${error.cause?.message ?? error.message}`);
  } finally {
    clearTimeout(timer);
  }
}

/** Builds one program of a committed Go module; go.sum fixes every byte that goes into it. */
async function goBuild(progress, { module, package: target, flags, output }) {
  const version = spawnSync("go", ["version"], { encoding: "utf8", env: { ...process.env, GOTOOLCHAIN: "local" } });
  if (!(Number(/go1\.(\d+)/.exec(version.stdout ?? "")?.[1]) >= 25)) {
    throw new SetupError("Go 1.25 or newer isn't installed: see https://go.dev/doc/install");
  }
  const name = path.basename(output);
  const env = { ...process.env, CGO_ENABLED: "0", GOWORK: "off", GOFLAGS: "-mod=readonly -buildvcs=false" };
  let total = 0;
  let compiled = 0;
  let downloaded = 0;
  const started = Date.now();
  const tick = setInterval(() => {
    const what = compiled ? `${compiled} of at most ${total} packages compiled` : `${downloaded} modules downloaded`;
    progress(
      `building ${name} from Go modules: ${what}, ${elapsed(started)}; some 10 minutes on 2 cores the first time`,
    );
  }, 15_000);
  // Go says what it downloads and, with -v, what it compiles; what its own cache has isn't named.
  const onLine = (count) => (line) => (line.startsWith("go: downloading") ? downloaded++ : count());
  try {
    await run("go", ["list", "-deps", target], { cwd: module, env, onLine: onLine(() => total++) });
    const args = ["build", "-v", "-trimpath", "-ldflags", `-s -w ${flags}`, "-o", output, target];
    await run("go", args, { cwd: module, env, onLine: onLine(() => compiled++) });
  } finally {
    clearInterval(tick);
  }
}

// --- Debian packages ---------------------------------------------------------------------------------------------------

// Program (or file, by path) → the Debian package that has it. The lab starts them itself, as plain processes.
const SYSTEM_TOOLS = {
  mariadbd: "mariadb-server",
  "mariadb-install-db": "mariadb-server",
  mariadb: "mariadb-client",
  "mariadb-dump": "mariadb-client",
  // Debian's wrapper of the same name insists on its own user.
  "rabbitmq-server": "rabbitmq-server",
  rabbitmqctl: "rabbitmq-server",
  epmd: "erlang-base",
  tgtd: "tgt",
  tgtadm: "tgt",
  "qemu-io": "qemu-utils",
  "qemu-img": "qemu-utils",
  "qemu-block-iscsi": "qemu-block-extra",
  "iscsi-ls": "libiscsi-bin",
  "iscsi-inq": "libiscsi-bin",
  mke2fs: "e2fsprogs",
  debugfs: "e2fsprogs",
  e2fsck: "e2fsprogs",
  openssl: "openssl",
};

/** The embedded lab has substitutes for the others (lab/embedded/data-path.ts), and runs on other systems than Debian. */
const EMBEDDED_TOOLS = ["mariadbd", "mariadb-install-db"];
const MARIADB_BY_SYSTEM =
  "`apt-get install mariadb-server` (Debian, Ubuntu; as root), `dnf install mariadb-server` (Fedora; as root), " +
  "`brew install mariadb` (macOS)";

/** Those in `needed` are there when it returns; the others, where they can be installed. */
async function ensureSystemTools(context, needed = Object.keys(SYSTEM_TOOLS)) {
  const commandFor = (tools) =>
    `apt-get install -y --no-install-recommends ${[...new Set(tools.map((tool) => SYSTEM_TOOLS[tool]))].join(" ")}`;
  let missing = missingSystemTools();
  const canInstall = canApt();
  const goOnWithout = () =>
    context.log(
      `set-up: system: going on without ${missing.join(", ")}; as root, \`${commandFor(missing)}\` gets them`,
    );
  const lacking = missing.filter((tool) => needed.includes(tool));
  if (!canInstall && lacking.length > 0) {
    if (needed === EMBEDDED_TOOLS)
      throw new SetupError(`MariaDB is missing: ${lacking.join(", ")} can't be found. Get it by ${MARIADB_BY_SYSTEM}.`);
    throw new SetupError(
      `Not on PATH: ${missing.join(", ")}; as root, run \`${commandFor(missing)}\` (Debian's names).`,
    );
  }
  if (!canInstall && missing.length > 0) goOnWithout();
  if (canInstall && missing.length > 0) {
    const installed = aptInstall(context, "system", () => {
      missing = missingSystemTools();
      return missing.length === 0 ? undefined : commandFor(missing);
    });
    await installed.catch((error) => {
      missing = missingSystemTools();
      if (missing.some((tool) => needed.includes(tool))) throw error;
      context.log(error.message); // offline, say
      goOnWithout();
    });
  }
  const present = Object.keys(SYSTEM_TOOLS).filter((tool) => findSystemTool(tool));
  return { system: Object.fromEntries(present.map((tool) => [tool, findSystemTool(tool)])) };
}

/** `command` is asked again after it was run: what it still asks for can't be had. */
function aptInstall(context, title, command) {
  // One lock for the machine and not for the cache: two caches share one package manager.
  const lock = path.join(os.tmpdir(), "cinder-cheesecake-apt.lock");
  return step(context, title, lock, async (progress) => {
    const wanted = command();
    if (wanted === undefined) return "already installed by another set-up";
    const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
    const apt = (args) => run("apt-get", ["-o", "DPkg::Lock::Timeout=300", ...args], { env });
    await withoutServiceStart(async () => {
      progress("apt-get update");
      await apt(["update"]);
      progress(wanted);
      await apt(wanted.split(" ").slice(1));
    });
    if (command() !== undefined) throw new SetupError(`not there even after \`${wanted}\`: \`${command()}\`.`);
    return wanted;
  });
}

const canApt = () => findProgram("apt-get") !== undefined && process.getuid?.() === 0;

const missingSystemTools = () => Object.keys(SYSTEM_TOOLS).filter((tool) => !findSystemTool(tool));

function findSystemTool(tool) {
  if (tool === "rabbitmq-server" || tool === "rabbitmqctl") {
    const plain = path.join("/usr/lib/rabbitmq/bin", tool);
    if (fs.existsSync(plain)) return plain;
  }
  if (tool === "qemu-block-iscsi") {
    const folders = ["/usr/lib", "/usr/lib64", ...subfolders("/usr/lib")].map((folder) => path.join(folder, "qemu"));
    return folders.map((folder) => path.join(folder, "block-iscsi.so")).find((file) => fs.existsSync(file));
  }
  return findProgram(tool);
}

/** Debian starts a service as soon as it's installed, unless this file says no. Ours is there only while apt runs. */
async function withoutServiceStart(work) {
  const policy = "/usr/sbin/policy-rc.d";
  const ours = "#!/bin/sh\n# of cinder-cheesecake's set-up\nexit 101\n";
  const remove = () => {
    // Also one that a killed set-up left behind; never somebody else's.
    if (fs.existsSync(policy) && fs.readFileSync(policy, "utf8") === ours) fs.rmSync(policy);
  };
  if (!fs.existsSync(policy)) fs.writeFileSync(policy, ours, { mode: 0o755 });
  try {
    await work();
  } finally {
    remove();
  }
}

// --- browser ---------------------------------------------------------------------------------------------------------

const BROWSERS = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
const BROWSER_APPLICATIONS = [
  "/Applications/Chromium.app/Contents/MacOS/Chromium",
  "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
];

const findBrowser = () =>
  BROWSERS.map((name) => findProgram(name)).find(Boolean) ??
  BROWSER_APPLICATIONS.find((file) => process.platform === "darwin" && fs.existsSync(file));

/** The tests that need one are skipped without it, and say so. */
async function ensureBrowser(context) {
  const command = "apt-get install -y --no-install-recommends chromium";
  if (!findBrowser() && canApt())
    await aptInstall(context, "browser", () => (findBrowser() ? undefined : command)).catch((error) =>
      context.log(error.message),
    );
  const browser = findBrowser();
  if (!browser)
    context.log(
      "set-up: browser: going on without Chromium. Get it by `apt-get install chromium` (Debian; as root), " +
        "`dnf install chromium` (Fedora; as root), `brew install --cask chromium` (macOS).",
    );
  return browser ? { browser } : {};
}

// --- Python ------------------------------------------------------------------------------------------------------------

async function ensurePython(context) {
  const { pythonVenv, python } = await ensureVenv(
    context,
    "python",
    "requirements.txt",
    async ({ file, lines, pip }) => {
      // The installers first: some packages are built here, with them.
      await pip(lines.filter((line) => /^(pip|setuptools|wheel)==/.test(line)));
      await pip(["-r", file], lines.length);
    },
  );
  return { pythonVenv, python };
}

/** One environment with what all of them need, and each release's own package beside it: they differ in that alone. */
async function ensureOlderCinder(context) {
  const isRelease = (line) => line.startsWith("cinder==");
  const folderOf = (venv, release) => path.join(venv, "releases", release.slice("cinder==".length));
  const { pythonVenv, python, lines } = await ensureVenv(
    context,
    "python-older",
    "older-cinder.txt",
    async ({ lines, pip, pythonVenv: venv }) => {
      const shared = lines.filter((line) => !isRelease(line));
      await pip(["--no-deps", ...shared], shared.length);
      for (const release of lines.filter(isRelease))
        await pip(["--no-deps", "--target", folderOf(venv, release), release]);
    },
  );
  const releases = lines.filter(isRelease);
  const olderCinder = releases.map((release) => [release.slice("cinder==".length), folderOf(pythonVenv, release)]);
  return { olderPython: python, olderCinder: Object.fromEntries(olderCinder) };
}

/** Apart from the services' environment: an operator has these on a machine of their own, and the embedded lab needs no other. */
async function ensureBench(context) {
  const { pythonVenv } = await ensureVenv(context, "bench", "bench.txt", async ({ file, lines, pip }) => {
    await pip(lines.filter((line) => /^setuptools==/.test(line)));
    await pip(["-r", file], lines.length);
  });
  return { benchBinDir: path.join(pythonVenv, "bin") };
}

/** An environment, by the content of its list of packages in tools/python; `install` fills it. */
async function ensureVenv(context, name, list, install) {
  const file = path.join(context.root, "tools", "python", list);
  const base = findPython();
  const key = sha256(`${fs.readFileSync(file)}\n${base.version}\n`).slice(0, 12);
  const pythonVenv = path.join(context.cache, `${name}-${key}-${platform}`);
  const lines = fs
    .readFileSync(file, "utf8")
    .split("\n")
    .filter((line) => /^[A-Za-z0-9]/.test(line));
  const made = { pythonVenv, python: path.join(pythonVenv, "bin", "python"), file, lines };
  // An environment has its own path inside, so it's made in place; the marker stands as long as it's incomplete.
  const incomplete = path.join(pythonVenv, ".incomplete");
  const ready = () => fs.existsSync(made.python) && !fs.existsSync(incomplete);
  if (ready()) return made;

  await step(context, name, path.basename(pythonVenv), async (progress) => {
    if (ready()) return "already made by another set-up";
    fs.rmSync(pythonVenv, { recursive: true, force: true });
    fs.mkdirSync(pythonVenv, { recursive: true });
    fs.writeFileSync(incomplete, "");
    await run(base.program, ["-m", "venv", pythonVenv]);
    const pip = async (args, packages = args.length) => {
      let collected = 0;
      let installing = false;
      const started = Date.now();
      const tick = setInterval(() => {
        const what = installing ? `installing ${packages} packages` : `${collected} of ${packages} packages fetched`;
        progress(`pip: ${what}, ${elapsed(started)}`);
      }, 15_000);
      try {
        await run(
          made.python,
          ["-m", "pip", "--disable-pip-version-check", "--no-input", "install", "--progress-bar", "off", ...args],
          {
            onLine: (line) => {
              if (line.startsWith("Collecting ")) collected++;
              if (line.startsWith("Installing ")) installing = true;
            },
          },
        );
      } finally {
        clearInterval(tick);
      }
    };
    await install({ ...made, pip });
    fs.rmSync(incomplete);
    return `${lines.length} packages for Python ${base.version}`;
  });
  return made;
}

function findPython() {
  for (const name of ["python3.11", "python3.12", "python3"]) {
    const program = findProgram(name);
    if (!program) continue;
    const probe = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])";
    const version = spawnSync(program, ["-c", probe], { encoding: "utf8" }).stdout?.trim();
    if (version === "3.11" || version === "3.12") return { program, version };
  }
  throw new SetupError(
    "Python 3.11 or 3.12 with venv isn't on PATH: as root, run `apt-get install python3 python3-venv`.",
  );
}

// --- common ------------------------------------------------------------------------------------------------------------

/** A part of the cache in a folder of its own: made beside it and renamed, so the folder is there when it's complete. */
async function component(context, name, title, make) {
  const folder = path.join(context.cache, `${name}-${platform}`);
  if (fs.existsSync(folder)) return folder;
  await step(context, title, path.basename(folder), async (progress) => {
    if (fs.existsSync(folder)) return "already made by another set-up";
    const unfinished = `${folder}.unfinished`;
    fs.rmSync(unfinished, { recursive: true, force: true }); // of a set-up that was killed: we hold its lock
    fs.mkdirSync(unfinished, { recursive: true });
    const how = await make(context, unfinished, progress);
    fs.renameSync(unfinished, folder);
    return how;
  });
  return folder;
}

/** Runs `work` under a lock (a name in the cache, or a path), with a line at its start, its progress and its end. */
async function step(context, title, lock, work) {
  const started = Date.now();
  context.changed = true;
  const progress = (what) => context.log(`set-up: ${title}: ${what}`);
  const lockFile = path.isAbsolute(lock) ? lock : path.join(context.cache, `${lock}.lock`);
  try {
    const how = await withLock(
      lockFile,
      () => work(progress),
      (owner) => progress(`waiting for process ${owner}, which is at it`),
    );
    context.log(`set-up: ${title}: ready, ${how} (${elapsed(started)})`);
  } catch (error) {
    throw new SetupError(`${title} can't be set up: ${error.message}`, { cause: error });
  }
}

/**
 * Runs `work` while holding a lock file. A process that dies leaves the file behind; the next one sees from the process id
 * and its start time that nobody holds it.
 */
export async function withLock(file, work, onWait = () => {}) {
  fs.mkdirSync(path.dirname(file), { recursive: true });
  const mine = `${file}.${randomUUID()}`;
  const token = JSON.stringify({ pid: process.pid, started: processStart(process.pid), token: path.basename(mine) });
  fs.writeFileSync(mine, token);
  try {
    let told = false;
    while (!tryLink(mine, file)) {
      const seen = readText(file);
      if (seen === undefined) continue;
      const owner = parseJson(seen);
      if (owner && processStart(owner.pid) === owner.started && owner.started !== undefined) {
        if (!told) onWait(owner.pid);
        told = true;
        await new Promise((resolve) => setTimeout(resolve, 500));
      } else {
        breakLock(file, seen, mine);
      }
    }
    try {
      return await work();
    } finally {
      if (readText(file) === token) fs.rmSync(file, { force: true });
    }
  } finally {
    fs.rmSync(mine, { force: true });
  }
}

/** Takes a dead lock away; puts back what it took if that was already the lock of somebody else who was faster. */
function breakLock(file, dead, mine) {
  const taken = `${mine}.broken`;
  try {
    fs.renameSync(file, taken);
  } catch (error) {
    if (error.code === "ENOENT") return;
    throw error;
  }
  if (readText(taken) !== dead) tryLink(taken, file);
  const token = parseJson(dead)?.token; // the dead one's other name for the same file
  if (token) fs.rmSync(path.join(path.dirname(file), path.basename(token)), { force: true });
  fs.rmSync(taken, { force: true });
}

function tryLink(from, to) {
  try {
    fs.linkSync(from, to); // atomic, and the content is there from the first moment
    return true;
  } catch (error) {
    if (error.code === "EEXIST") return false;
    throw error;
  }
}

/** What tells two processes with the same id apart; undefined for a process that isn't there. */
function processStart(pid) {
  const stat = readText(`/proc/${pid}/stat`);
  if (stat !== undefined) return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19];
  return spawnSync("ps", ["-o", "lstart=", "-p", String(pid)], { encoding: "utf8" }).stdout?.trim() || undefined;
}

/** Runs a program to its end; fails with its last lines. Lines go to onLine, or nowhere. No stdin. */
function run(program, args, { cwd, env = process.env, onLine = () => {} } = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { cwd, env, stdio: ["ignore", "pipe", "pipe"] });
    const last = [];
    for (const stream of [child.stdout, child.stderr]) {
      createInterface({ input: stream }).on("line", (line) => {
        last.push(line);
        if (last.length > 12) last.shift();
        onLine(line);
      });
    }
    const onSignal = (signal) => child.kill(signal);
    ["SIGINT", "SIGTERM"].forEach((signal) => process.on(signal, onSignal));
    child.on("error", (error) => reject(new Error(`${program} can't be started: ${error.message}`)));
    child.on("close", (code, signal) => {
      ["SIGINT", "SIGTERM"].forEach((name) => process.off(name, onSignal));
      if (code === 0) resolve();
      else
        reject(new Error(`\`${[program, ...args].join(" ")}\` ended with ${signal ?? code}:\n  ${last.join("\n  ")}`));
    });
  });
}

// Servers live in sbin, which isn't on an ordinary user's PATH; Fedora's MariaDB in libexec, Homebrew's in its own folder.
const BEYOND_PATH = [
  ...["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/libexec"],
  ...["/opt/homebrew/opt/mariadb/bin", "/usr/local/opt/mariadb/bin"],
];

export function findProgram(name, { searchPath = process.env.PATH } = {}) {
  for (const folder of [...(searchPath ?? "").split(path.delimiter), ...BEYOND_PATH]) {
    const file = path.join(folder, name);
    try {
      fs.accessSync(file, fs.constants.X_OK);
      if (folder !== "" && fs.statSync(file).isFile()) return file;
    } catch {
      // not in this folder
    }
  }
  return undefined;
}

const sha256 = (content) => createHash("sha256").update(content).digest("hex");
const firstLine = (error) => String(error.message).split("\n")[0];
const readJson = (file) => parseJson(readText(file) ?? "");
const subfolders = (folder) =>
  fs.readdirSync(folder, { withFileTypes: true }).flatMap((e) => (e.isDirectory() ? [path.join(folder, e.name)] : []));

function readText(file) {
  try {
    return fs.readFileSync(file, "utf8");
  } catch (error) {
    if (error.code === "ENOENT" || error.code === "ESRCH") return undefined;
    throw error;
  }
}

function parseJson(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function elapsed(since) {
  const seconds = Math.round((Date.now() - since) / 1000);
  return seconds < 60 ? `${seconds} s` : `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
}

/** "--need a,b" and what follows; shared with run.mjs. */
export function parseArguments(args) {
  const options = { need: ["all"], json: false, rest: [] };
  for (let i = 0; i < args.length; i++) {
    if (args[i] === "--need") options.need = (args[++i] ?? "").split(",");
    else if (args[i] === "--json") options.json = true;
    else if (args[i] === "--") {
      options.rest = args.slice(i + 1);
      break;
    } else throw new SetupError(`Unknown argument ${args[i]}: expected --need a,b, --json or --.`);
  }
  return options;
}

async function main() {
  const { need, json } = parseArguments(process.argv.slice(2));
  const found = await ensureToolchain({ need });
  if (json) process.stdout.write(`${JSON.stringify(found, null, 2)}\n`);
  else
    for (const [name, value] of Object.entries(found)) {
      const lines = typeof value === "string" ? [[name, value]] : Object.entries(value);
      for (const [key, file] of lines) process.stdout.write(`${key}: ${file}\n`);
    }
}

if (process.argv[1] && import.meta.url === pathToFileURL(fs.realpathSync(process.argv[1])).href) {
  main().catch((error) => {
    process.stderr.write(error instanceof SetupError ? `${error.message}\n` : `${error.stack}\n`);
    process.exitCode = 1;
  });
}
