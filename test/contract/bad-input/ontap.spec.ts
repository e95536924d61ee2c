import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { DrError } from "../../../lib/errors";
import { OntapClient, type OntapClientOptions } from "../../../lib/ontap/client";
import { observe } from "../../../lib/switchover/observe";
import { preflight } from "../../../lib/switchover/preflight";
import type { SitePair } from "../../../lib/topology/site-pair";
import { type BadInput, refuses, type Told } from "../../support/bad-input";
import { makeCertificate } from "../../unit/http/certificates";
import { intentTo, pair as pairOfWorld, World } from "../../unit/switchover/world";
import { type Pair, type PairOptions, startPair } from "../ontap-client/pair";

type Options = Partial<OntapClientOptions>;

interface Given {
  readonly pair?: Partial<SitePair>;
  readonly start?: PairOptions;
  /** Both are peered and pool1 is mirrored, where nothing else is said. */
  readonly bare?: true;
  readonly change?: (pair: Pair) => Promise<unknown>;
  /** How both clients, or that of one site, differ from one that works. */
  readonly both?: Options | (() => Options);
  readonly iprod?: Options | (() => Options);
  readonly idr?: Options | (() => Options);
  /** What is asked for instead of a switchover. */
  readonly ask?: (pair: Pair) => Promise<unknown>;
}
interface Scene extends Given {
  readonly simulated: Pair;
  /** Of the last change that was made by hand. */
  readonly since: number;
}

const password = /See that ontapPasswords holds the password of "\w+" for this site/;
const ca = /Name the file with the CA that signed its certificate as caFile, or correct the address/;
const pem = /Name a readable PEM file with certificates as caFile/;
const role = /Give "admin" a role that may do this/;
const wrongServer = /See that address, port and path lead to this service/;
const unreachable = /Repair it/;
const named = /Correct in ONTAP, or in the configuration, what it names/;
const asked = (site: string, rest: string): RegExp =>
  new RegExp(`^the array of "${site}" can't be asked: .*${rest}`, "s");
const denied =
  (path: string, cluster = "cluster-idr") =>
  async ({ simulator }: Pair): Promise<void> =>
    void simulator.addFault({
      cluster,
      method: "GET",
      path,
      count: 0,
      effect: { kind: "status", status: 403, code: "6", message: "not authorized for that command" },
    });
const answers =
  (path: string, body: object, cluster: 0 | 1 = 1) =>
  ({ raw }: Pair) =>
    raw(cluster, "PATCH", path, body);
const svm = async ({ idr }: Pair): Promise<string> => (await idr.getSvm()).uuid;
const mirror = async ({ idr }: Pair): Promise<string> => (await idr.listMirrors(["pool1"]))[0]?.uuid ?? assert.fail();
const none = "00000000-0000-4000-8000-000000000000";
const newMirror = { sourceSvm: "svm-iprod", destinationSvm: "svm-idr", flexVol: "pool1", policy: "MirrorAllSnapshots" }; // prettier-ignore

let folder: string;
let page: Server;
let html: Server;
let json: Server;
const file = (name: string) => () => ({ caFile: path.join(folder, name) });
const portOf = (server: Server): number => (server.address() as AddressInfo).port;

const cases: readonly (readonly [name: string, given: Given, remedy: RegExp, ...faults: RegExp[]])[] = [
  ["a wrong password", { idr: { password: "hush-wrong" } }, password, asked("idr", "status 401.*not authorized|status 401")],
  ["wrong passwords for both sites", { both: { password: "hush-wrong" } }, password, asked("iprod", "status 401"), asked("idr", "status 401")],
  ["an unknown account", { idr: { username: "cinder" } }, password, asked("idr", "status 401")],
  ["a role without the cluster", { change: denied("/cluster") }, role, asked("idr", "Read the cluster's version: status 403.*not authorized")],
  ["a role without mirrors", { change: denied("/snapmirror/relationships") }, role, asked("idr", "List the relationships to svm-idr:pool1: status 403")],
  ["a role without LUN maps", { change: denied("/protocols/san/lun-maps", "cluster-iprod") }, role, asked("iprod", "List the LUN maps of SVM svm-iprod: status 403")],
  ["the name of another SVM", { idr: { svm: "svm-dr" } }, /Correct the site's svm, or the user's role/, asked("idr", "Read the SVM svm-dr: the cluster has no data SVM of this name")],
  ["the other site's address", { idr: { svm: "svm-iprod" } }, /Correct the site's svm/, asked("idr", "Read the SVM svm-iprod: the cluster has no")],
  ["an SVM that is stopped", { change: async (pair) => answers(`/svm/svms/${await svm(pair)}`, { state: "stopped" })(pair) }, /Start it \(vserver start -vserver svm-idr\)/, /^SVM "svm-idr" of "idr" is stopp/],
  ["iSCSI that is off", { change: async (pair) => answers(`/protocols/san/iscsi/services/${await svm(pair)}`, { enabled: false })(pair) }, /Enable the iSCSI service and its interfaces on svm-idr/, /^SVM "svm-idr" of "idr" serves no iSCSI: the service is off/],
  ["an ONTAP that is too old", { start: { version: [9, 10, 1] } }, /Upgrade it/, /^cluster "cluster-iprod" of "iprod" runs ONTAP 9\.10\.1, needed 9\.11\.1 or newer/, /^cluster "cluster-idr" of "idr" runs ONTAP 9\.10\.1/],
  ["a FlexVol that isn't there", { pair: { flexVols: ["pool9"] } }, /Bring it online, or take it out of the pair/, /^FlexVol "pool9" isn't online on svm-iprod/, /^FlexVol "pool9" isn't online on svm-idr/, /^there is no mirror svm-iprod:pool9 → svm-idr:pool9/],
  ["a FlexVol without a mirror", { pair: { flexVols: ["pool1", "pool2"] } }, /Create and initialise it/, /^FlexVol "pool2" isn't online on svm-idr/, /^there is no mirror svm-iprod:pool2 → svm-idr:pool2/],
  ["clusters that aren't peered", { bare: true }, /Create and initialise it/, /^FlexVol "pool1" isn't online on svm-idr/, /^there is no mirror svm-iprod:pool1 → svm-idr:pool1/],
  ["a mirror that is paused", { change: async (pair) => pair.idr.setMirrorState(await mirror(pair), "paused") }, /Resume it \(snapmirror resume\)/, /^mirror svm-iprod:pool1 → svm-idr:pool1 is paused, not snapmirrored/],
  ["a mirror that somebody broke off", { change: async (pair) => { const uuid = await mirror(pair); await pair.idr.setMirrorState(uuid, "paused"); await pair.idr.setMirrorState(uuid, "broken_off"); } }, /"idr" is writable since somebody broke it off/, /is broken_off, not snapmirrored/],

  ["a certificate of another CA", { idr: file("other.pem") }, ca, asked("idr", "127\\.0\\.0\\.1:\\d+ could not be verified: .*\\(\\w+\\)")],
  ["a certificate of a CA that the system doesn't know", { both: { caFile: undefined } as never }, ca, asked("iprod", "could not be verified"), asked("idr", "could not be verified")],
  ["a name that isn't in the certificate", { idr: { address: "localhost" } }, ca, asked("idr", "localhost:\\d+ could not be verified: .*localhost.*ERR_TLS_CERT_ALTNAME_INVALID")],
  ["CA files that aren't there", { both: file("none.pem") }, pem, asked("iprod", "Read the CA certificates in \\S+none\\.pem: ENOENT"), asked("idr", "none\\.pem: ENOENT")],
  ["a CA file with something else", { idr: file("key.txt") }, pem, asked("idr", "Read the CA certificates in \\S+key\\.txt: ")],
  ["a CA file that was cut off", { idr: file("cut.pem") }, pem, asked("idr", "Read the CA certificates in \\S+cut\\.pem: ")],
  ["a port that speaks no TLS", { idr: () => ({ port: portOf(page) }) }, ca, asked("idr", "could not be verified")],
  ["another web server", { idr: () => ({ port: portOf(html), ...file("page-ca.pem")() }) }, wrongServer, asked("idr", "Read the cluster's version: status 200 with an answer that isn't JSON, from 127\\.0\\.0\\.1:\\d+")],
  ["another API", { idr: () => ({ port: portOf(json), ...file("page-ca.pem")() }) }, wrongServer, asked("idr", "Read the cluster's version: status 200 with an answer of unknown shape \\(name: .*, from 127\\.0\\.0\\.1:\\d+")],
  ["nobody at the port", { idr: { port: 1 } }, unreachable, asked("idr", "no answer from 127\\.0\\.0\\.1:1: .*ECONNREFUSED")],
  ["a cluster that is gone", { change: ({ simulator }) => simulator.setReachable("cluster-iprod", false) }, /if "iprod" is lost, declare unplanned/, asked("iprod", "no answer from 127\\.0\\.0\\.1:\\d+")],
  ["a cluster that resets connections", { change: async ({ simulator }) => void simulator.addFault({ cluster: "cluster-idr", path: "*", count: 0, effect: { kind: "reset" } }) }, unreachable, asked("idr", "no answer from 127\\.0\\.0\\.1:\\d+")],
  ["much at once", { pair: { flexVols: ["pool1", "pool9"] }, iprod: { password: "hush-wrong" }, start: { version: [9, 10, 1] } }, password, asked("iprod", "status 401"), /^cluster "cluster-idr" of "idr" runs ONTAP 9\.10\.1/, /^FlexVol "pool9" isn't online on svm-idr/, /^there is no mirror svm-iprod:pool9/],

  ["a passphrase that is too short", { bare: true, change: ({ idr }) => idr.createClusterPeerOffer({ remoteAddresses: ["127.66.1.9"] }), ask: ({ iprod }) => iprod.acceptClusterPeer({ remoteAddresses: ["127.66.2.9"], passphrase: "hush" }) }, named, /Accept cluster peering of 127\.66\.2\.9: status 4\d\d.*\(4653236\)/],
  ["an SVM peer before its clusters are peered", { bare: true, ask: ({ idr }) => idr.createSvmPeer({ peerSvm: "svm-iprod", peerCluster: "cluster-iprod" }) }, named, /Peer the SVM svm-idr with cluster-iprod:svm-iprod: /],
  ["an SVM peer that the other side hasn't accepted", { bare: true, change: async ({ iprod, idr }) => { const offer = await idr.createClusterPeerOffer({ remoteAddresses: ["127.66.1.9"] }); await iprod.acceptClusterPeer({ remoteAddresses: ["127.66.2.9"], passphrase: offer.passphrase }); await idr.createSvmPeer({ peerSvm: "svm-iprod", peerCluster: "cluster-iprod" }); await idr.createDestinationVolume({ name: "pool1", sizeBytes: 200 * 2 ** 20 }); }, ask: ({ idr }) => idr.createMirror(newMirror) }, named, /Create SnapMirror svm-iprod:pool1 → svm-idr:pool1: /],
  ["a cluster peer that SVM peers use", { ask: async ({ idr }) => idr.deleteClusterPeer((await idr.listClusterPeers())[0]?.uuid ?? "") }, named, /Delete the cluster peer \S+: status \d+.*\(4653079\)/],
  ["an unknown policy", { bare: true, change: async (pair) => { await pair.peer(); await pair.idr.createDestinationVolume({ name: "pool1", sizeBytes: 200 * 2 ** 20 }); }, ask: ({ idr }) => idr.createMirror({ ...newMirror, policy: "Nope" }) }, named, /Create SnapMirror svm-iprod:pool1 → svm-idr:pool1: /],
  ["a mirror that isn't there", { ask: ({ idr }) => idr.setMirrorState(none, "paused") }, /entry doesn't exist/, /Read relationship 00000000-\S+: status 404.*entry doesn't exist \(4\)/],
  ["an update of a mirror that is broken off", { change: async (pair) => { const uuid = await mirror(pair); await pair.idr.setMirrorState(uuid, "paused"); await pair.idr.setMirrorState(uuid, "broken_off"); }, ask: async (pair) => pair.idr.startTransfer(await mirror(pair)) }, named, /Update SnapMirror svm-iprod:pool1 → svm-idr:pool1: status \d+/],
  ["a FlexVol that is to be made on no aggregate", { bare: true, ask: ({ idr }) => idr.createDestinationVolume({ name: "pool1", sizeBytes: 200 * 2 ** 20, aggregate: "aggr9" }) }, named, /pool1.*: /],
]; // prettier-ignore

describe("bad input: ONTAP", function () {
  this.timeout(60_000);
  const closers: (() => Promise<unknown>)[] = [];
  before(async () => {
    folder = mkdtempSync(path.join(tmpdir(), "bad-ontap-"));
    writeFileSync(path.join(folder, "other.pem"), makeCertificate("another CA").cert);
    writeFileSync(path.join(folder, "cut.pem"), "-----BEGIN CERTIFICATE-----\nMIIB");
    writeFileSync(path.join(folder, "key.txt"), "hush: not a certificate\n");
    const authority = makeCertificate("CA of another program");
    writeFileSync(path.join(folder, "page-ca.pem"), authority.cert);
    const certificate = makeCertificate("another program", authority);
    page = createServer((_request, response) => response.end("<html>hush</html>"));
    html = createTlsServer(certificate, (_request, response) => response.end("<html>hush</html>"));
    json = createTlsServer(certificate, (_request, response) => response.end('{"status": "hush"}'));
    for (const server of [page, html, json])
      await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  });
  after(() => {
    for (const server of [page, html, json]) server.close();
    rmSync(folder, { recursive: true });
  });
  afterEach(async () => {
    for (const close of closers.splice(0).reverse()) await close();
  });

  async function arrange(given: Given): Promise<Scene> {
    const simulated = await startPair({ timing: { jobMs: 1 }, ...given.start });
    closers.push(simulated.close);
    if (given.bare === undefined) await simulated.mirror();
    await given.change?.(simulated);
    return { ...given, simulated, since: simulated.simulator.requests().at(-1)?.id ?? 0 };
  }

  /** Preflight of a switchover to idr on these arrays, and on a control plane in which nothing is wrong. */
  async function checked({ simulated, ...given }: Scene): Promise<Told> {
    const options = (of: Given["both"]): Options => (typeof of === "function" ? of() : (of ?? {}));
    const [iprod, idr] = (["iprod", "idr"] as const).map((site, index) => {
      const client = new OntapClient({
        site,
        svm: `svm-${site}`,
        address: "127.0.0.1",
        port: simulated.simulator.clusters[index]?.port ?? 0,
        username: "admin",
        password: "Netapp1!",
        caFile: simulated.caFile,
        sleep: () => Promise.resolve(),
        ...options(given.both),
        ...options(given[site]),
      });
      closers.push(() => client.close());
      return client;
    });
    assert.ok(iprod !== undefined && idr !== undefined);
    const pair = { ...pairOfWorld, flexVols: ["pool1"], ...given.pair };
    const observation = await observe(pair, { ...new World(0).ports(), arrays: { iprod, idr } });
    const { failures } = preflight(observation, intentTo("idr"), "iprod");
    return {
      faults: failures.map(({ message }) => message),
      text: failures.map(({ message, remedy }) => `${message}. ${remedy}`).join("\n"),
    };
  }

  async function refused(ask: Promise<unknown>): Promise<Told> {
    const error: unknown = await ask.then(
      () => assert.fail("it is done"),
      (thrown: unknown) => thrown,
    );
    assert.ok(DrError.is(error), String(error));
    return { faults: [error.message], text: error.message, error };
  }

  refuses<Given, Scene>({
    area: "ONTAP",
    secrets: ["hush", "Netapp1!", Buffer.from("admin:Netapp1!").toString("base64")],
    cases: cases.map(([name, given, remedy, ...faults]): BadInput<Given> => ({
      name,
      given,
      expected: { faults, remedy },
    })),
    arrange,
    tell: (scene) => (scene.ask === undefined ? checked(scene) : refused(scene.ask(scene.simulated))),
    // What ONTAP took of anything but reading.
    state: ({ simulated, since }) =>
      simulated.simulator
        .requests({ mutating: true, since })
        .filter(({ status }) => status === undefined || status < 300)
        .map(({ method, path }) => `${method} ${path}`),
  });

  it("says nothing where nothing is wrong", async () => {
    assert.deepEqual((await checked(await arrange({}))).faults, []);
  });
});
