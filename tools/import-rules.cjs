"use strict";
// What may import what (docs/architecture.md says why). Data for dependency-cruiser; tools/check-imports.mjs runs it.
// A type-only import counts: a simulator that shares a type with the client shares its mistakes.

// Every place that source code may be in. A folder that isn't here fails the check, so that a new or renamed one can't
// slip out of the rules.
const PLACES = ["index.ts", "stacks", "components", "dynamic-providers", "lib", "cli", "lab", "bench", "test", "tools"];
const CLIENTS = [
  "ontap",
  "keystone",
  "cinder",
  "nova",
  "cinder-database",
  "message-queue",
  "controller-host",
  "oslo-config",
];
// What several clients stand on: vocabulary, and the transports.
const LIB_WORDS = ["topology", "errors.ts", "retries.ts"];
const LIB_BASE = [...LIB_WORDS, "child-environment.ts", "http", "openstack"];
// connections builds the clients for a pair of sites and hands them to the engine as its ports.
const LIB_PLACES = [...LIB_BASE, ...CLIENTS, "switchover", "settings.ts", "connections", "connections.ts", "index.ts"];
// Of stacks/, what the package's entry needs (tsconfig.build.json); the rest are this project's own programs.
const PACKED_STACKS = "package|pair-from-config|settings";

const pattern = (name) => (name.endsWith(".ts") ? `${name.replace(".", "\\.")}$` : `${name}/`);
const places = (...names) => `^(${names.map(pattern).join("|")})`;
const libPlaces = (...names) => `^lib/(${names.map(pattern).join("|")})`;
const except = (...names) => places(...PLACES.filter((place) => !names.includes(place)));
const npm = (...names) => `(^|/)node_modules/(${names.join("|")})(/|$)`;

// Modules through which a process touches anything outside itself.
const NETWORK_MODULES = "^(node:)?(net|tls|dgram|dns|http|https|http2|child_process|worker_threads|cluster)(/|$)";
const FILE_MODULES = "^(node:)?(fs|os|readline|process)(/|$)";
const NETWORK_PACKAGES = npm("undici", "mysql2", "amqplib", "ssh2", "fastify");
const FILE_PACKAGES = npm("write-file-atomic", "pino");

const forbidden = [
  { name: "no-cycles", comment: "A cycle has no lowest layer to test first.", from: {}, to: { circular: true } },
  { name: "no-missing", comment: "What can't be found can't be judged.", from: {}, to: { couldNotResolve: true } },

  // One way: index → stacks → components → dynamic-providers → lib; cli → lib.
  { name: "index", from: { path: places("index.ts") }, to: { path: except("index.ts", "stacks") } },
  {
    name: "stacks",
    from: { path: places("stacks") },
    to: { path: except("stacks", "components", "dynamic-providers", "lib") },
  },
  {
    name: "components",
    from: { path: places("components") },
    to: { path: except("components", "dynamic-providers", "lib") },
  },
  {
    name: "dynamic-providers",
    from: { path: places("dynamic-providers") },
    to: { path: except("dynamic-providers", "lib") },
  },
  { name: "lib", from: { path: places("lib") }, to: { path: except("lib") } },
  { name: "cli", from: { path: places("cli") }, to: { path: except("cli", "lib") } },
  { name: "lab", from: { path: places("lab") }, to: { path: except("lab", "lib") } },
  { name: "bench", from: { path: places("bench") }, to: { path: except("bench", "lab", "lib") } },
  { name: "tools", from: { path: places("tools") }, to: { path: except("tools") } },
  {
    name: "without-pulumi",
    comment: "Everything that lib and cli do works when Pulumi isn't at hand.",
    from: { path: places("lib", "cli") },
    to: { path: npm("@pulumi") },
  },

  {
    name: "lib-words",
    comment: "The vocabulary is below everything else.",
    from: { path: libPlaces(...LIB_WORDS) },
    to: { path: "^lib/", pathNot: libPlaces(...LIB_WORDS) },
  },
  {
    name: "lib-base",
    comment: "What every client stands on knows none of them.",
    from: { path: libPlaces(...LIB_BASE) },
    to: { path: "^lib/", pathNot: libPlaces(...LIB_BASE) },
  },
  {
    name: "clients-apart",
    comment: "A client knows one system; the switchover alone knows several.",
    from: { path: `^lib/(${CLIENTS.join("|")})/` },
    to: { path: "^lib/", pathNot: [libPlaces(...LIB_BASE), "^lib/$1/"] },
  },
  {
    name: "switchover-sees-ports",
    comment: "The engine sees the outside only through lib/switchover/ports.ts.",
    from: { path: "^lib/switchover/" },
    to: { path: "^lib/", pathNot: libPlaces("switchover", "topology", "errors.ts") },
  },
  {
    name: "switchover-without-network",
    comment: "The engine sees the outside only through lib/switchover/ports.ts.",
    from: { path: "^lib/switchover/" },
    to: { path: [NETWORK_MODULES, NETWORK_PACKAGES] },
  },
  {
    name: "decisions-without-io",
    comment: "plan and preflight are functions of what was observed; the same observation gives the same plan.",
    from: { path: "^lib/switchover/(plan|preflight)(\\.ts$|/)" },
    to: { path: [NETWORK_MODULES, FILE_MODULES, NETWORK_PACKAGES, FILE_PACKAGES] },
  },

  {
    name: "settings-without-io",
    comment: "Two read a configuration, each in its own way; what it has to be is said once.",
    from: { path: "^lib/settings\\.ts$" },
    to: { path: [NETWORK_MODULES, FILE_MODULES, NETWORK_PACKAGES, FILE_PACKAGES] },
  },
  {
    name: "cli-thin",
    comment: "The command line is a face of the engine: what it does, Pulumi's way does too.",
    from: { path: places("cli") },
    to: { path: [libPlaces("http", "openstack", ...CLIENTS), "^lib/switchover/(?!index\\.ts$)"] },
  },

  {
    name: "simulators-apart",
    comment: "A client and its double must not share a mistake.",
    from: { path: "^lab/simulators/" },
    to: { path: places(...PLACES), pathNot: "^lab/simulators/" },
  },
  {
    name: "dev-dependencies",
    comment: "What the package holds is installed without our development dependencies.",
    from: {
      path: [
        places("dynamic-providers", "lib", "cli"),
        "^components/disaster-recovery-pair/",
        `^stacks/(${PACKED_STACKS})\\.ts$`,
      ],
    },
    // The project that installs it brings the one; the other is for a checkout, which isn't compiled.
    to: {
      dependencyTypes: ["npm-dev"],
      dependencyTypesNot: ["type-only"],
      pathNot: npm("@pulumi/pulumi", "ts-node"),
    },
  },
];

module.exports = {
  PLACES,
  LIB_PLACES,
  forbidden: forbidden.map((rule) => ({ severity: "error", ...rule })),
  options: {
    tsPreCompilationDeps: true, // type-only imports too
    doNotFollow: { path: "node_modules" },
    exclude: { path: "^test/fixtures/" },
    enhancedResolveOptions: {
      exportsFields: ["exports"],
      conditionNames: ["import", "require", "node", "default", "types"],
    },
  },
};
