import assert from "node:assert/strict";
import { DrError } from "../../../lib/errors";
import { readSettings } from "../../../stacks/settings";
import { pairInput, settingsOf } from "../../pulumi/support/settings";
import { type BadInput, refuses } from "../../support/bad-input";

type Keys = Readonly<Record<string, unknown>>;

/** Keys of the stack; what isn't named is as in a stack that is taken. */
type Given = Keys & { readonly secretKeys?: readonly string[] };

const { cinder, openstack, sites } = pairInput;
const [controller] = cinder.controllers;
const pair = (more: Keys): Given => ({ pair: { ...pairInput, ...more } });
const site = (name: "iprod" | "idr", more: Keys): Given =>
  pair({ sites: { ...sites, [name]: { ...sites[name], ...more } } });
const ontap = (more: Keys): Given => site("idr", { ontap: { ...sites["idr"]?.ontap, ...more } });
const stanza = (more: Keys): Given => site("idr", { stanza: more });
const ofCinder = (more: Keys): Given => pair({ cinder: { ...cinder, ...more } });
const controllers = (...list: readonly Keys[]): Given =>
  ofCinder({ controllers: list.map((more) => ({ ...controller, ...more })) });
const ssh = {
  kind: "ssh",
  address: "192.0.2.11",
  username: "u",
  privateKeyFile: "/k",
  hostKeySha256: `SHA256:${"A".repeat(43)}`,
};
const units = (...list: readonly Keys[]): Given => controllers({ services: { manager: "systemd", units: list } });
const volume = { role: "volume", unit: "cinder-volume" };
const database = (more: Keys): Given => ofCinder({ database: { ...cinder.database, ...more } });
const queue = (more: Keys): Given => ofCinder({ messageQueue: { ...cinder.messageQueue, ...more } });
const cloud = (more: Keys): Given => pair({ openstack: { ...openstack, ...more } });
const hook = { name: "h", when: "before:hold", command: ["true"] };
const call = { name: "h", when: "before:hold" };
const nothing = ["true"];
const commands = {
  start: nothing,
  stop: nothing,
  mask: nothing,
  unmask: nothing,
  isActive: nothing,
  isMasked: nothing,
};
const lab = {
  authUrl: "http://127.0.0.1:5000/v3", region: "R", admin: { username: "admin", project: "admin" }, demo: { username: "demo", project: "demo" },
  image: "i", flavor: "f", dataBackendName: "netapp_iscsi", publicKey: "ssh-ed25519 A",
}; // prettier-ignore
const testLab = (more: Keys, keys: Keys = {}): Given => ({
  program: "test-lab", activeSite: undefined, pair: undefined, ontapPasswords: undefined, databasePassword: undefined, messageQueuePassword: undefined,
  openstackSecret: undefined, lab: { ...lab, ...more }, adminPassword: "hush-6", demoPassword: "hush-7", secretKeys: ["adminPassword", "demoPassword"], ...keys,
}); // prettier-ignore

const cases: readonly (readonly [name: string, given: Given, ...faults: RegExp[]])[] = [
  ["no program", { program: undefined }, /^program: not set; it is one of disaster-recovery, test-lab$/],
  ["an unknown program", { program: "disaster" }, /^program: "disaster" is unknown/],
  ["a program by the name of a method", { program: "toString" }, /^program: "toString" is unknown/],
  ["keys of the other program", { lab, adminPassword: "hush-6", secretKeys: ["ontapPasswords", "databasePassword", "messageQueuePassword", "openstackSecret", "adminPassword"] }, /^lab: is no key/, /^adminPassword: is no key/],
  ["a key in another spelling", { approvedplan: "x" }, /^approvedplan: is no key of this program; remove it/],
  ["a key inside an object in another spelling", pair({ flexvols: [] }), /^pair\.flexvols: is no key/],

  ["no active site", { activeSite: undefined }, /^activeSite: not set$/],
  ["an empty active site", { activeSite: "" }, /^activeSite: is empty$/],
  ["an active site that isn't one", { activeSite: "ipord" }, /^activeSite: "ipord" is not one of iprod, idr$/],
  ["an unknown promotion", { promotion: "later" }, /^promotion: .*"immediate"\|"deferred"/],
  ["an unknown route", { route: "fast" }, /^route: .*"failover-host"\|"direct"/],
  ["an unknown reprotect", { reprotect: "yes" }, /^reprotect: .*"discardDiverged"\|"keepDiverged"/],
  ["a word for a yes", { requireApproval: "yes" }, /^requireApproval: .*expected boolean/],
  ["a number for a yes", { startIncomplete: 1 }, /^startIncomplete: .*expected boolean/],
  ["an empty approval", { approvedPlan: "" }, /^approvedPlan: is empty/],
  ["an empty schema to accept", { acceptSchema: "" }, /^acceptSchema: is empty/],
  ["an empty folder for journals", { journalDir: "" }, /^journalDir: is empty/],
  ["unplanned as a mere yes", { unplanned: true }, /^unplanned: .*expected object/],
  ["unplanned without the lost site, with a loss below zero, and misspelt", { unplanned: { acceptLossSeconds: -1, forced: true } }, /^unplanned\.from: not set/, /^unplanned\.acceptLossSeconds: Too small/, /^unplanned\.forced: is no key/],
  ["an expected site that isn't one", { expectedActive: "x" }, /^expectedActive: "x" is not one of iprod, idr$/],
  ["a maximum lag of zero", { maximumLagSeconds: 0 }, /^maximumLagSeconds: Too small/],
  ["a negative time between switchovers", { minimumSecondsBetweenSwitchovers: -1 }, /^minimumSecondsBetweenSwitchovers: Too small/],
  ["a schedule of no time", pair({ replication: { scheduleSeconds: 0 } }), /^pair\.replication\.scheduleSeconds: Too small/],
  ["unplanned from a site that isn't one", { unplanned: { from: "x" } }, /^unplanned\.from: "x" is not one of iprod, idr$/],
  ["a loss in words", { unplanned: { from: "iprod", acceptLossSeconds: "2h" } }, /^unplanned\.acceptLossSeconds: .*expected number/],
  ["a loss with a fraction", { unplanned: { from: "iprod", acceptLossSeconds: 0.5 } }, /^unplanned\.acceptLossSeconds: .*expected int/],
  ["a hook alone instead of a list", { hooks: hook }, /^hooks: .*expected array/],
  ["a hook of which everything is wrong", { hooks: [{ name: "", when: "before:lunch", command: [], timeoutSeconds: 0 }] }, /^hooks\[0\]\.name: is empty/, /^hooks\[0\]\.when: one of during:promote, /, /^hooks\[0\]\.command: is empty/, /^hooks\[0\]\.timeoutSeconds: Too small/],
  ["a command as one text", { hooks: [{ ...hook, command: "rm -rf" }] }, /^hooks\[0\]\.command: .*expected array/],
  ["a hook that does nothing, and one that does two things", { hooks: [{ ...hook, command: undefined }, { ...hook, name: "i", http: { url: "https://x.example.org" } }] }, /^hooks\[0\]: either a command or http/, /^hooks\[1\]: either a command or http/],
  ["a secret in a hook's header", { hooks: [{ ...call, http: { url: "https://x.example.org", headers: { Authorization: "Bearer hush-2", "x-api-key": "hush-3", accept: "*/*" } } }] }, /^hooks\[0\]\.http\.headers\.Authorization: a secret would stand in the state in clear; write \{secret:/, /^hooks\[0\]\.http\.headers\.x-api-key: a secret/],
  ["a hook's URL without TLS, with a password, or none", { hooks: [{ ...call, http: { url: "http://x.example.org/{to}" } }, { ...call, name: "i", http: { url: "https://a:hush-2@x.example.org" } }, { ...call, name: "j", http: { url: "{secret:a}" } }] }, /^hooks\[0\]\.http\.url: without TLS to "x\.example\.org"/, /^hooks\[1\]\.http\.url: it holds a user or a password/, /^hooks\[2\]\.http\.url: isn't a URL/],
  ["a hook's secret that isn't set", { hooks: [{ ...call, http: { url: "https://x.example.org/{secret:chat}", body: { text: ["{secret:page}"] } } }] }, /^hookSecrets\.chat: not set/, /^hookSecrets\.page: not set/],
  ["secrets of hooks in clear", { hookSecrets: { chat: "hush-2" } }, /^hookSecrets: stands in the stack's file in clear/],
  ["a hook of a group that there isn't, and of a phase without groups", { hooks: [{ ...hook, when: "after:start", group: "db" }, { ...hook, name: "i", group: "db" }] }, /^hooks\[1\]\.group: groups are stopped and started one after another/, /^hooks\[0\]\.group: "db" is none of pair\.openstack\.priorityGroups/],
  ["groups in a circle, twice, of nobody, and of everybody", cloud({ priorityGroups: [{ name: "a", instances: [{ id: "1" }], dependsOn: ["b"] }, { name: "b", instances: [{ name: "x" }], dependsOn: ["a"] }, { name: "c", instances: [{ id: "2" }], dependsOn: ["z"] }, { name: "c", instances: [{ id: "3" }] }] }), /^pair\.openstack\.priorityGroups\[2\]\.dependsOn: there's no group "z"/, /^pair\.openstack\.priorityGroups\[3\]\.name: group "c" is declared twice/, /^pair\.openstack\.priorityGroups: these depend on each other in a circle: a, b/],
  ["a group without instances, of one named twice, and with a priority of no kind", cloud({ priorityGroups: [{ name: "a", instances: [] }, { name: "b", instances: [{ id: "1", name: "x" }], priority: 0 }] }), /^pair\.openstack\.priorityGroups\[0\]\.instances: is empty/, /^pair\.openstack\.priorityGroups\[1\]\.instances\[0\]: either id, name or metadata/, /^pair\.openstack\.priorityGroups\[1\]\.priority: Too small/],
  ["two hooks of one name", { hooks: [hook, { ...hook, when: "after:hold" }] }, /^hooks\[1\]\.name: hook "h" is declared twice/],

  ["no pair", { pair: undefined }, /^pair: not set$/],
  ["a pair that isn't JSON", { pair: "{ name: hush-1" }, /^pair: .*expected object/],
  ["a pair with nothing in it", { pair: {} }, /^pair\.name: not set/, /^pair\.sites: not set/, /^pair\.flexVols: not set/, /^pair\.cinder: not set/, /^pair\.openstack: not set/],
  ["a name of the pair that SQL or a path would mind", pair({ name: "net app/1" }), /^pair\.name: letters, digits/],
  ["one site", pair({ sites: { iprod: sites["iprod"] } }), /^pair\.sites: a pair has exactly two sites, 1 given/],
  ["three sites", pair({ sites: { ...sites, third: { ...sites["idr"], backend: "third" } } }), /^pair\.sites: a pair has exactly two sites, 3 given/],
  ["a site's name with a blank", pair({ sites: { iprod: sites["iprod"], "i dr": sites["idr"] } }), /^pair\.sites\.i dr: as a name: letters, digits/],
  ["two sites with one backend", site("idr", { backend: "iprod" }), /^pair\.sites\.idr\.backend: both sites name the backend "iprod"/],
  ["two backends that oslo.config takes for one", site("idr", { backend: "IPROD" }), /^pair\.sites\.idr\.backend: both sites name the backend "iprod"/],
  ["a backend that is no stanza", site("idr", { backend: "DEFAULT" }), /^pair\.sites\.idr\.backend: cinder\.conf has another use/],
  ["a backend that would break the stanza's header", site("idr", { backend: "i]dr" }), /^pair\.sites\.idr\.backend: letters, digits/],
  ["two sites on one SVM", pair({ sites: { iprod: sites["iprod"], idr: { ...sites["iprod"], backend: "idr" } } }), /^pair\.sites\.idr\.svm: "iprod" and "idr" are the same SVM "svm-iprod" on 192\.0\.2\.1/],
  ["an array without address and account", ontap({ address: "", username: undefined }), /^pair\.sites\.idr\.ontap\.address: is empty/, /^pair\.sites\.idr\.ontap\.username: not set/],
  ["an array's password beside its account", ontap({ password: "hush-2" }), /^pair\.sites\.idr\.ontap\.password: is no key/],
  ["a port of no kind", ontap({ port: 70000 }), /^pair\.sites\.idr\.ontap\.port: Too big: .*65535/],
  ["intercluster addresses as one text", ontap({ interclusterAddresses: "10.0.0.1, 10.0.0.2" }), /^pair\.sites\.idr\.ontap\.interclusterAddresses: .*expected array/],
  ["a number as an option's value", stanza({ max_over_subscription_ratio: 20 }), /^pair\.sites\.idr\.stanza\.max_over_subscription_ratio: .*expected string/],
  ["options as lines of text", stanza(["a = b"] as never), /^pair\.sites\.idr\.stanza: .*expected record/],
  ["an option that would become another line", stanza({ "a = b\nc": "d" }), /^pair\.sites\.idr\.stanza\.a = b\nc: no option has this name/],
  ["replication_device by hand", stanza({ replication_device: "backend_id:iprod" }), /^pair\.sites\.idr\.stanza\.replication_device: it belongs to the switchover/],
  ["the array's password in the stanza, in clear", stanza({ netapp_password: "hush-2" }), /^pair\.sites\.idr\.stanza\.netapp_password: it comes from the secret ontapPasswords/],
  ["another password in the stanza, in clear", stanza({ chap_password: "hush-2" }), /^pair\.sites\.idr\.stanza\.chap_password: a secret would stand in the state/],
  ["an override that names another SVM", stanza({ netapp_vserver: "other" }), /^pair\.sites\.idr\.stanza\.netapp_vserver: "other" isn't the site's svm "svm-idr"/],
  ["an override that names another host of Cinder", stanza({ backend_host: "other" }), /^pair\.sites\.idr\.stanza\.backend_host: "other" isn't cinder\.volumeHost "cinder-dr"/],
  ["stanzas that no volume type could both mean", stanza({ volume_backend_name: "other" }), /^pair\.sites: volume_backend_name is "netapp_iscsi" and "other"/],
  ["no FlexVol", pair({ flexVols: [] }), /^pair\.flexVols: is empty/],
  ["FlexVols as one text", pair({ flexVols: "pool1" }), /^pair\.flexVols: .*expected array/],
  ["a FlexVol with a blank", pair({ flexVols: ["pool 1"] }), /^pair\.flexVols\[0\]: letters, digits/],
  ["a FlexVol twice", pair({ flexVols: ["pool1", "pool1"] }), /^pair\.flexVols: a FlexVol is listed twice/],
  ["a lag of zero", pair({ replication: { targetLagSeconds: 0 } }), /^pair\.replication\.targetLagSeconds: Too small/],
  ["a schedule as a number of minutes", pair({ replication: { schedule: 5 } }), /^pair\.replication\.schedule: .*expected string/],

  ["no volumeHost, or one with its backend", ofCinder({ volumeHost: "cinder-dr@iprod" }), /^pair\.cinder\.volumeHost: letters, digits/],
  ["no controllers", ofCinder({ controllers: [] }), /^pair\.cinder\.controllers: is empty/, /^pair\.cinder\.controllers: none has a unit/],
  ["a controller reached in an unknown way", controllers({ kind: "telnet" }), /^pair\.cinder\.controllers\[0\]\.kind: .*'local' \| 'ssh'/],
  ["an ssh controller without anything of ssh", controllers({ kind: "ssh" }), /\[0\]\.address: not set/, /\[0\]\.username: not set/, /\[0\]\.privateKeyFile: not set/, /\[0\]\.hostKeySha256: not set/],
  ["a fingerprint of another kind", controllers({ ...ssh, hostKeySha256: "MD5:aa:bb" }), /^pair\.cinder\.controllers\[0\]\.hostKeySha256: not a fingerprint as `ssh-keygen -lf` prints it/],
  ["what ssh needs, for a local controller", controllers({ username: "u" }), /^pair\.cinder\.controllers\[0\]\.username: is no key/],
  ["two controllers of one name", controllers({}, {}), /^pair\.cinder\.controllers\[1\]\.name: controller "controller-1" is listed twice/],
  ["a controller without services", controllers({ services: undefined }), /^pair\.cinder\.controllers\[0\]\.services: not set/],
  ["an unknown manager of services", controllers({ services: { manager: "upstart", units: [volume] } }), /\[0\]\.services\.manager: .*'systemd' \| 'kolla' \| 'custom'/],
  ["kolla without an engine", controllers({ services: { manager: "kolla", units: [volume] } }), /\[0\]\.services\.engine: .*"docker"\|"podman"/],
  ["an unknown role", units(volume, { role: "share", unit: "manila" }), /\[0\]\.services\.units\[1\]\.role: .*"api"\|"scheduler"\|"volume"\|"backup"/],
  ["no cinder-volume anywhere", units({ role: "api", unit: "cinder-api" }), /^pair\.cinder\.controllers: none has a unit of the role volume/],
  ["custom commands without one of them, and without a log", controllers({ services: { manager: "custom", commands: { ...commands, mask: undefined }, units: [volume] } }), /\[0\]\.services\.commands\.mask: not set/],
  ["custom commands without a log", controllers({ services: { manager: "custom", commands, units: [volume] } }), /\[0\]\.services\.units\[0\]\.logFile: not set; custom commands give no output/],
  ["a port as text", database({ port: "3306" }), /^pair\.cinder\.database\.port: .*expected number/],
  ["a database's password beside its account", database({ password: "hush-3" }), /^pair\.cinder\.database\.password: is no key/],
  ["a schema with a quote", database({ cinderSchema: "cin`der" }), /^pair\.cinder\.database\.cinderSchema: letters, digits/],
  ["a remote database without TLS", database({ tls: false }), /^pair\.cinder\.database\.tls: off for "192\.0\.2\.9", which isn't this host/],
  ["a remote message queue without TLS", queue({ tls: false }), /^pair\.cinder\.messageQueue\.tls: off for "192\.0\.2\.9"/],
  ["a message queue without host and account", queue({ host: undefined, user: "" }), /^pair\.cinder\.messageQueue\.host: not set/, /^pair\.cinder\.messageQueue\.user: is empty/],
  ["a nova-manage on no controller", pair({ novaManage: { controller: "elsewhere" } }), /^pair\.novaManage\.controller: "elsewhere" is none of the controllers controller-1/],
  ["a nova-manage without a program", pair({ novaManage: { controller: "controller-1", command: [] } }), /^pair\.novaManage\.command: is empty/],

  ["a Keystone without http", cloud({ authUrl: "keystone:5000" }), /^pair\.openstack\.authUrl: a URL that begins with http/],
  ["a Keystone of version 2", cloud({ authUrl: "https://keystone:5000/v2.0" }), /^pair\.openstack\.authUrl: that's version 2/],
  ["a password in Keystone's URL", cloud({ authUrl: "https://admin:hush-5@keystone:5000" }), /^pair\.openstack\.authUrl: it holds a user or a password/],
  ["no region", cloud({ region: undefined }), /^pair\.openstack\.region: not set/],
  ["an unknown interface", cloud({ interface: "intern" }), /^pair\.openstack\.interface: .*"public"\|"internal"\|"admin"/],
  ["an unknown credential", cloud({ credential: { kind: "token", id: "x" } }), /^pair\.openstack\.credential\.kind: .*'password' \| 'applicationCredential'/],
  ["a credential of one kind with the parts of the other", cloud({ credential: { kind: "password", id: "x" } }), /\.credential\.username: not set/, /\.credential\.projectName: not set/, /\.credential\.id: is no key/],
  ["a secret beside the credential", cloud({ credential: { ...openstack.credential, secret: "hush-5" } }), /^pair\.openstack\.credential\.secret: is no key/],

  ["no secret at all", { ontapPasswords: undefined, databasePassword: undefined, messageQueuePassword: undefined, openstackSecret: undefined }, /^ontapPasswords: not set/, /^databasePassword: not set/, /^messageQueuePassword: not set/, /^openstackSecret: not set/],
  ["empty secrets", { databasePassword: "", openstackSecret: "" }, /^databasePassword: is empty/, /^openstackSecret: is empty/],
  ["one password for both sites", { ontapPasswords: "hush-1" }, /^ontapPasswords: .*expected record/],
  ["a site without a password, and a password without a site", { ontapPasswords: { iprod: "hush-1", irp: "hush-2" } }, /^ontapPasswords\.idr: not set/, /^ontapPasswords\.irp: the pair has no such site/],
  ["a password of digits, stored as a number", { ontapPasswords: { iprod: 13579, idr: "hush-2" } }, /^ontapPasswords\.iprod: .*expected string/],
  ["a secret in clear", { secretKeys: ["ontapPasswords", "messageQueuePassword", "openstackSecret"] }, /^databasePassword: stands in the stack's file in clear/],
  ["every secret in clear", { secretKeys: [] }, /^ontapPasswords: stands .* in clear/, /^databasePassword: stands/, /^messageQueuePassword: stands/, /^openstackSecret: stands/],
  ["faults of every kind at once", { ...database({ tls: false }), activeSite: "x", promotion: "later", approvedplan: "x", ontapPasswords: { iprod: "hush-1" }, secretKeys: ["ontapPasswords", "databasePassword", "messageQueuePassword"] }, /^pair\.cinder\.database\.tls: off/, /^promotion: /, /^approvedplan: /, /^openstackSecret: stands .* in clear/],

  ["a lab without secrets", testLab({}, { adminPassword: undefined, demoPassword: undefined }), /^adminPassword: not set/, /^demoPassword: not set/],
  ["a lab with nothing in it", { ...testLab({}), lab: {} }, /^lab\.authUrl: not set/, /^lab\.region: not set/, /^lab\.admin: not set/, /^lab\.demo: not set/, /^lab\.image: not set/, /^lab\.flavor: not set/, /^lab\.dataBackendName: not set/, /^lab\.publicKey: not set/],
  ["a lab with more sets of volumes than there are, and none of instances", testLab({ dataVolumeSets: 5, instances: 0 }), /^lab\.dataVolumeSets: Too big/, /^lab\.instances: Too small/],
  ["a lab whose breadcrumbs have a stage that is no file's name", testLab({ breadcrumbs: { command: ["x"], written: [{ set: "prefailover", stage: "../x" }] } }), /^lab\.breadcrumbs\.written\[0\]\.stage: /],
]; // prettier-ignore

describe("bad input: the stack's configuration", () => {
  const raw = ({ secretKeys, ...keys }: Given) =>
    settingsOf(keys, secretKeys === undefined ? undefined : [...secretKeys]);

  refuses({
    area: "stack configuration",
    secrets: ["hush", "13579"],
    cases: cases.map(([name, given, ...faults]): BadInput<Given> => ({
      name,
      given,
      expected: { faults, remedy: /Set the keys with `pulumi config set KEY VALUE` \(--path .* --secret / },
    })),
    arrange: raw,
    tell(settings) {
      try {
        readSettings(settings);
      } catch (error) {
        assert.ok(DrError.is(error, "config"), String(error));
        const lines = error.message.split("\n  - ").slice(1);
        return { faults: lines.map((line) => line.replace(/\n Set the keys.*$/s, "")), text: error.message, error };
      }
      return assert.fail("it is taken");
    },
    // The settings are read before anything is declared, by a function of its argument alone: that stays as it was.
    state: (settings) => JSON.stringify(settings),
  });

  it("takes what the cases are made of", () => {
    readSettings(raw({}));
    readSettings(raw(testLab({})));
    readSettings(raw(controllers(ssh)));
  });
});
