/** /cluster, nodes, jobs, schedules, licences, counters, EMS. */
import { randomUUID } from "node:crypto";
import { created, find, ok, readRoutes, type Resource, type Route } from "../api";
import { conflict, invalidValue, missingValue, notFound, OntapError, refused } from "../errors";
import { expireJobs } from "../jobs";
import type { Cluster, Job, Schedule } from "../state";
import {
  at,
  FieldSet,
  flagAt,
  isObject,
  isoTime,
  listAt,
  requireText,
  selectFields,
  textAt,
  type JsonObject,
} from "../wire";

const versionOf = (cluster: Cluster): JsonObject => {
  const [generation, major, minor] = cluster.version;
  return {
    full: `NetApp Release ${generation}.${major}.${minor}: Tue Jan 14 08:11:52 UTC 2025`,
    generation,
    major,
    minor,
  };
};

const clusterShape = {
  keys: [],
  defaults: [],
  fields: new FieldSet(
    "name,uuid,contact,location,version.{full,generation,major,minor},management_interfaces.{name,uuid,ip.address},timezone.name,dns_domains,name_servers,ntp_servers,statistics.*,metric.*,certificate.*,san_optimized,disaggregated",
  ),
};

const nodes: Resource<Cluster["nodes"][number]> = {
  path: "/cluster/nodes",
  keys: ["uuid"],
  defaults: ["name"],
  fields: new FieldSet(
    "uuid,name,model,serial_number,state,version.{full,generation,major,minor},is_all_flash_optimized,is_all_flash_select_optimized,is_capacity_optimized,is_performance_optimized,ha.{enabled,partners.{name,uuid}},uptime,location,membership,management_interfaces.*,cluster_interfaces.*",
  ),
  list: ({ cluster }) => cluster.nodes,
  render: (node, { cluster }) => ({
    uuid: node.uuid,
    name: node.name,
    model: "AFF-A400",
    serial_number: node.serial,
    state: "up",
    membership: "member",
    version: versionOf(cluster),
    is_all_flash_optimized: true,
    is_all_flash_select_optimized: false,
    is_capacity_optimized: false,
    is_performance_optimized: false,
    ha: { enabled: true, partners: cluster.nodes.filter((n) => n !== node).map(({ name, uuid }) => ({ name, uuid })) },
  }),
};

const jobs: Resource<Job> = {
  path: "/cluster/jobs",
  keys: ["uuid"],
  defaults: [],
  fields: new FieldSet(
    "uuid,description,state,message,code,error.{message,code,target,arguments.*},start_time,end_time,svm.{name,uuid},node.name",
  ),
  list: ({ world, cluster }) => {
    expireJobs(world, cluster);
    return [...cluster.jobs.values()];
  },
  render: (job, { cluster }) => ({
    uuid: job.uuid,
    description: job.description,
    state: job.state,
    message: job.message,
    code: job.code,
    ...(job.error ? { error: job.error } : {}),
    start_time: isoTime(job.startMs),
    ...(job.endMs === undefined ? {} : { end_time: isoTime(job.endMs) }),
    svm: job.svmUuid === undefined ? undefined : { name: cluster.svms.get(job.svmUuid)?.name, uuid: job.svmUuid },
    node: { name: cluster.nodes[0]?.name },
  }),
};

const schedules: Resource<Schedule> = {
  path: "/cluster/schedules",
  keys: ["uuid"],
  defaults: ["name"],
  fields: new FieldSet(
    "uuid,name,type,scope,cron.{minutes,hours,days,months,weekdays},interval,cluster.{name,uuid},svm.{name,uuid}",
  ),
  list: ({ cluster }) => [...cluster.schedules.values()],
  render: (s, { cluster }) => ({
    uuid: s.uuid,
    name: s.name,
    type: s.cron ? "cron" : "interval",
    scope: "cluster",
    cron: s.cron,
    interval: s.interval,
    cluster: { name: cluster.name, uuid: cluster.uuid },
  }),
};
const scheduleBody = new FieldSet(
  "name,cron.{minutes,hours,days,months,weekdays},interval,cluster.{name,uuid},svm.{name,uuid}",
);

function cronOf(body: JsonObject): Schedule["cron"] {
  if (!isObject(at(body, "cron"))) return undefined;
  const numbers = (name: string, from: number, to: number): number[] | undefined =>
    listAt(body, `cron.${name}`)?.map((v) => {
      const n = Number(v);
      if (!Number.isInteger(n) || n < from || n > to) throw invalidValue(`cron.${name}`, v);
      return n;
    });
  const minutes = numbers("minutes", 0, 59);
  if (!minutes || minutes.length === 0) throw missingValue("cron.minutes");
  const [hours, days, months, weekdays] = [
    numbers("hours", 0, 23),
    numbers("days", 1, 31),
    numbers("months", 1, 12),
    numbers("weekdays", 0, 6),
  ];
  return {
    minutes,
    ...(hours ? { hours } : {}),
    ...(days ? { days } : {}),
    ...(months ? { months } : {}),
    ...(weekdays ? { weekdays } : {}),
  };
}

const licences: Resource<{ name: string }> = {
  path: "/cluster/licensing/licenses",
  keys: ["name"],
  defaults: [],
  fields: new FieldSet("name,scope,state,licenses.{owner,serial_number,active,compliance.state}"),
  list: () => ["base", "iscsi", "flexclone", "snapmirror", "snaprestore"].map((name) => ({ name })),
  render: ({ name }, { cluster }) => ({
    name,
    scope: "node",
    state: "compliant",
    licenses: cluster.nodes.map((n) => ({
      owner: n.name,
      serial_number: n.serial,
      active: true,
      compliance: { state: "compliant" },
    })),
  }),
};

/** Counter tables that NetApp's Cinder driver reads for its performance figures. Real ones have many more counters. */
const counterTables: Record<string, { counters: Record<string, string>; perNode: (node: string) => string[] }> = {
  "system:constituent": {
    counters: { average_processor_busy_percent: "elapsed_time", cpu_busy: "elapsed_time", elapsed_time: "" },
    perNode: (node) => [`${node}:constituent`],
  },
  wafl: { counters: { total_cp_msecs: "", cp_phase_times: "total_cp_msecs" }, perNode: (node) => [`${node}:wafl`] },
  processor: {
    counters: { domain_busy_percent: "elapsed_time", elapsed_time: "" },
    perNode: (node) => ["0", "1"].map((n) => `${node}:${n}`),
  },
};
const labelled: Record<string, string[]> = {
  cp_phase_times: [
    "cp_setup",
    "cp_pre_p0",
    "cp_p0_snap_del",
    "cp_p1_clean",
    "cp_p1_quota",
    "cp_ipu_disk_add",
    "cp_p2v_inofile",
    "cp_p2_flush",
    "cp_p5_finish",
  ],
  domain_busy_percent: [
    "idle",
    "kahuna",
    "storage",
    "exempt",
    "none",
    "raid",
    "raid_exempt",
    "xor_exempt",
    "target",
    "wafl_exempt",
    "wafl_mpcleaner",
    "sm_exempt",
    "protocol",
    "nwk_exempt",
    "network",
    "hostOS",
  ],
};
const tableOf = (name: string): (typeof counterTables)[string] => {
  const table = counterTables[name];
  if (!table) throw new OntapError(404, "8585320", `Counter table "${name}" was not found.`, "name", true);
  return table;
};

const counterRows: Resource<{ table: string; id: string }> = {
  path: "/cluster/counter/tables/{table}/rows",
  keys: ["id"],
  defaults: ["counter_table.name"],
  fields: new FieldSet("id,counter_table.name,counters.{name,value,values,labels,counters},properties.{name,value}"),
  list: ({ cluster, params }) => {
    const table = params["table"] ?? "";
    return cluster.nodes.flatMap((node) =>
      tableOf(table)
        .perNode(node.name)
        .map((id) => ({ table, id })),
    );
  },
  render: ({ table, id }, { query }) => {
    const wanted = query.all.get("counters.name")?.split("|");
    // Counters only ever grow, and are never 0: the driver takes 0 for "no value". A node that is 5 % busy.
    const elapsed = 1_000_000 + Math.floor(process.uptime() * 1e6);
    const busy = Math.floor(elapsed / 20);
    const node = id.split(":")[0] ?? "";
    return {
      id,
      counter_table: { name: table },
      properties: [{ name: "node.name", value: node }],
      counters: [...Object.keys(tableOf(table).counters)]
        .filter((name) => !wanted || wanted.includes(name))
        .map((name) => {
          const labels = labelled[name];
          if (labels) return { name, labels, values: labels.map(() => Math.floor(busy / labels.length)) };
          return { name, value: name === "elapsed_time" || name === "total_cp_msecs" ? elapsed : busy };
        }),
    };
  },
};

export const clusterRoutes: Route[] = [
  {
    method: "GET",
    path: "/cluster",
    handle: ({ cluster, query, hal }) => ({
      status: 200,
      body: {
        ...selectFields(
          {
            name: cluster.name,
            uuid: cluster.uuid,
            version: versionOf(cluster),
            management_interfaces: [...cluster.interfaces.values()]
              .filter((i) => i.servicePolicy === "default-management")
              .map((i) => ({ name: i.name, uuid: i.uuid, ip: { address: i.address } })),
            timezone: { name: "Etc/UTC" },
            san_optimized: false,
            disaggregated: false,
          },
          query,
          clusterShape,
          true,
        ),
        ...(hal ? { _links: { self: { href: "/api/cluster" } } } : {}),
      },
    }),
  },
  ...readRoutes(nodes),
  ...readRoutes(jobs),
  {
    method: "PATCH",
    path: "/cluster/jobs/{uuid}",
    body: new FieldSet("action,state"),
    parameters: ["action"],
    handle: (request) => {
      const job = find(jobs, request, [request.params["uuid"] ?? ""]);
      throw refused(458783, `Job ${job.uuid} cannot be cancelled, paused or resumed.`);
    },
  },
  ...readRoutes(schedules),
  {
    method: "POST",
    path: schedules.path,
    body: scheduleBody,
    handle: (request) => {
      const { cluster, body } = request;
      const name = requireText(body, "name");
      if ([...cluster.schedules.values()].some((s) => s.name === name)) throw conflict(1, `duplicate entry "${name}"`);
      const cron = cronOf(body);
      const interval = textAt(body, "interval");
      if (cron === undefined && interval === undefined) throw missingValue("cron.minutes");
      const schedule = { uuid: randomUUID(), name, cron, interval, builtIn: false };
      cluster.schedules.set(schedule.uuid, schedule);
      return created(schedules, request, [schedule]);
    },
  },
  {
    method: "PATCH",
    path: `${schedules.path}/{uuid}`,
    body: scheduleBody,
    handle: (request) => {
      const schedule = find(schedules, request, [request.params["uuid"] ?? ""]);
      if (schedule.builtIn) throw refused(459762, `Schedule "${schedule.name}" is a system-level schedule.`);
      schedule.cron = cronOf(request.body) ?? schedule.cron;
      schedule.interval = textAt(request.body, "interval") ?? schedule.interval;
      return ok();
    },
  },
  {
    method: "DELETE",
    path: `${schedules.path}/{uuid}`,
    handle: (request) => {
      const { cluster } = request;
      const schedule = find(schedules, request, [request.params["uuid"] ?? ""]);
      if (schedule.builtIn) throw refused(459762, `Schedule "${schedule.name}" is a system-level schedule.`);
      const used =
        [...cluster.relationships.values()].some((r) => r.schedule === schedule.name) ||
        [...cluster.policies.values()].some((p) => p.schedule === schedule.name);
      if (used) throw refused(459758, `Schedule "${schedule.name}" is in use.`);
      cluster.schedules.delete(schedule.uuid);
      return ok();
    },
  },
  ...readRoutes(licences),
  {
    method: "GET",
    path: "/cluster/counter/tables/{table}",
    filters: new FieldSet("counter_schemas.{name,description,type,unit,denominator.name}"),
    handle: ({ params, query }) => {
      const table = tableOf(params["table"] ?? "");
      const wanted = query.filters.get("counter_schemas.name");
      const schemas = Object.entries(table.counters)
        .filter(([name]) => wanted === undefined || wanted.split("|").includes(name))
        .map(([name, denominator]) => ({
          name,
          type: denominator ? "percent" : "delta",
          unit: denominator ? "percent" : "microsec",
          ...(denominator ? { denominator: { name: denominator } } : {}),
        }));
      if (schemas.length === 0) throw notFound("counter_schemas.name");
      return ok({ name: params["table"] ?? "", counter_schemas: schemas });
    },
  },
  ...readRoutes(counterRows),
  {
    method: "POST",
    path: "/support/ems/application-logs",
    body: new FieldSet(
      "computer_name,event_source,app_version,category,severity,autosupport_required,event_id,event_description",
    ),
    handle: ({ body }) => {
      for (const name of [
        "computer_name",
        "event_source",
        "app_version",
        "event_id",
        "event_description",
        "category",
        "severity",
      ])
        requireText(body, name);
      flagAt(body, "autosupport_required");
      return { status: 201, body: {} };
    },
  },
];
