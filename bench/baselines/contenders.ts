/** The product, and what it's measured against. Each moves production from one site to the other and returns when it says that it's done. */
import { spawn } from "node:child_process";
import * as fs from "node:fs";
import path from "node:path";
import { createInterface } from "node:readline";
import { type LabDescription, readSecret } from "../../lab/lab";
import type { Report } from "../../lib/switchover";
import type { Site } from "./end-state";
import type { Stage } from "./stage";

export const contenderNames = ["product", "runbook", "ansible"] as const;
export type ContenderName = (typeof contenderNames)[number];

export interface Phase {
  readonly name: string;
  readonly seconds: number;
}

export interface Timing {
  readonly seconds: number;
  /** From the first instance's stop until the last one runs again. */
  readonly downSeconds: number;
  /** In their order. */
  readonly phases: readonly Phase[];
}

export interface Move {
  readonly stage: Stage;
  readonly from: Site;
  readonly to: Site;
  readonly signal: AbortSignal;
}

export const contenders: Readonly<Record<ContenderName, (move: Move) => Promise<Timing>>> = {
  product,
  runbook: (move) =>
    timed(move, "runbook", (folder) => {
      const file = path.join(folder, "settings.sh");
      fs.writeFileSync(file, shellSettings(move, folder), { mode: 0o600 });
      return ["bash", path.join(__dirname, "runbook.sh"), file];
    }),
  ansible: (move) =>
    timed(move, "ansible", (folder) => {
      const file = path.join(folder, "settings.json");
      fs.writeFileSync(file, JSON.stringify(ansibleSettings(move, folder)), { mode: 0o600 });
      return ["ansible-playbook", path.join(__dirname, "switchover.yml"), "--extra-vars", `@${file}`];
    }),
};

async function product({ stage, to }: Move): Promise<Timing> {
  const { pulumi, lab } = stage;
  const reports = path.join(lab.dir, "reports");
  const begun = Date.now();
  await pulumi.set(pulumi.recoveryStack, "activeSite", to);
  await pulumi.up(pulumi.recoveryStack);
  const seconds = (Date.now() - begun) / 1000;
  const ids = fs.readdirSync(reports, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  const last = ids.map(({ name }) => name).sort();
  const report = JSON.parse(fs.readFileSync(path.join(reports, last.at(-1) ?? "", "report.json"), "utf8")) as Report;
  const phases = new Map<string, number>();
  for (const { id, durationSeconds = 0 } of report.steps) {
    const phase = id.split("/")[0] ?? id;
    phases.set(phase, (phases.get(phase) ?? 0) + durationSeconds);
  }
  return {
    seconds,
    downSeconds: report.rtoSeconds ?? seconds,
    phases: [...phases].map(([name, phaseSeconds]) => ({ name, seconds: phaseSeconds })),
  };
}

/** Runs a program that says where it is ("== phase", or Ansible's "PLAY [phase] ***"), as an operator with its own openrc. */
async function timed(
  { stage, signal }: Move,
  name: string,
  prepare: (folder: string) => readonly string[],
): Promise<Timing> {
  const folder = stage.folder(name);
  const [program = "", ...args] = prepare(folder);
  const bin = process.env["CINDER_CHEESECAKE_BENCH_BIN"] ?? "";
  const own = Object.entries(process.env).filter(([variable]) => !/^(OS|ANSIBLE)_/.test(variable));
  const env = {
    ...Object.fromEntries(own),
    PATH: `${bin}${path.delimiter}${process.env["PATH"] ?? ""}`,
    LC_ALL: "C.UTF-8",
    ...openrc(stage.lab),
    // Of the clusters' certificates: the modules for ONTAP have no option for it.
    REQUESTS_CA_BUNDLE: stage.lab.caFile,
    ANSIBLE_CONFIG: path.join(__dirname, "ansible.cfg"),
    ANSIBLE_HOME: path.join(folder, "ansible"),
    ANSIBLE_REMOTE_TEMP: path.join(folder, "ansible", "remote"),
    ANSIBLE_NOCOLOR: "1",
    PYTHONUNBUFFERED: "1",
  };
  const log = fs.createWriteStream(path.join(folder, "log"), { flags: "a" });
  const tail: string[] = [];
  const marks: { name: string; at: number }[] = [];
  const begun = Date.now();
  const code = await new Promise<number>((resolve, reject) => {
    const child = spawn(program, args, { env, stdio: ["ignore", "pipe", "pipe"], signal });
    for (const stream of [child.stdout, child.stderr])
      createInterface({ input: stream }).on("line", (line) => {
        const phase = /^(?:== (.+)|PLAY \[(.+)\] \**)$/.exec(line);
        if (phase) marks.push({ name: phase[1] ?? phase[2] ?? "", at: Date.now() });
        log.write(`${new Date().toISOString()} ${line}\n`);
        tail.push(line);
        if (tail.length > 40) tail.shift();
      });
    child.on("error", reject);
    child.on("close", (status) => resolve(status ?? -1));
  });
  const ended = Date.now();
  log.end();
  if (code !== 0) throw new Error(`${name} ended with ${code}:\n  ${tail.join("\n  ")}`);
  const phases = marks.flatMap((mark, index) =>
    mark.name === "done" ? [] : [{ name: mark.name, seconds: ((marks[index + 1]?.at ?? ended) - mark.at) / 1000 }],
  );
  const down = phases.slice(
    phases.findIndex((phase) => phase.name === "stop"),
    phases.findIndex((phase) => phase.name === "start") + 1,
  );
  return {
    seconds: (ended - begun) / 1000,
    downSeconds: down.reduce((sum, phase) => sum + phase.seconds, 0),
    phases,
  };
}

function openrc(lab: LabDescription): Record<string, string> {
  const { username, project, passwordFile } = lab.admin;
  return {
    OS_AUTH_URL: lab.endpoints.identity,
    OS_IDENTITY_API_VERSION: "3",
    OS_USERNAME: username,
    OS_PASSWORD: readSecret(passwordFile),
    OS_PROJECT_NAME: project,
    OS_USER_DOMAIN_ID: "default",
    OS_PROJECT_DOMAIN_ID: "default",
    OS_REGION_NAME: lab.region,
    OS_INTERFACE: "public",
  };
}

/** Services that run, by controller; the API first, so that nothing new is asked for while the others end. */
const runningServices = (lab: LabDescription): { name: string; cinderConf: string; services: string[] }[] =>
  lab.controllers.map(({ name, cinderConf, services }) => ({
    name,
    cinderConf,
    services: services.filter(({ started }) => started).map((service) => service.name),
  }));

function shellSettings({ stage: { lab }, from, to }: Move, folder: string): string {
  const clusters = [lab.arrays[from], lab.arrays[to]];
  const netrc = path.join(folder, "netrc");
  fs.writeFileSync(
    netrc,
    clusters
      .map(
        ({ address, username, passwordFile }) =>
          `machine ${address} login ${username} password ${readSecret(passwordFile)}\n`,
      )
      .join(""),
    { mode: 0o600 },
  );
  const { host, port, services } = lab.database;
  const options = path.join(folder, "my.cnf");
  fs.writeFileSync(
    options,
    `[client]\nhost=${host}\nport=${port}\nuser=${services.user}\npassword="${readSecret(services.passwordFile)}"\n`,
    { mode: 0o600 },
  );
  const quoted = (value: string): string => `'${value.replaceAll("'", `'\\''`)}'`;
  const list = (values: readonly string[]): string => `(${values.map(quoted).join(" ")})`;
  const url = (site: Site): string => quoted(`https://${lab.arrays[site].address}:${lab.arrays[site].port}`);
  const controllers = runningServices(lab);
  const variables = {
    FROM: quoted(from),
    TO: quoted(to),
    VOLUME_HOST: quoted(lab.volumeHost),
    FLEXVOLS: list(lab.arrays.iprod.flexVols.map(({ name }) => name)),
    FROM_CLUSTER: url(from),
    TO_CLUSTER: url(to),
    FROM_SVM: quoted(lab.arrays[from].svm),
    TO_SVM: quoted(lab.arrays[to].svm),
    ONTAP_CA: quoted(lab.caFile),
    ONTAP_NETRC: quoted(netrc),
    DATABASE_OPTIONS: quoted(options),
    BACKUP: quoted(path.join(folder, "cinder.sql")),
    CONTROLLER_SERVICES: list(controllers.flatMap(({ name, services: own }) => own.map((each) => `${name} ${each}`))),
    CINDER_CONFS: list(controllers.map(({ cinderConf }) => cinderConf)),
    SERVICE_MANAGER: quoted(lab.serviceManager),
    LAB: quoted(lab.dir),
  };
  return Object.entries(variables)
    .map(([name, value]) => `${name}=${value}\n`)
    .join("");
}

function ansibleSettings({ stage: { lab }, from, to }: Move, folder: string): object {
  const cluster = (site: Site) => {
    const { address, port, username, passwordFile } = lab.arrays[site];
    return { hostname: address, port, username, password: readSecret(passwordFile) };
  };
  const { host, port, services } = lab.database;
  return {
    from_site: from,
    to_site: to,
    volume_host: lab.volumeHost,
    flexvols: lab.arrays.iprod.flexVols.map(({ name }) => name),
    from_cluster: cluster(from),
    to_cluster: cluster(to),
    from_svm: lab.arrays[from].svm,
    to_svm: lab.arrays[to].svm,
    database: { host, port, user: services.user, password: readSecret(services.passwordFile) },
    backup: path.join(folder, "cinder.sql"),
    controllers: runningServices(lab).map(({ name, cinderConf, services: own }) => ({
      name,
      cinder_conf: cinderConf,
      services: own,
    })),
    service_command: `${lab.serviceManager} --lab ${lab.dir} --host`,
  };
}
