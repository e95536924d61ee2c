/** What a switchover has to leave, whoever made it. */
import * as fs from "node:fs";
import type { RowDataPacket } from "mysql2";
import mysql from "mysql2/promise";
import { type LabDescription, readSecret } from "../../lab/lab";
import { OntapClient } from "../../lib/ontap/client";

export type Site = "iprod" | "idr";
export const otherSite = (site: Site): Site => (site === "iprod" ? "idr" : "iprod");

/** sha256 of the filesystem and of what is behind it, by "instance device". */
export type Digests = ReadonlyMap<string, string>;

interface Server {
  readonly id: string;
  readonly name: string;
  readonly vm_state: string;
  readonly task_state: string | null;
  readonly locked: number | null;
}
interface Attachment {
  readonly server: string;
  readonly device: string;
  readonly volume: string;
  readonly connection: string;
}
interface Volume {
  readonly id: string;
  readonly host: string;
  readonly status: string;
  readonly replication_status: string | null;
}
interface Service {
  readonly host: string;
  readonly disabled: number;
  readonly replication_status: string | null;
  readonly active_backend_id: string | null;
}

/** What both systems and both arrays say. */
export interface Seen {
  readonly servers: readonly Server[];
  /** Of volumes that are on LUNs. */
  readonly attachments: readonly Attachment[];
  /** On either backend of the pair. */
  readonly volumes: readonly Volume[];
  readonly services: readonly Service[];
  /** Paths of LUNs that are mapped, by site. */
  readonly maps: Readonly<Record<Site, readonly string[]>>;
  /** "source → destination: state", by the site of the destination. */
  readonly mirrors: Readonly<Record<Site, readonly string[]>>;
  /** Of every controller. */
  readonly enabledBackends: readonly string[];
}

export async function inspect(lab: LabDescription): Promise<Seen> {
  const { host, port, services } = lab.database;
  const database = await mysql.createConnection({
    host,
    port,
    user: services.user,
    password: readSecret(services.passwordFile),
  });
  const rows = async <T>(sql: string): Promise<T[]> => (await database.query<(T & RowDataPacket)[]>(sql))[0];
  try {
    const ofPair = "(host LIKE '%@iprod%' OR host LIKE '%@idr%')";
    return {
      servers: await rows<Server>(
        "SELECT uuid AS id, display_name AS name, vm_state, task_state, locked FROM nova.instances WHERE deleted = 0 ORDER BY display_name",
      ),
      attachments: await rows<Attachment>(
        `SELECT instance_uuid AS server, device_name AS device, volume_id AS volume, connection_info AS connection
           FROM nova.block_device_mapping WHERE deleted = 0 AND NOT boot_index <=> 0 ORDER BY instance_uuid, device_name`,
      ),
      volumes: await rows<Volume>(
        `SELECT id, host, status, replication_status FROM cinder.volumes WHERE deleted = 0 AND ${ofPair} ORDER BY id`,
      ),
      services: await rows<Service>(
        `SELECT host, disabled, replication_status, active_backend_id FROM cinder.services
          WHERE deleted = 0 AND \`binary\` = 'cinder-volume' AND ${ofPair} ORDER BY host`,
      ),
      ...(await inspectArrays(lab)),
      enabledBackends: lab.controllers.map(
        ({ cinderConf }) => /^enabled_backends *= *(.*)$/m.exec(fs.readFileSync(cinderConf, "utf8"))?.[1] ?? "",
      ),
    };
  } finally {
    await database.end();
  }
}

async function inspectArrays(lab: LabDescription): Promise<Pick<Seen, "maps" | "mirrors">> {
  const flexVols = lab.arrays.iprod.flexVols.map(({ name }) => name);
  const at = async (site: Site) => {
    const { address, port, username, passwordFile, svm } = lab.arrays[site];
    const access = { address, port, username, password: readSecret(passwordFile), caFile: lab.caFile };
    const client = new OntapClient({ site, svm, ...access });
    try {
      const [maps, mirrors] = await Promise.all([client.listLunMaps(flexVols), client.listMirrors(flexVols)]);
      return {
        maps: maps.map(({ lunPath }) => lunPath).sort(),
        mirrors: mirrors
          .map(
            ({ source, destination, state, healthy }) =>
              `${source.svm}:${source.flexVol} → ${destination.svm}:${destination.flexVol}: ${state}${healthy ? "" : ", unhealthy"}`,
          )
          .sort(),
      };
    } finally {
      await client.close();
    }
  };
  const [iprod, idr] = await Promise.all([at("iprod"), at("idr")]);
  return { maps: { iprod: iprod.maps, idr: idr.maps }, mirrors: { iprod: iprod.mirrors, idr: idr.mirrors } };
}

/** In which points `after` isn't what has to come of `before` when production moves to the site; one sentence each. */
export function problemsAt(lab: LabDescription, to: Site, before: Seen, after: Seen): string[] {
  const from = otherSite(to);
  const backend = (site: Site): string => `${lab.volumeHost}@${site}`;
  const problems: string[] = [];
  const expect = (what: string, actual: unknown, expected: unknown): void => {
    const [seen, needed] = [JSON.stringify(actual ?? null), JSON.stringify(expected)];
    if (seen !== needed) problems.push(`${what}: ${seen.slice(0, 400)} instead of ${needed.slice(0, 400)}`);
  };
  expect(
    "instances",
    after.servers,
    before.servers.map((server) => ({ ...server, vm_state: "active", task_state: null, locked: 0 })),
  );
  const placed = ({ attachments }: Seen): string[] =>
    attachments.map(({ server, device, volume }) => `${server} ${device} ${volume}`);
  expect("attachments", placed(after), placed(before));
  for (const { server, device, connection } of after.attachments) {
    const { data } = JSON.parse(connection) as { data: { target_portal?: string } };
    const portal = data.target_portal?.split(":")[0] ?? "";
    if (!lab.arrays[to].iscsiAddresses.includes(portal))
      problems.push(`${device} of ${server} leads to the portal ${portal}, which isn't at ${to}`);
  }
  expect(
    "volumes",
    after.volumes,
    before.volumes.map((volume) => ({
      ...volume,
      host: volume.host.replace(backend(from), backend(to)),
      replication_status: "enabled",
      status: "in-use",
    })),
  );
  expect(
    `the service at ${to}`,
    after.services.find(({ host }) => host === backend(to)),
    { host: backend(to), disabled: 0, replication_status: "enabled", active_backend_id: null },
  );
  // The row that keeps a driver that is started there again from overwriting the new site.
  expect(
    `the service at ${from}`,
    after.services.find(({ host }) => host === backend(from)),
    { host: backend(from), disabled: 1, replication_status: "failed-over", active_backend_id: to },
  );
  expect(`LUN maps at ${from}`, after.maps[from], []);
  expect(`mapped LUNs at ${to}`, after.maps[to].length, after.attachments.length);
  const svm = (site: Site): string => lab.arrays[site].svm;
  expect(
    "mirrors",
    after.mirrors,
    Object.fromEntries(
      (["iprod", "idr"] as const).map((site) => [
        site,
        site === to
          ? []
          : lab.arrays[site].flexVols.map(({ name }) => `${svm(to)}:${name} → ${svm(from)}:${name}: snapmirrored`),
      ]),
    ),
  );
  for (const [at, enabled] of after.enabledBackends.entries()) {
    const names = enabled.split(",").map((name) => name.trim());
    if (!names.includes(to) || names.includes(from))
      problems.push(`enabled_backends of ${lab.controllers[at]?.name ?? at} is "${enabled}"`);
  }
  return problems;
}
