/**
 * Questions that no scenario asks, so that the simulator's answers to them are known too: refusals above all. They come
 * when two instances run at iprod, and leave everything as it was.
 */
import type { LabDescription } from "../lab";
import { readSecret } from "../lab";

interface Answer {
  status: number;
  body: Record<string, unknown>;
}
type Headers = Record<string, string>;

const NOBODY = "00000000-1111-2222-3333-444444444444";

class Asker {
  token = "";
  constructor(private readonly lab: LabDescription) {}

  async ask(
    service: keyof LabDescription["endpoints"],
    method: string,
    below: string,
    body?: unknown,
    headers: Headers = {},
  ): Promise<Answer> {
    const response = await fetch(this.lab.endpoints[service] + below, {
      method,
      headers: {
        ...(this.token === "" ? {} : { "x-auth-token": this.token }),
        ...(body === undefined ? {} : { "content-type": "application/json" }),
        ...headers,
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    const token = response.headers.get("x-subject-token");
    if (token !== null && method === "POST" && response.ok) this.token = token;
    return { status: response.status, body: /^\{/.test(text) ? (JSON.parse(text) as Record<string, unknown>) : {} };
  }

  cinder(method: string, below: string, body?: unknown, version = "3.70"): Promise<Answer> {
    return this.ask("blockStorage", method, below, body, { "openstack-api-version": `volume ${version}` });
  }

  nova(method: string, below: string, body?: unknown, version = "2.90"): Promise<Answer> {
    return this.ask("compute", method, below, body, { "openstack-api-version": `compute ${version}` });
  }

  async logIn(username: string, password: string, project: string): Promise<Answer> {
    const domain = { id: "default" };
    this.token = "";
    return this.ask("identity", "POST", "/auth/tokens", {
      auth: {
        identity: { methods: ["password"], password: { user: { name: username, domain, password } } },
        scope: { project: { name: project, domain } },
      },
    });
  }

  /** Asks until it's so. */
  async until(read: () => Promise<Answer>, holds: (answer: Answer) => boolean): Promise<Answer> {
    for (const deadline = Date.now() + 120_000; ;) {
      const answer = await read();
      if (holds(answer)) return answer;
      if (Date.now() > deadline) throw new Error(`It doesn't come true: ${JSON.stringify(answer)}`);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}

const idOf = (answer: Answer, kind: string): string =>
  String((answer.body[kind] as { id?: string } | undefined)?.id ?? "");
const statusOf = (answer: Answer, kind: string): string =>
  String((answer.body[kind] as { status?: string } | undefined)?.status);

export async function askAround(lab: LabDescription): Promise<void> {
  const me = new Asker(lab);
  await versions(me);
  await me.logIn("admin", "wrong", "admin");
  await me.logIn("admin", readSecret(lab.admin.passwordFile), "nowhere");
  await me.logIn("nobody", "wrong", "admin");
  await me.ask("identity", "POST", "/auth/tokens", {
    auth: {
      identity: {
        methods: ["application_credential"],
        application_credential: { id: "0".repeat(32), secret: "wrong" },
      },
    },
  });
  await me.ask("identity", "POST", "/auth/tokens", { auth: {} });
  await me.logIn("admin", readSecret(lab.admin.passwordFile), "admin");
  await me.ask("identity", "GET", "/projects?name=demo");
  await me.ask("identity", "GET", "/auth/catalog");
  await lists(me);
  const servers = ((await me.nova("GET", "/servers/detail?all_tenants=1")).body["servers"] ?? []) as { id: string }[];
  const server = servers[0]?.id ?? "";
  await serverRefusals(me, server);
  await volumeLife(me, server, lab);
  await hostActions(me, lab);
  await powerLife(me, server);
  await me.logIn("demo", readSecret(lab.demo.passwordFile), "demo");
  for (const below of [
    "/volumes/detail?all_tenants=1",
    "/os-services",
    "/scheduler-stats/get_pools",
    "/volumes?host=x&all_tenants=1",
    "/attachments",
    "/snapshots/detail?all_tenants=1",
  ])
    await me.cinder("GET", below);
  for (const below of [
    "/servers/detail",
    "/servers/detail?all_tenants=1",
    "/os-services",
    `/servers/${server}/os-volume_attachments`,
  ])
    await me.nova("GET", below);
}

async function versions(me: Asker): Promise<void> {
  const roots = ["blockStorage", "compute"] as const;
  for (const service of roots) {
    await me.ask(service, "GET", "/../");
    await me.ask(service, "GET", "");
    await me.ask(service, "GET", "/");
  }
  await me.ask("identity", "GET", "");
  await me.ask("identity", "GET", "/../");
  await me.ask("image", "GET", "/");
  await me.ask("network", "GET", "/");
  await me.ask("placement", "GET", "/");
  await me.cinder("GET", "/volumes");
  await me.nova("GET", "/servers");
  me.token = "wrong";
  await me.cinder("GET", "/volumes");
  await me.nova("GET", "/servers");
  await me.ask("image", "GET", "/v2/images");
  await me.ask("network", "GET", "/v2.0/networks");
  await me.ask("identity", "GET", "/projects");
}

async function lists(me: Asker): Promise<void> {
  for (const below of [
    "/volumes",
    "/volumes?all_tenants=1",
    "/volumes/detail?all_tenants=1",
    "/volumes/detail?all_tenants=1&limit=2&sort=id:asc",
    "/volumes?all_tenants=1&limit=1&with_count=true",
    `/volumes/detail?all_tenants=1&marker=${NOBODY}`,
    "/volumes/detail?all_tenants=1&limit=-1",
    "/volumes/detail?all_tenants=1&sort=nonsense:asc",
    "/volumes/detail?all_tenants=1&status=in-use&host=cinder-dr@iprod",
    "/volumes/detail?all_tenants=1&host=cinder-dr@nowhere",
    `/volumes/${NOBODY}`,
    "/volumes/nonsense",
    "/snapshots/detail?all_tenants=1",
    "/attachments?all_tenants=1",
    "/attachments/detail?all_tenants=1",
    `/attachments/${NOBODY}`,
    "/os-services",
    "/os-services?binary=cinder-volume",
    "/os-services?host=cinder-dr@iprod&binary=cinder-volume",
    "/scheduler-stats/get_pools",
    "/scheduler-stats/get_pools?detail=true",
    "/types",
    `/types/${NOBODY}`,
    "/types?is_public=None",
    "/limits",
    "/nonsense",
    "/capabilities/cinder-dr@iprod",
    "/extensions",
  ])
    await me.cinder("GET", below);
  for (const version of ["3.0", "3.26", "3.44", "3.71", "3.72", "4.0", "nonsense"]) {
    await me.cinder("GET", "/os-services", undefined, version);
    await me.cinder("GET", "/volumes/detail?all_tenants=1&limit=1", undefined, version);
    await me.cinder("GET", "/attachments/detail?all_tenants=1&limit=1", undefined, version);
  }
  for (const below of [
    "/servers",
    "/servers/detail?all_tenants=1",
    "/servers/detail?all_tenants=1&limit=1",
    "/servers/detail?all_tenants=true&sort_key=uuid&sort_dir=asc",
    `/servers/detail?all_tenants=1&marker=${NOBODY}`,
    "/servers/detail?all_tenants=1&name=guest-01",
    "/servers/detail?all_tenants=1&nonsense=1",
    `/servers/${NOBODY}`,
    `/servers/${NOBODY}/os-volume_attachments`,
    `/servers/${NOBODY}/os-instance-actions`,
    "/os-services",
    "/os-services?binary=nova-compute",
    "/os-services?binary=nova-compute&host=compute-1",
    "/flavors",
    "/flavors/detail",
    "/flavors/nonsense",
    "/os-keypairs",
    "/os-keypairs/nonsense",
    "/limits",
    "/os-hypervisors/detail",
    "/nonsense",
  ])
    await me.nova("GET", below);
  for (const version of ["2.1", "2.88", "2.89", "2.100", "2.104", "2.105", "nonsense"]) {
    await me.nova("GET", "/servers/detail?all_tenants=1&limit=1", undefined, version);
    await me.nova("GET", "/os-services?binary=nova-compute", undefined, version);
  }
}

async function serverRefusals(me: Asker, server: string): Promise<void> {
  const below = `/servers/${server}/os-volume_attachments`;
  for (const version of ["2.1", "2.70", "2.79", "2.88", "2.89", "2.100"])
    await me.nova("GET", below, undefined, version);
  const attached = ((await me.nova("GET", below)).body["volumeAttachments"] ?? []) as {
    volumeId: string;
    device: string;
  }[];
  const root = attached.find(({ device }) => device === "/dev/vda")?.volumeId ?? "";
  const data = attached.find(({ device }) => device === "/dev/vdb")?.volumeId ?? "";
  await me.nova("GET", `${below}/${data}`);
  await me.nova("GET", `${below}/${NOBODY}`);
  await me.nova("DELETE", `${below}/${root}`);
  await me.nova("DELETE", `${below}/${NOBODY}`);
  await me.nova("POST", below, { volumeAttachment: { volumeId: data } });
  await me.nova("POST", below, { volumeAttachment: { volumeId: NOBODY } });
  await me.nova("POST", below, { volumeAttachment: {} });
  await me.nova("POST", below, { volumeAttachment: { volumeId: data, nonsense: 1 } });
  await me.nova("POST", `/servers/${server}/action`, { "os-start": null });
  await me.nova("POST", `/servers/${server}/action`, { nonsense: null });
  await me.nova("POST", `/servers/${server}/action`, { lock: { nonsense: 1 } });
  await me.nova("GET", `/servers/${server}/os-instance-actions`);
  const actions = ((await me.nova("GET", `/servers/${server}/os-instance-actions`)).body["instanceActions"] ?? []) as {
    request_id: string;
  }[];
  await me.nova("GET", `/servers/${server}/os-instance-actions/${actions[0]?.request_id}`);
  await me.nova("GET", `/servers/${server}/os-instance-actions/req-${NOBODY}`);
  await me.cinder("DELETE", `/volumes/${data}`);
  await me.cinder("POST", `/volumes/${data}/action`, { "os-roll_detaching": null });
  await me.cinder("POST", `/volumes/${data}/action`, { "os-extend": { new_size: 1 } });
  await me.cinder("POST", `/volumes/${data}/action`, { nonsense: null });
  await me.cinder("POST", "/volumes", { volume: { size: 0 } });
  await me.cinder("POST", "/volumes", { volume: { name: "x", size: 1, volume_type: "nonsense" } });
  await me.cinder("POST", "/volumes", { nonsense: {} });
}

/** A volume from its creation to its end, attached between, with a device asked for and a tag. */
async function volumeLife(me: Asker, server: string, lab: LabDescription): Promise<void> {
  const attachments = `/servers/${server}/os-volume_attachments`;
  const read = (id: string) => me.cinder("GET", `/volumes/${id}`);
  const is = (id: string, status: string) =>
    me.until(
      () => read(id),
      (answer) => statusOf(answer, "volume") === status,
    );
  const volume = idOf(
    await me.cinder("POST", "/volumes", {
      volume: { name: "asked", size: 1, volume_type: "netapp_iscsi", metadata: { a: "b" } },
    }),
    "volume",
  );
  await is(volume, "available");
  await me.nova("POST", attachments, {
    volumeAttachment: { volumeId: volume, device: "/dev/vdz", tag: "data", delete_on_termination: true },
  });
  await is(volume, "in-use");
  await me.nova("GET", attachments);
  await me.nova("POST", attachments, { volumeAttachment: { volumeId: volume } });
  await me.nova("DELETE", `${attachments}/${volume}`);
  await me.nova("DELETE", `${attachments}/${volume}`);
  await is(volume, "available");
  await me.until(
    () => me.nova("GET", attachments),
    (answer) => !JSON.stringify(answer.body).includes(volume),
  );
  await me.cinder("POST", `/volumes/${volume}/action`, { "os-extend": { new_size: 2 } });
  await is(volume, "available");
  const snapshot = idOf(
    await me.cinder("POST", "/snapshots", { snapshot: { volume_id: volume, name: "asked" } }),
    "snapshot",
  );
  await me.until(
    () => me.cinder("GET", `/snapshots/${snapshot}`),
    (answer) => statusOf(answer, "snapshot") === "available",
  );
  await me.cinder("DELETE", `/volumes/${volume}`);
  const restored = idOf(
    await me.cinder("POST", "/volumes", { volume: { name: "restored", size: 2, snapshot_id: snapshot } }),
    "volume",
  );
  await is(restored, "available");
  const clone = idOf(
    await me.cinder("POST", "/volumes", { volume: { name: "clone", size: 2, source_volid: volume } }),
    "volume",
  );
  await is(clone, "available");
  await me.cinder("DELETE", `/snapshots/${snapshot}`);
  await me.until(
    () => me.cinder("GET", `/snapshots/${snapshot}`),
    (answer) => answer.status === 404,
  );
  for (const id of [volume, restored, clone]) {
    await me.cinder("DELETE", `/volumes/${id}`);
    await me.until(
      () => read(id),
      (answer) => answer.status === 404,
    );
  }
  await me.cinder("DELETE", `/volumes/${volume}?force=true`);
  const homeless = idOf(
    await me.cinder("POST", "/volumes", { volume: { name: "huge", size: 1_000_000, volume_type: "netapp_iscsi" } }),
    "volume",
  );
  if (homeless !== "") {
    await is(homeless, "error");
    await me.cinder("DELETE", `/volumes/${homeless}`);
    await me.until(
      () => read(homeless),
      (answer) => answer.status === 404,
    );
  }
  await me.cinder("GET", `/volumes/detail?all_tenants=1&host=${lab.volumeHost}@iprod`);
}

async function hostActions(me: Asker, lab: LabDescription): Promise<void> {
  const host = `${lab.volumeHost}@iprod`;
  const put = (action: string, body: unknown) => me.cinder("PUT", `/os-services/${action}`, body, "3.44");
  const list = () => me.cinder("GET", `/os-services?host=${host}&binary=cinder-volume`, undefined, "3.44");
  const after = async (action: string, body: unknown) => {
    await put(action, body);
    await list();
  };
  await after("disable", { host, binary: "cinder-volume" });
  await after("disable-log-reason", { host, binary: "cinder-volume", disabled_reason: "asked" });
  await after("enable", { host, binary: "cinder-volume" });
  await after("freeze", { host });
  await after("thaw", { host });
  await put("failover", { host, backend_id: "idr" });
  await put("failover_host", { host: `${lab.volumeHost}@nowhere`, backend_id: "idr" });
  await put("failover_host", { host, backend_id: "nowhere" });
  await me.until(list, (answer) => !JSON.stringify(answer.body).includes("failing-over"));
  await put("failover_host", { backend_id: "idr" });
  await put("freeze", { host: "nowhere" });
  await put("nonsense", { host });
}

async function powerLife(me: Asker, server: string): Promise<void> {
  const act = (body: unknown) => me.nova("POST", `/servers/${server}/action`, body);
  const is = (status: string) =>
    me.until(
      () => me.nova("GET", `/servers/${server}`),
      (answer) => {
        const seen = answer.body["server"] as Record<string, unknown> | undefined;
        return seen?.["status"] === status && seen["OS-EXT-STS:task_state"] === null;
      },
    );
  await act({ lock: { locked_reason: "asked" } });
  await me.nova("GET", `/servers/${server}`);
  await act({ "os-stop": null });
  await act({ "os-stop": null });
  await is("SHUTOFF");
  await act({ "os-stop": null });
  await act({ "os-start": null });
  await is("ACTIVE");
  await act({ unlock: null });
  await act({ reboot: { type: "HARD" } });
  await is("ACTIVE");
}
