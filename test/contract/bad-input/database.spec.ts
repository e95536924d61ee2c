import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { connectCinderDatabase, type DatabaseOptions } from "../../../lib/cinder-database";
import { messageOf } from "../../../lib/errors";
import type { Intent } from "../../../lib/switchover";
import { checkDatabase } from "../../../lib/switchover/preflight";
import { type BadInput, refuses, type Told } from "../../support/bad-input";
import { skipBecause } from "../../support/skip";
import { look } from "../../unit/switchover/support";
import { intentTo, World } from "../../unit/switchover/world";
import { contentOf, createCinderSchema, type PrivateMariadb, startMariadb } from "../cinder-database/private-mariadb";

interface Given {
  /** As the server's administrator, before; `@` stands for the schema. */
  readonly sql?: string;
  /** Afterwards, so that the next case meets what this one did. */
  readonly undo?: string;
  readonly options?: Partial<DatabaseOptions>;
  readonly intent?: Partial<Intent>;
}
interface Scene extends Given {
  readonly schema: string;
}

const password = "hush'word\\%";
const account = "IDENTIFIED BY 'hush''word\\\\%'";
const rows = `INSERT INTO @.services (id, host, \`binary\`, topic, report_count, disabled, replication_status, frozen, deleted) VALUES
  (1, 'cinder@iprod', 'cinder-volume', 'cinder-volume', 5, 0, 'enabled', 0, 0), (2, 'cinder@idr', 'cinder-volume', 'cinder-volume', 5, 0, 'enabled', 0, 0)`;
const another = (host: string): string =>
  `INSERT INTO @.services (id, host, \`binary\`, topic, report_count, disabled, replication_status, frozen, deleted) VALUES (7, '${host}', 'cinder-volume', 'cinder-volume', 1, 0, 'enabled', 0, 0)`;
const granted = (user: string, ...grants: readonly string[]): string =>
  [
    `CREATE OR REPLACE USER ${user}@'127.%' ${account}`,
    ...grants.map((grant) => `GRANT ${grant} TO ${user}@'127.%'`),
  ].join("; ");
const coordination = "CREATE, SELECT, INSERT, UPDATE ON cinder_cheesecake.*"; // prettier-ignore

const wrongAccount =
  /Correct database\.user, the secret databasePassword, or the hosts that the account may come from; one that requires TLS needs database\.tls/;
const wrongSchema = /Correct database\.cinderSchema, or name the server that has Cinder's database/;
const grant = /Grant them as docs\/real-cloud\.md shows|Grant the account what docs\/real-cloud\.md shows/;
const compare = /Compare its tables with docs\/promotion\.md; if nothing new names a host, set acceptSchema to /;
const network = /Check server and network, then repeat/; // prettier-ignore

const cases: readonly (readonly [name: string, given: Given, remedy: RegExp, ...faults: RegExp[]])[] = [
  ["a wrong password", { options: { password: "hush-wrong" } }, wrongAccount, /can't be asked: .*Access denied for user 'dr'@.*1045/],
  ["no password", { options: { password: "" } }, wrongAccount, /Access denied for user 'dr'@/],
  ["an unknown account", { options: { user: "nobody" } }, wrongAccount, /Access denied for user 'nobody'@/],
  ["an account that may come from elsewhere only", { sql: `CREATE OR REPLACE USER far@'192.0.2.%' ${account}`, options: { user: "far" } }, wrongAccount, /Access denied for user 'far'@/],
  ["an account that requires TLS, where it's off", { sql: `CREATE OR REPLACE USER safe@'127.%' ${account} REQUIRE SSL`, options: { user: "safe" } }, wrongAccount, /Access denied for user 'safe'@/],
  ["a locked account", { sql: `CREATE OR REPLACE USER locked@'127.%' ${account} ACCOUNT LOCK`, options: { user: "locked" } }, wrongAccount, /account is locked/],

  ["a schema that isn't there", { options: { cinderSchema: "cinder_nowhere" } }, wrongSchema, /'cinder_nowhere\.alembic_version' doesn't exist/],
  ["another program's schema", { sql: "CREATE OR REPLACE DATABASE cinder_other; CREATE TABLE cinder_other.volumes (id int)", options: { cinderSchema: "cinder_other" } }, wrongSchema, /'cinder_other\.alembic_version' doesn't exist/],
  ["a schema that no migration ran in", { sql: "DELETE FROM @.alembic_version" }, wrongSchema, /its table alembic_version is empty/],
  ["a schema whose tables are gone", { sql: "DROP TABLE @.image_volume_cache_entries" }, wrongSchema, /image_volume_cache_entries' doesn't exist/],
  ["a schema of another release", { sql: "UPDATE @.alembic_version SET version_num = 'abcdef012345'" }, compare, /Cinder's schema is of version abcdef012345, which the promotion isn't tested on$/],
  ["a schema that two branches of migrations ended in", { sql: "INSERT INTO @.alembic_version VALUES ('abcdef012345')" }, compare, /of version (9c74c1c6971f and abcdef012345|abcdef012345 and 9c74c1c6971f), which/],
  ["another release than the accepted one, with a new column of hosts", { sql: "UPDATE @.alembic_version SET version_num = 'abcdef012345'; ALTER TABLE @.snapshots ADD COLUMN host varchar(255)", intent: { acceptSchema: "abcdef012346" } }, compare, /\(acceptSchema names abcdef012346\); unknown columns that may name a host: snapshots\.host/],

  ["no right at all", { sql: granted("poor"), options: { user: "poor" } }, grant, /SELECT command denied to user 'poor'@.*alembic_version/],
  ["the right to read only", { sql: granted("poor", "SELECT ON @.*", coordination), options: { user: "poor" } }, grant, /lacks: UPDATE ON @\.volumes, UPDATE ON @\.groups, UPDATE ON @\.consistencygroups, UPDATE ON @\.image_volume_cache_entries, UPDATE ON @\.services$/],
  ["every right but one", { sql: granted("poor", "SELECT ON @.*", ...["volumes", "consistencygroups", "image_volume_cache_entries", "services"].map((table) => `UPDATE ON @.${table}`), coordination), options: { user: "poor" } }, grant, /lacks: UPDATE ON @\.groups$/],
  ["the right to one column of what is written", { sql: granted("poor", "SELECT ON @.*", "UPDATE (host) ON @.volumes", ...["`groups`", "consistencygroups", "image_volume_cache_entries", "services"].map((table) => `UPDATE ON @.${table}`), coordination), options: { user: "poor" } }, grant, /lacks: UPDATE ON @\.volumes$/],
  ["no right to a schema of our own", { sql: granted("poor", "SELECT, UPDATE ON @.*"), options: { user: "poor" } }, grant, /lacks: CREATE ON cinder_cheesecake\.\*, SELECT ON .*, INSERT ON .*, UPDATE ON cinder_cheesecake\.\*$/],
  ["a replica that takes no writes", { sql: `SET GLOBAL read_only = 1; ${granted("plain", "ALL ON @.*", coordination)}`, undo: "SET GLOBAL read_only = 0", options: { user: "plain" } }, /Connect to the writable node/, /the database server is read-only/],
  ["two services rows of the active site", { sql: another("cinder@iprod") }, /Look which one's report_count advances, and mark the others deleted/, /2 live services rows of cinder-volume on cinder@iprod \(id 1, 7\), needed one/],
  ["two services rows of the standby site", { sql: another("cinder@idr") }, /mark the others deleted/, /cinder-volume on cinder@idr \(id 2, 7\)/],
  ["all of that at once", { sql: `${another("cinder@iprod")}; UPDATE @.alembic_version SET version_num = 'abcdef012345'; ${granted("poor", "SELECT, UPDATE ON @.*")}; SET GLOBAL read_only = 1`, undo: "SET GLOBAL read_only = 0", options: { user: "poor" } }, compare, /2 live services rows/, /server is read-only/, /lacks: CREATE ON cinder_cheesecake/, /version abcdef012345/],

  ["TLS where the server speaks none", { options: { tls: true } }, /Give the server a certificate; database\.tls can be false for loopback and sockets only/, /speaks no TLS/],
  ["a CA file that isn't there", { options: { tls: true, caFile: "/nowhere/ca.pem" } }, /Name a readable PEM file with certificates as caFile/, /Read the CA certificates in \/nowhere\/ca\.pem: ENOENT/],
  ["a CA file with something else", { options: { tls: true, caFile: __filename } }, /Name a readable PEM file with certificates as caFile/, /Read the CA certificates in \S+database\.spec\.ts: /],
  ["nobody at the port", { options: { port: 1 } }, network, /mysql:\/\/127\.71\.0\.8:1\/\S+ did not answer \(ECONNREFUSED\)/],
  ["a host that isn't known", { options: { host: "nowhere.invalid", tls: true } }, network, /mysql:\/\/nowhere\.invalid:13308\/\S+ did not answer \((ENOTFOUND|EAI_AGAIN)\)/],
  ["a socket that isn't there", { options: { host: "/nowhere/my.sock" } }, network, /did not answer \(ENOENT\)/],
]; // prettier-ignore

/** What preflight says of the database, as `observe` would see it. */
async function checked(options: DatabaseOptions, intent: Partial<Intent> = {}): Promise<Told> {
  const client = connectCinderDatabase(options);
  try {
    let thrown: unknown;
    const database = await client.database.describe().then(
      (value) => ({ ok: true, value }) as const,
      (error: unknown) => {
        thrown = error;
        return { ok: false, error: messageOf(error) } as const;
      },
    );
    const serviceRows = await client.database.listServiceRows().catch(() => []);
    const observation = { ...(await look(new World())), database, serviceRows };
    const { failures } = checkDatabase(observation, intentTo("idr", intent));
    return {
      faults: failures.map(({ message }) => message),
      text: failures.map(({ message, remedy }) => `${message}. ${remedy}`).join("\n"),
      error: thrown,
    };
  } finally {
    await client.close();
  }
}

describe("bad input: the database", function () {
  this.timeout(60_000);
  let server: PrivateMariadb;
  let number = 0;
  let undo: string | undefined;
  before(async () => {
    server = await startMariadb("127.71.0.8", 13308, ["--skip-ssl"]);
    await server.sql(
      `CREATE USER dr@'127.%' ${account}; GRANT ALL ON \`cinder%\`.* TO dr@'127.%'; GRANT SELECT ON mysql.* TO dr@'127.%'`,
    );
  });
  after(() => server?.stop());
  afterEach(async () => {
    if (undo !== undefined) await server.sql(undo);
    undo = undefined;
  });
  const ofSchema = (schema: string, text: RegExp): RegExp => new RegExp(text.source.replaceAll("@\\.", `${schema}\\.`));

  refuses<Given, Scene>({
    area: "database",
    secrets: ["hush"],
    // Every case has a schema of its own: its name is in the faults.
    cases: cases.map(
      ([name, given, remedy, ...faults], index): BadInput<Given> => ({
        name,
        given,
        expected: { faults: faults.map((fault) => ofSchema(`cinder${index + 1}`, fault)), remedy },
      }),
    ),
    async arrange(given) {
      const schema = `cinder${++number}`;
      await createCinderSchema(server, schema);
      await server.sql([rows, ...(given.sql === undefined ? [] : [given.sql])].join("; ").replaceAll("@.", `${schema}.`));
      undo = given.undo;
      return { ...given, schema };
    },
    tell: ({ options, intent, schema }) =>
      checked({ host: server.host, port: server.port, user: "dr", password, cinderSchema: schema, tls: false, ...options }, intent),
    state: async ({ schema }) => [
      await contentOf(server, schema),
      await server.sql("SHOW DATABASES"),
      await server.sql("SELECT user, host FROM mysql.user ORDER BY 1, 2"),
    ],
  }); // prettier-ignore

  it("says nothing where nothing is wrong", async () => {
    const schema = `cinder${++number}`;
    await createCinderSchema(server, schema);
    await server.sql(rows.replaceAll("@.", `${schema}.`));
    const { faults } = await checked({ host: server.host, port: server.port, user: "dr", password, cinderSchema: schema, tls: false });
    assert.deepEqual(faults, []);
  }); // prettier-ignore
});

describe("bad input: a Galera node", function () {
  this.timeout(60_000);
  let server: PrivateMariadb | undefined;
  before(async function () {
    const library = ["/usr/lib/galera/libgalera_smm.so", "/usr/lib64/galera/libgalera_smm.so"].find((one) => existsSync(one));
    if (library === undefined) skipBecause(this, "Galera's library isn't installed");
    server = await startMariadb("127.71.0.9", 13309, [
      "--skip-ssl", "--binlog-format=ROW", "--innodb-autoinc-lock-mode=2", "--wsrep-on=ON", `--wsrep-provider=${library}`,
      "--wsrep-cluster-address=gcomm://", "--wsrep-node-address=127.71.0.9", "--wsrep-provider-options=gmcast.listen_addr=tcp://127.71.0.9:14567;pc.wait_prim=no;pc.announce_timeout=PT0.2S",
    ]);
    await createCinderSchema(server, "cinder");
    await server.sql(`CREATE USER dr@'127.%' ${account}; GRANT ALL ON \`cinder%\`.* TO dr@'127.%'; ${rows.replaceAll("@.", "cinder.")}`);
  }); // prettier-ignore
  after(async () => {
    await server?.stop();
  });

  refuses<Given, PrivateMariadb>({
    area: "database",
    secrets: ["hush"],
    cases: [
      {
        name: "that isn't part of a primary component",
        // Nobody is there: alone it has no majority.
        given: { sql: "SET GLOBAL wsrep_cluster_address = 'gcomm://127.71.0.10:14567'" },
        expected: {
          faults: [/isn't ready: WSREP has not yet prepared node for application use \(1047\)/],
          remedy:
            /Wait until this Galera node is synced and in the primary component, or name another one as database\.host/,
        },
      },
    ],
    async arrange(given) {
      assert.ok(server !== undefined);
      await server.sql(given.sql ?? "");
      return server;
    },
    tell: () => checked({ host: "127.71.0.9", port: 13309, user: "dr", password, cinderSchema: "cinder", tls: false }),
    // Nobody can read the rows now: the node says how many changes it took.
    state: (node) => node.sql("SHOW GLOBAL STATUS LIKE 'wsrep_last_committed'"),
  });
});
