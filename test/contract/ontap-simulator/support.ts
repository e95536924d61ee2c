/* eslint-disable @typescript-eslint/no-unsafe-member-access, @typescript-eslint/no-unsafe-assignment, @typescript-eslint/no-unsafe-return -- wire answers are looked at as they come */
/** A pair of simulated clusters for one test file, and a bare HTTP client (none of the product's code). */
import { mkdtempSync, promises as fs, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import * as path from "node:path";
import * as forge from "node-forge";
import { Agent, request } from "undici";
import { startOntapSimulator, type OntapSimulator, type SimulatorConfig } from "../../../lab/simulators/ontap";

export interface Answer {
  status: number;
  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  body: any;
  headers: Record<string, string | string[] | undefined>;
}

export function makeCertificate(dir: string, addresses: readonly string[]): { certFile: string; keyFile: string } {
  const keys = forge.pki.rsa.generateKeyPair(2048);
  const cert = forge.pki.createCertificate();
  cert.publicKey = keys.publicKey;
  cert.serialNumber = "01";
  cert.validity.notBefore = new Date(Date.now() - 86_400_000);
  cert.validity.notAfter = new Date(Date.now() + 86_400_000);
  const name = [{ name: "commonName", value: "simulated ONTAP" }];
  cert.setSubject(name);
  cert.setIssuer(name);
  cert.setExtensions([
    { name: "basicConstraints", cA: true },
    { name: "subjectAltName", altNames: addresses.map((ip) => ({ type: 7, ip })) },
  ]);
  cert.sign(keys.privateKey, forge.md.sha256.create());
  const files = { certFile: path.join(dir, "server.crt"), keyFile: path.join(dir, "server.key") };
  writeFileSync(files.certFile, forge.pki.certificateToPem(cert));
  writeFileSync(files.keyFile, forge.pki.privateKeyToPem(keys.privateKey), { mode: 0o600 });
  return files;
}

export interface Pair {
  simulator: OntapSimulator;
  dir: string;
  a: Client;
  b: Client;
  /** polls until `check` returns something; fails after the deadline with what it saw last. */
  close(): Promise<void>;
}

export class Client {
  private readonly agent = new Agent({ connect: { rejectUnauthorized: false } });

  constructor(
    readonly origin: string,
    private readonly svm: string | undefined = undefined,
    private readonly password = "secret-of-the-test",
  ) {}

  as(svm: string): Client {
    return new Client(this.origin, svm, this.password);
  }

  withPassword(password: string): Client {
    return new Client(this.origin, this.svm, password);
  }

  async call(method: string, url: string, body?: unknown, headers: Record<string, string> = {}): Promise<Answer> {
    const answer = await request(`${this.origin}/api${url}`, {
      method: method as "GET",
      dispatcher: this.agent,
      headers: {
        authorization: `Basic ${Buffer.from(`admin:${this.password}`).toString("base64")}`,
        ...(this.svm === undefined ? {} : { "x-dot-svm-name": this.svm }),
        ...(body === undefined ? {} : { "content-type": "application/json" }),
        ...headers,
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await answer.body.text();
    return { status: answer.statusCode, body: text === "" ? {} : JSON.parse(text), headers: answer.headers };
  }

  get = (url: string): Promise<Answer> => this.call("GET", url);

  /** A request that may be answered by a job: waits for the job, and returns the job's record. */
  async run(method: string, url: string, body?: unknown): Promise<Answer> {
    const answer = await this.call(method, url, body);
    if (answer.status !== 202) return answer;
    const uuid = answer.body.job.uuid as string;
    return until(`job ${uuid}`, async () => {
      const job = await this.get(`/cluster/jobs/${uuid}`);
      return job.body.state === "success" || job.body.state === "failure" ? job : undefined;
    });
  }

  /** As run, but anything but success is an error. */
  async must(method: string, url: string, body?: unknown): Promise<Answer> {
    const answer = await this.run(method, url, body);
    if (answer.status >= 300 || answer.body.state === "failure") {
      throw new Error(`${method} ${url}: ${answer.status} ${JSON.stringify(answer.body)}`);
    }
    return answer;
  }
}

export async function until<T>(what: string, check: () => Promise<T | undefined>, deadlineMs = 15_000): Promise<T> {
  const end = Date.now() + deadlineMs;
  for (;;) {
    const value = await check();
    if (value !== undefined) return value;
    if (Date.now() > end) throw new Error(`${what}: not within ${deadlineMs} ms`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

const mb = 2 ** 20;

export async function startPair(changes: Partial<SimulatorConfig> = {}): Promise<Pair> {
  const dir = mkdtempSync(path.join(tmpdir(), "ontap-simulator-"));
  const cluster = (name: string, n: number): SimulatorConfig["clusters"][0] => ({
    name,
    address: "127.0.0.1",
    port: 0,
    username: "admin",
    password: "secret-of-the-test",
    interclusterAddresses: [`127.77.${n}.9`],
    aggregates: ["aggr1"],
    svms: [
      {
        name: `svm_${name}`,
        iscsiAddresses: [`127.77.${n}.1`],
        volumes:
          n === 1
            ? [
                { name: "vol1", type: "rw", sizeBytes: 1024 * mb },
                { name: "vol2", type: "rw", sizeBytes: 1024 * mb },
              ]
            : [],
      },
    ],
  });
  const simulator = await startOntapSimulator({
    stateDir: path.join(dir, "state"),
    tls: makeCertificate(dir, ["127.0.0.1"]),
    control: { address: "127.0.0.1", port: 0 },
    clusters: [cluster("prod", 1), cluster("dr", 2)],
    iscsi: "none",
    ...changes,
  });
  const [a, b] = simulator.clusters.map((c) => new Client(`https://${c.address}:${c.port}`));
  if (!a || !b) throw new Error("two clusters are expected");
  return {
    simulator,
    dir,
    a,
    b,
    close: async () => {
      await simulator.close();
      await fs.rm(dir, { recursive: true, force: true });
    },
  };
}

/** Peers clusters and SVMs, as an operator does it. */
export async function peer({ a, b }: Pick<Pair, "a" | "b">): Promise<void> {
  const offer = await a.must("POST", "/cluster/peers", {
    remote: { ip_addresses: ["127.77.2.9"] },
    authentication: { generate_passphrase: true },
  });
  const passphrase = offer.body.records[0].authentication.passphrase as string;
  await b.must("POST", "/cluster/peers", { remote: { ip_addresses: ["127.77.1.9"] }, authentication: { passphrase } });
  await b.must("POST", "/svm/peers?return_records=true", {
    svm: { name: "svm_dr" },
    peer: { svm: { name: "svm_prod" }, cluster: { name: "prod" } },
    applications: ["snapmirror"],
  });
  const { uuid } = (await a.get("/svm/peers?peer.svm.name=svm_dr")).body.records[0] as { uuid: string };
  await a.must("PATCH", `/svm/peers/${uuid}`, { state: "peered" });
}

/** A dp volume at B and a relationship from A's volume of the same name; uninitialised. Returns its uuid. */
export async function mirror({ b }: Pick<Pair, "b">, volume = "vol1", policy = "MirrorAllSnapshots"): Promise<string> {
  await b.must("POST", "/storage/volumes", {
    svm: { name: "svm_dr" },
    name: volume,
    type: "dp",
    size: 1024 * mb,
    aggregates: [{ name: "aggr1" }],
  });
  await b.must("POST", "/snapmirror/relationships", {
    source: { path: `svm_prod:${volume}` },
    destination: { path: `svm_dr:${volume}` },
    policy: { name: policy },
  });
  return (
    (await b.get(`/snapmirror/relationships?destination.path=svm_dr:${volume}`)).body.records[0] as { uuid: string }
  ).uuid;
}

// eslint-disable-next-line @typescript-eslint/no-explicit-any
export const relationship = async (client: Client, uuid: string): Promise<any> =>
  (await client.get(`/snapmirror/relationships/${uuid}`)).body;

/** Waits until no transfer runs, and returns the relationship. */
// eslint-disable-next-line @typescript-eslint/no-explicit-any
export const idle = (client: Client, uuid: string): Promise<any> =>
  until(`relationship ${uuid} idle`, async () => {
    const r = await relationship(client, uuid);
    return r.transfer?.state === "transferring" ? undefined : r;
  });

export async function setState(client: Client, uuid: string, state: string): Promise<Answer> {
  return client.run("PATCH", `/snapmirror/relationships/${uuid}`, { state });
}

export async function createLun(client: Client, svm: string, name: string, sizeMb = 16): Promise<string> {
  const answer = await client.must("POST", "/storage/luns?return_records=true", {
    svm: { name: svm },
    name,
    os_type: "linux",
    space: { size: sizeMb * mb },
  });
  return answer.body.records[0].uuid as string;
}

/** The file that holds a LUN's bytes. */
export function lunFile(pair: Pair, cluster: string, lunPath: string): string {
  const lun = pair.simulator.luns().find((l) => l.cluster === cluster && l.path === lunPath);
  if (!lun) throw new Error(`no LUN ${lunPath} on ${cluster}`);
  return lun.file;
}

export async function write(file: string, offset: number, text: string): Promise<void> {
  const handle = await fs.open(file, "r+");
  try {
    await handle.write(Buffer.from(text), 0, text.length, offset);
  } finally {
    await handle.close();
  }
}

export async function read(file: string, offset: number, length: number): Promise<string> {
  const handle = await fs.open(file, "r");
  try {
    const buffer = Buffer.alloc(length);
    await handle.read(buffer, 0, length, offset);
    return buffer.toString("latin1").replace(/\0+$/, "");
  } finally {
    await handle.close();
  }
}
