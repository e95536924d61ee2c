import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { Agent } from "undici";
import { startOntapSimulator } from "../../../lab/simulators/ontap";
import type { SimulatorConfig } from "../../../lab/simulators/ontap";
import { DrError } from "../../../lib/errors";
import { OntapClient } from "../../../lib/ontap/client";
import type { OntapClientOptions } from "../../../lib/ontap/client";
import type { Mirror } from "../../../lib/ontap/snapmirror/results";
import { makeCertificate } from "../../unit/http/certificates";
import type { Certificate } from "../../unit/http/certificates";

const mebibyte = 2 ** 20;

export interface PairOptions {
  readonly timing?: NonNullable<SimulatorConfig["timing"]>;
  readonly behaviour?: NonNullable<SimulatorConfig["behaviour"]>;
  readonly client?: Partial<OntapClientOptions>;
  /** Of ONTAP, on both clusters. */
  readonly version?: [number, number, number];
}

/** Two simulated clusters and a client of each; iprod has the FlexVols pool1 and pool2, idr none. Nothing is peered. */
export async function startPair(options: PairOptions = {}) {
  const folder = mkdtempSync(join(tmpdir(), "ontap-client-"));
  const { authority, certificate } = certificates();
  const [caFile, certFile, keyFile] = ["ca.pem", "cert.pem", "key.pem"].map((name) => join(folder, name)) as [
    string,
    string,
    string,
  ];
  writeFileSync(caFile, authority.cert);
  writeFileSync(certFile, certificate.cert);
  writeFileSync(keyFile, certificate.key);
  const site = (name: string, net: number, volumes: string[]) => ({
    name: `cluster-${name}`,
    address: "127.0.0.1",
    port: 0,
    username: "admin",
    password: "Netapp1!",
    ...(options.version === undefined ? {} : { version: options.version }),
    interclusterAddresses: [`127.66.${net}.9`],
    aggregates: [`aggr1_${name}`, `aggr2_${name}`],
    svms: [
      {
        name: `svm-${name}`,
        iscsiAddresses: [`127.66.${net}.1`, `127.66.${net}.2`],
        volumes: volumes.map((volume) => ({ name: volume, type: "rw" as const, sizeBytes: 200 * mebibyte })),
      },
    ],
  });
  const simulator = await startOntapSimulator({
    stateDir: join(folder, "state"),
    tls: { certFile, keyFile },
    control: { address: "127.0.0.1", port: 0 },
    clusters: [site("iprod", 1, ["pool1", "pool2"]), site("idr", 2, [])],
    iscsi: "none",
    ...(options.timing === undefined ? {} : { timing: options.timing }),
    ...(options.behaviour === undefined ? {} : { behaviour: options.behaviour }),
  });
  const agent = new Agent({ connect: { ca: authority.cert } });
  const clients = ["iprod", "idr"].map(
    (name, index) =>
      new OntapClient({
        site: name,
        svm: `svm-${name}`,
        address: "127.0.0.1",
        port: simulator.clusters[index]?.port ?? 0,
        username: "admin",
        password: "Netapp1!",
        caFile,
        // As many polls, at a tenth of the time.
        sleep: (ms, signal) => delay(ms / 10, undefined, { signal }),
        ...options.client,
      }),
  );
  const [iprod, idr] = clients as [OntapClient, OntapClient];

  const pair = {
    simulator,
    iprod,
    idr,
    caFile,

    /** What administrators and Cinder's driver do, and the client under test doesn't. */
    raw: async (cluster: 0 | 1, method: "POST" | "PATCH", path: string, body: object): Promise<void> => {
      const answer = await agent.request({
        origin: `https://127.0.0.1:${simulator.clusters[cluster]?.port}`,
        path: `/api${path}`,
        method,
        headers: {
          authorization: `Basic ${Buffer.from("admin:Netapp1!").toString("base64")}`,
          "content-type": "application/json",
        },
        body: JSON.stringify(body),
      });
      const text = await answer.body.text();
      assert.ok(answer.statusCode < 300, `${method} ${path}: ${answer.statusCode} ${text}`);
    },

    createLun: async (path: string): Promise<void> => {
      await pair.raw(0, "POST", "/storage/luns", {
        svm: { name: "svm-iprod" },
        name: path,
        os_type: "linux",
        space: { size: 8 * mebibyte },
      });
    },

    peer: async (): Promise<void> => {
      const offer = await idr.createClusterPeerOffer({ remoteAddresses: await iprod.listInterclusterAddresses() });
      await iprod.acceptClusterPeer({
        remoteAddresses: await idr.listInterclusterAddresses(),
        passphrase: offer.passphrase,
      });
      const { uuid } = await idr.createSvmPeer({ peerSvm: "svm-iprod", peerCluster: "cluster-iprod" });
      await iprod.acceptSvmPeer(uuid);
    },

    /** Peered, and pool1 mirrored from iprod to idr, initialised and idle; without a schedule, whose transfers come between. */
    mirror: async (): Promise<Mirror> => {
      await pair.peer();
      await idr.createDestinationVolume({ name: "pool1", sizeBytes: 200 * mebibyte });
      const uuid = await idr.createMirror({
        sourceSvm: "svm-iprod",
        destinationSvm: "svm-idr",
        flexVol: "pool1",
        policy: "MirrorAllSnapshots",
      });
      await idr.setMirrorState(uuid, "snapmirrored");
      return mirrorOf(idr, (mirror) => mirror.state === "snapmirrored" && mirror.transfer?.state === "success");
    },

    close: async (): Promise<void> => {
      for (const client of clients) await client.close();
      await agent.close();
      await simulator.close();
      rmSync(folder, { recursive: true });
      assert.deepEqual(
        simulator.unknown().map((request) => `${request.method} ${request.path}?${request.query}: ${request.error}`),
        [],
        "the simulator doesn't know what the client asked for",
      );
    },
  };
  return pair;
}
export type Pair = Awaited<ReturnType<typeof startPair>>;

let made: { readonly authority: Certificate; readonly certificate: Certificate } | undefined;
/** Made once: keys take their time. */
function certificates() {
  if (made === undefined) {
    const authority = makeCertificate("lab CA");
    made = { authority, certificate: makeCertificate("cluster", authority) };
  }
  return made;
}

/** Polls until the mirror of a FlexVol is as wanted. */
export async function mirrorOf(
  client: OntapClient,
  wanted: (mirror: Mirror) => boolean,
  flexVol = "pool1",
): Promise<Mirror> {
  return eventually(async () => {
    const [mirror] = await client.listMirrors([flexVol]);
    return mirror !== undefined && wanted(mirror) ? { done: mirror } : { seen: mirror };
  });
}

export async function eventually<T>(read: () => Promise<{ done: T } | { seen: unknown }>): Promise<T> {
  const deadline = AbortSignal.timeout(10_000);
  for (;;) {
    const answer = await read();
    if ("done" in answer) return answer.done;
    assert.ok(!deadline.aborted, `not reached within 10 s; last seen ${JSON.stringify(answer.seen)}`);
    await delay(5);
  }
}

export async function failureOf(promise: Promise<unknown>): Promise<DrError> {
  try {
    await promise;
  } catch (error) {
    assert.ok(DrError.is(error), `not a DrError: ${String(error)}`);
    return error;
  }
  return assert.fail("it succeeded");
}
