/**
 * The lab's MariaDB. Making the schemas with the services' own tools takes half a minute, so the first lab keeps its
 * fresh data folder in the cache, and later ones start from a copy: it holds no account that is of use and nothing of a lab.
 */
import { execFileSync } from "node:child_process";
import * as crypto from "node:crypto";
import * as fs from "node:fs";
import * as path from "node:path";
import mysql from "mysql2/promise";
import { requireProgram } from "../programs";
import { type Addresses, ports } from "./addresses";
import { DATABASE_USER, SCHEMAS } from "./config-files";
import { type Layout, secretReader } from "./files";
import { type Progress, runTool, waitUntil } from "./progress";
import { databaseFolder, databaseInitFile } from "./services";
import { type ServiceId, start, stop } from "./service-manager";
import { cacheFolder } from "./slots";

const MARIADB: ServiceId = { host: "control", name: "mariadb" };
export const PRODUCT_USER = "cinder_dr";

/** Tables of Cinder 29 that name a host or a replication state: the ones that a promotion changes. */
const PROMOTED_TABLES = [
  "volumes",
  "services",
  "clusters",
  "groups",
  "consistencygroups",
  "snapshots",
  "image_volume_cache_entries",
  "backups",
];

export interface DatabaseInput {
  layout: Layout;
  addresses: Addresses;
  /** User of the operating system that it runs as. */
  databaseUser: string;
}

/** How a new lab's tables come into being. */
export interface Schemas {
  /** What they depend on, besides the server and this file. */
  fingerprint: () => string | Buffer;
  /** The server runs, with empty schemas. */
  create: () => Promise<void>;
}

/** One statement a line, as --init-file wants it. Run at every start, so each may be repeated. */
function accountStatements(layout: Layout): string {
  const secret = secretReader(layout);
  const account = (user: string, password: string) => [
    `CREATE USER IF NOT EXISTS '${user}'@'%'`,
    `ALTER USER '${user}'@'%' IDENTIFIED BY '${password}'`,
  ];
  const statements = [
    ...SCHEMAS.map((schema) => `CREATE DATABASE IF NOT EXISTS ${schema} CHARACTER SET utf8mb3`),
    ...account(DATABASE_USER, secret("database-services")),
    ...SCHEMAS.map((schema) => `GRANT ALL ON ${schema}.* TO '${DATABASE_USER}'@'%'`),
    ...account(PRODUCT_USER, secret("database-product")),
    `GRANT ALL ON cinder_cheesecake.* TO '${PRODUCT_USER}'@'%'`,
  ];
  return statements.map((statement) => `${statement};\n`).join("");
}

/** Grants on tables, which have to exist. */
function tableGrants(): string[] {
  return [
    `GRANT SELECT, LOCK TABLES, SHOW VIEW, TRIGGER ON cinder.* TO '${PRODUCT_USER}'@'%'`,
    ...PROMOTED_TABLES.map((table) => `GRANT UPDATE ON cinder.\`${table}\` TO '${PRODUCT_USER}'@'%'`),
    `GRANT SELECT ON nova.block_device_mapping TO '${PRODUCT_USER}'@'%'`,
  ];
}

function initFile({ layout, databaseUser }: DatabaseInput, withTables: boolean): void {
  const file = databaseInitFile(layout);
  const grants = withTables ? tableGrants().map((statement) => `${statement};\n`) : [];
  fs.writeFileSync(file, accountStatements(layout) + grants.join(""), { mode: 0o600 });
  execFileSync("chown", [databaseUser, file]);
}

/** A data folder for each set of schemas and each server. */
function templateFolder(schemas: Schemas): string {
  const hash = crypto.createHash("sha256");
  hash.update(schemas.fingerprint());
  hash.update(execFileSync(requireProgram("mariadbd"), ["--version"]));
  hash.update(fs.readFileSync(__filename));
  return path.join(cacheFolder(), `lab-database-${hash.digest("hex").slice(0, 16)}`);
}

/** Made by the services' own tools. */
export function schemasByTools(layout: Layout, python: string): Schemas {
  return {
    fingerprint: () => {
      const script = "import sysconfig; print(sysconfig.get_path('purelib'))";
      const sitePackages = execFileSync(python, ["-c", script], { encoding: "utf8" }).trim();
      const packages = fs.readdirSync(sitePackages).filter((name) => name.endsWith(".dist-info"));
      return packages.sort().join("\n");
    },
    create: () => createSchemas(layout, python),
  };
}

async function createSchemas(layout: Layout, python: string): Promise<void> {
  const tool = (name: string, ...args: string[]) =>
    runTool(layout, "schemas", path.join(path.dirname(python), name), args);
  const conf = (service: string) => ["--config-file", layout.etc("control", service, `${service}.conf`)];
  const nova = (...args: string[]) => tool("nova-manage", ...conf("nova"), ...args);
  // Cell mappings as templates, filled in from each nova.conf: so they hold for every lab.
  const inCell = (schema: string) => `{scheme}://{username}:{password}@{hostname}:{port}/${schema}?{query}`;
  const chains = [
    async () => {
      await nova("api_db", "sync");
      await nova("cell_v2", "map_cell0", "--database_connection", inCell("nova_cell0"));
      await nova(
        "cell_v2",
        "create_cell",
        "--name=cell1",
        `--database_connection=${inCell("nova")}`,
        "--transport-url={scheme}://{username}:{password}@{hostname}:{port}/",
      );
      await nova("db", "sync");
    },
    async () => {
      await tool("cinder-manage", "--config-file", layout.etc("controller-1", "cinder", "cinder.conf"), "db", "sync");
      await tool("keystone-manage", ...conf("keystone"), "db_sync");
      await tool("placement-manage", ...conf("placement"), "db", "sync");
      await tool("glance-manage", "--config-file", layout.etc("control", "glance", "glance-api.conf"), "db_sync");
      await tool("neutron-db-manage", ...conf("neutron"), "upgrade", "heads");
    },
  ];
  await Promise.all(chains.map((chain) => chain()));
}

export function connectDatabase(layout: Layout, addresses: Addresses): Promise<mysql.Connection> {
  return mysql.createConnection({
    host: addresses.control,
    port: ports.database,
    user: DATABASE_USER,
    password: secretReader(layout)("database-services"),
  });
}

async function startMariadb({ layout, addresses }: DatabaseInput): Promise<void> {
  await start(layout.dir, MARIADB);
  const answers = async () => {
    await (await connectDatabase(layout, addresses)).end();
    return true;
  };
  await waitUntil(layout, "the database answers", answers, [MARIADB]);
}

/**
 * Brings the database up with all schemas. A start that was cut off leaves a data folder without the `complete` file
 * beside it, which is thrown away.
 */
export async function databaseUp(input: DatabaseInput, schemas: Schemas, progress: Progress): Promise<void> {
  const { layout, databaseUser } = input;
  const data = databaseFolder(layout);
  const complete = `${data}.complete`;
  fs.mkdirSync(path.dirname(data), { recursive: true });
  execFileSync("chown", [databaseUser, path.dirname(data)]);
  if (!fs.existsSync(complete)) {
    await stop(layout.dir, MARIADB);
    fs.rmSync(data, { recursive: true, force: true });
    const template = templateFolder(schemas);
    if (!fs.existsSync(template)) {
      await runTool(layout, "mariadb-install", requireProgram("mariadb-install-db"), [
        "--no-defaults",
        `--user=${databaseUser}`,
        `--datadir=${data}`,
        "--auth-root-authentication-method=socket",
        "--skip-test-db",
      ]);
      initFile(input, false);
      await startMariadb(input);
      progress("schemas are made (only the first time)");
      await schemas.create();
      await stop(layout.dir, MARIADB);
      const draft = `${template}.${process.pid}`;
      fs.mkdirSync(cacheFolder(), { recursive: true });
      execFileSync("cp", ["-a", "--sparse=always", data, draft]);
      // Another lab may have been faster; its template is as good.
      if (fs.existsSync(template)) fs.rmSync(draft, { recursive: true });
      else fs.renameSync(draft, template);
      progress("schemas ready, kept for the next lab");
    } else {
      execFileSync("cp", ["-a", "--sparse=always", "--reflink=auto", template, data]);
    }
    fs.writeFileSync(complete, "");
  }
  initFile(input, true);
  await startMariadb(input);
  progress("mariadb answers");
}
