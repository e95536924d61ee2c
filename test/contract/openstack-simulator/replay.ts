/**
 * Puts recorded requests to a lab again, in their order, and compares what it answers with what the real services did:
 * status, headers that clients read, shape of the body, and every value that is determined; and the rows that the
 * services then keep.
 */
import { readFileSync } from "node:fs";
import path from "node:path";
import { gunzipSync } from "node:zlib";
import type { LabDescription } from "../../../lab/lab";
import { readSecret } from "../../../lab/lab";
import type { RecordedCall } from "../../../lab/recording/proxy";
import { type Row, TABLES } from "../../../lab/recording/rows";

const FOLDER = path.join(__dirname, "..", "..", "fixtures", "openstack-traffic");

export function recordedCalls(): RecordedCall[] {
  const lines = gunzipSync(readFileSync(path.join(FOLDER, "traffic.jsonl.gz")))
    .toString()
    .trim()
    .split("\n");
  return lines.map((line) => JSON.parse(line) as RecordedCall);
}

/** By stage, at its end: table → rows. */
export function recordedRows(): Record<string, Record<string, Row[]>> {
  const text = gunzipSync(readFileSync(path.join(FOLDER, "rows.json.gz"))).toString();
  return JSON.parse(text) as Record<string, Record<string, Row[]>>;
}

/** Keys whose values can't be the same, with the reason. Their presence and type are compared. */
const explained: readonly [pattern: RegExp, reason: string][] = [
  [/(_at|^created|^updated|^timestamp|_time|launched_at)$/, "a time"],
  [/^(target_(lun|luns|iqn|iqns|portal|portals))$/, "given by the array"],
  [
    /^(audit_ids|adminPass|secret|(OS-EXT-SRV-ATTR:)?reservation_id|hostId|standard_attr_id)$/,
    "random, or a digest of it",
  ],
  [/_capacity_gb$|^total_volumes$|^utilization$|^provisioned|^allocated/, "what the array and its use amount to"],
  [
    /^(host|host_name|hypervisor_hostname|OS-EXT-SRV-ATTR:(host|hypervisor_hostname|instance_name))$/,
    "the scheduler's choice",
  ],
  [/^(os-vol-host-attr:host)$/, "the scheduler's choice of a pool"],
  [/^(count|in_use|report_count|progress)$/, "depends on the moment"],
  [/^(device_path|ip)$/, "a path or address of the machine"],
  [/^(id)$/, "a number that counts up"],
];

/** Statuses on the way: seen or not, as the poller's luck has it. */
const passing = new Set([
  "creating",
  "downloading",
  "deleting",
  "reserved",
  "attaching",
  "detaching",
  "extending",
  "failing-over",
  "BUILD",
  "scheduling",
  "block_device_mapping",
  "spawning",
  "HARD_REBOOT",
  "rebooting_hard",
  "reboot_started_hard",
  "powering-off",
  "powering-on",
  "building",
]);

/** What a poller waits for. */
const moving =
  /^status$|^body\.\w+$|\.(status|replication_status|attach_status|attachments|volumes_attached|os-extended-volumes:volumes_attached|volumeAttachments|OS-EXT-STS:(vm_state|task_state|power_state)|locked|locked_reason|state|disabled_reason|active_backend_id)\b/;

const slow = /replication_status|active_backend_id|services\[/;

/** Differences that are meant; each is in FIDELITY.md. */
const meant: readonly { readonly where: (call: RecordedCall, at: string) => boolean; readonly reason: string }[] = [
  {
    where: (call, at) => call.stage.startsWith("destroy") && at.endsWith(".replication_status"),
    reason: "destroyed while failed over; then it was after the failback",
  },
  {
    where: (call, at) => call.path.includes("get_pools") && at.includes(".capabilities."),
    reason: "NetApp's statistics are reported in part",
  },
  {
    where: (call) => call.path.startsWith("/v3/auth/tokens") && call.status === 400,
    reason: "the words of a schema's validation",
  },
  {
    where: (call, at) =>
      call.stage === "ask around" && /volumeAttachments?\b.*\.(device|tag|delete_on_termination)$/.test(at),
    reason: "the instances had a data volume more then",
  },
  {
    where: (call, at) => call.path.includes("/os-instance-actions") && /\.(action|event)$/.test(at),
    reason: "what was done before isn't the same",
  },
  {
    where: (call) => /^\/v3\/(capabilities|extensions)/.test(call.path),
    reason: "nobody but the questions asks for it",
  },
];

/** The same of rows: "schema.table.column". */
const meantOfRows: readonly { readonly where: RegExp; readonly reason: string }[] = [
  { where: /^nova\.instances\.compute_id$/, reason: "no compute nodes are kept" },
];

/** A pool is the scheduler's choice; the rest of where a volume is isn't. A usage of nothing is as good as no row. */
const comparable = (rows: readonly Row[]): Row[] =>
  rows
    .filter((row) => row["in_use"] !== 0)
    .map((row) =>
      Object.fromEntries(
        Object.entries(row).map(([column, value]) => [
          column,
          column === "provider_location" && typeof value === "string" ? value.replace(/\/pool\d+\//, "/POOL/") : value,
        ]),
      ),
    );

export interface Outcome {
  /** The service that was asked, or the table that was read. */
  readonly of: string;
  readonly kind: "equal" | "explained" | "different";
  readonly details: readonly string[];
}

const idPattern = /\b(req-)?[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b|\b[0-9a-f]{32}\b/g;
const isId = (value: unknown): value is string =>
  typeof value === "string" && value.replace(idPattern, "") === "" && value !== "";

interface Answer {
  status: number;
  headers: Headers;
  body: unknown;
}

export class Replay {
  /** Recorded id or token → the lab's. */
  private readonly names = new Map<string, string>();
  private readonly control: string;

  constructor(private readonly lab: LabDescription) {
    this.control = new URL(lab.endpoints.identity).hostname;
    const { id } = JSON.parse(readFileSync(lab.applicationCredentialFile, "utf8")) as { id: string };
    for (const call of recordedCalls()) {
      const identity = (
        call.requestBody as {
          auth?: { identity?: { application_credential?: { id?: string; secret?: string } } };
        } | null
      )?.auth?.identity;
      const credential = identity?.application_credential;
      if (credential?.id !== undefined && credential.secret === "SECRET") this.names.set(credential.id, id);
    }
  }

  /** `asked again`: the same question comes later, so this one saw things on their way. */
  async play(call: RecordedCall, o: { askedAgain: boolean }): Promise<Outcome> {
    const deadline = Date.now() + 10_000;
    for (;;) {
      const answer = await this.send(call);
      const outcome = this.compare(call, answer, o.askedAgain);
      // What takes its time has to come before the next question makes sense.
      const late = outcome.details.some((detail) => slow.test(detail));
      if (late && Date.now() < deadline) {
        await new Promise((resolve) => setTimeout(resolve, 100));
        continue;
      }
      // Not there yet; or a refusal, which changes nothing, of what will be possible soon.
      const soon = call.method === "GET" || (call.status < 400 && [400, 404, 409].includes(answer.status));
      if (outcome.kind !== "different" || !soon || Date.now() > deadline) return outcome;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }

  private translated(text: string): string {
    let translated = text;
    for (const [recorded, own] of this.names) translated = translated.replaceAll(recorded, own);
    return translated.replaceAll("control.lab", this.control);
  }

  private async send(call: RecordedCall): Promise<Answer> {
    const base = new URL(this.lab.endpoints[call.service]);
    const { "x-auth-token": token, ...others } = call.requestHeaders;
    const own = token === undefined ? undefined : (this.names.get(token) ?? token);
    const body = call.requestBody === null ? undefined : this.withSecrets(call);
    const response = await fetch(`${base.origin}${this.translated(call.path)}`, {
      method: call.method,
      headers: { ...others, ...(own === undefined ? {} : { "x-auth-token": own }) },
      redirect: "manual",
      ...(body === undefined ? {} : { body }),
    });
    const text = await response.text();
    let answer: unknown = text === "" ? null : text;
    if (/^[[{]/.test(text)) answer = JSON.parse(text) as unknown;
    return { status: response.status, headers: response.headers, body: answer };
  }

  private withSecrets(call: RecordedCall): string {
    const text = this.translated(JSON.stringify(call.requestBody));
    if (!text.includes('"SECRET"')) return text;
    const { auth } = call.requestBody as { auth: { identity: { password?: { user: { name: string } } } } };
    const user = auth.identity.password?.user.name;
    const { secret } = JSON.parse(readFileSync(this.lab.applicationCredentialFile, "utf8")) as { secret: string };
    const account = user === "demo" ? this.lab.demo : this.lab.admin;
    return text.replace('"SECRET"', JSON.stringify(user === undefined ? secret : readSecret(account.passwordFile)));
  }

  private compare(call: RecordedCall, answer: Answer, askedAgain: boolean): Outcome {
    const different: string[] = [];
    const reasons = new Set<string>();
    const note = (at: string, what: string): void => {
      const reason = meant.find(({ where }) => where(call, at))?.reason;
      if (reason === undefined && askedAgain && moving.test(at))
        reasons.add(slow.test(at) ? `a poll saw it on its way: ${at}` : "a poll saw it on its way");
      else if (reason === undefined && status === "creating" && /\.(replication_status|bootable)$/.test(at))
        reasons.add("it's made already");
      else if (reason === undefined && status === "extending" && at.endsWith(".size"))
        reasons.add("it has grown already");
      else if (reason === undefined) different.push(`${at}: ${what}`);
      else reasons.add(reason);
    };
    // A thing on its way then may have arrived by now.
    const things = isObject(call.responseBody) ? Object.values(call.responseBody) : [];
    const [status] = things.flatMap((thing) =>
      isObject(thing) && passing.has(String(thing["status"])) ? [String(thing["status"])] : [],
    );
    if (status === "deleting" && answer.status === 404)
      return { of: call.service, kind: "explained", details: ["it's gone already"] };
    if (answer.status !== call.status) {
      const said = typeof answer.body === "string" ? answer.body : JSON.stringify(answer.body);
      note("status", `${answer.status} instead of ${call.status}: ${(said ?? "").slice(0, 200)}`);
    }
    const token = answer.headers.get("x-subject-token");
    const recordedToken = call.responseHeaders["x-subject-token"];
    if (token !== null && recordedToken !== undefined) this.names.set(recordedToken, token);
    for (const name of ["content-type", "openstack-api-version", "www-authenticate", "retry-after", "location"]) {
      const [expected, seen] = [call.responseHeaders[name], answer.headers.get(name) ?? undefined];
      if (expected === undefined && name === "content-type") continue;
      if (expected === undefined ? seen !== undefined : seen !== this.translated(expected)) {
        // A location holds an id that is only now known.
        if (name === "location" && seen !== undefined && expected !== undefined) this.pair(expected, seen);
        else note(`header ${name}`, `${seen ?? "none"} instead of ${expected ?? "none"}`);
      }
    }
    if (call.method === "POST" && answer.status === call.status) this.learnCreated(call.responseBody, answer.body);
    if (answer.status === call.status) this.walk("body", "", call.responseBody, answer.body, note, reasons);
    return outcomeOf(call.service, different, reasons);
  }

  /** Every recorded row is there, no other one is, and each has every value that is determined: one outcome a row. */
  compareRows(table: string, recorded: readonly Row[], own: readonly Row[]): Outcome[] {
    const columns = TABLES[table] ?? [];
    const keyOf = (row: Row): string => columns.map((column) => this.translated(String(row[column]))).join(" ");
    const others = new Map(comparable(own).map((row) => [keyOf(row), row]));
    const outcomes = comparable(recorded).map((row) => {
      const different: string[] = [];
      const reasons = new Set<string>();
      const key = keyOf(row);
      const other = others.get(key);
      others.delete(key);
      if (other === undefined) return outcomeOf(table, [`${table} ${key}: no such row`], reasons);
      const note = (at: string, what: string): void => {
        const reason = meantOfRows.find(({ where }) => where.test(at))?.reason;
        if (reason === undefined) different.push(`${at}: ${what}`);
        else reasons.add(reason);
      };
      this.walk(table, "", row, other, note, reasons);
      return outcomeOf(table, different, reasons);
    });
    const beyond = [...others.keys()].map((key) =>
      outcomeOf(table, [`${table} ${key}: not in the recording`], new Set()),
    );
    return [...outcomes, ...beyond];
  }

  /** What was created has a new id, whatever that of the recording was taken for before. */
  private learnCreated(recorded: unknown, own: unknown): void {
    if (!isObject(recorded) || !isObject(own)) return;
    for (const [kind, thing] of Object.entries(recorded)) {
      const other = own[kind];
      if (isObject(thing) && isObject(other) && isId(thing["id"]) && isId(other["id"]))
        this.names.set(thing["id"], other["id"]);
    }
  }

  /** Ids at the same place are the same thing. */
  private pair(recorded: string, own: string): void {
    const [left, right] = [recorded.match(idPattern) ?? [], own.match(idPattern) ?? []];
    left.forEach((id, index) => {
      const other = right[index];
      if (other !== undefined && !this.names.has(id)) this.names.set(id, other);
    });
  }

  private walk(
    at: string,
    key: string,
    recorded: unknown,
    own: unknown,
    note: (at: string, what: string) => void,
    reasons: Set<string>,
  ): void {
    if (Array.isArray(recorded) && Array.isArray(own)) return this.walkList(at, key, recorded, own, note, reasons);
    if (isObject(recorded) && isObject(own)) {
      for (const name of Object.keys(recorded)) {
        if (name === "progress") continue; // there or not with the status
        if (!(name in own)) note(`${at}.${name}`, "missing");
        else this.walk(`${at}.${name}`, name, recorded[name], own[name], note, reasons);
      }
      for (const name of Object.keys(own))
        if (!(name in recorded) && name !== "progress") note(`${at}.${name}`, "not there in the recording");
      return;
    }
    const [left, right] = [typeOf(recorded), typeOf(own)];
    const reason = explained.find(([pattern]) => pattern.test(key))?.[1];
    if (reason !== undefined && !(key === "id" && isId(recorded))) {
      if (left !== right && left !== "null" && right !== "null" && own !== "" && recorded !== "")
        note(at, `${right} instead of ${left}`);
      return;
    }
    if (passing.has(String(recorded)) || (/task_state$|^service_uuid$/.test(key) && recorded === null)) return;
    if (left !== right) return note(at, `${JSON.stringify(own)} instead of ${JSON.stringify(recorded)}`);
    if (isId(recorded) && isId(own)) {
      const known = this.names.get(recorded);
      if (known === undefined) this.names.set(recorded, own);
      return; // another one only where a list is in another order
    }
    if (typeof recorded === "string" && typeof own === "string") {
      if (this.translated(recorded) === own) return;
      const shape = (text: string): string => text.replace(idPattern, "ID").replaceAll(this.control, "control.lab");
      // A marker is another thing where the page is another one.
      if (shape(recorded) === shape(own)) return key === "href" ? undefined : this.pair(recorded, own);
    }
    if (recorded !== own) note(at, `${JSON.stringify(own)} instead of ${JSON.stringify(recorded)}`);
  }

  /** Lists of things are compared thing by thing, by name where they have one: how many there are depends on the state. */
  private walkList(
    at: string,
    key: string,
    recorded: unknown[],
    own: unknown[],
    note: (at: string, what: string) => void,
    reasons: Set<string>,
  ): void {
    if (recorded.length > 0 && own.length === 0) return note(at, "empty");
    recorded.forEach((thing, index) => {
      const named = this.identity(thing, true);
      const found = named === undefined ? undefined : own.find((other) => this.identity(other, false) === named);
      if (found === undefined && named !== undefined) {
        // Not there in this state: its shape is compared with what is nearest to it.
        const near = own.find((other) => kindOf(other) === kindOf(thing)) ?? own[0];
        reasons.add("lists hold what there is");
        if (isObject(thing) && isObject(near))
          this.pair(JSON.stringify(thing["request_id"] ?? ""), JSON.stringify(near["request_id"] ?? ""));
        return kindOf(near) === kindOf(thing) ? this.walkShape(`${at}[${named}]`, thing, near, note) : undefined;
      }
      const same = found ?? own[Math.min(index, own.length - 1)];
      if (isObject(thing) && isObject(same) && isId(thing["id"]) && isId(same["id"]) && !this.names.has(thing["id"]))
        this.names.set(thing["id"], same["id"]);
      this.walk(`${at}[${named ?? index}]`, key, thing, same, note, reasons);
    });
  }

  /** What a thing in a list is recognised by. */
  private identity(thing: unknown, recorded: boolean): string | undefined {
    if (!isObject(thing)) return undefined;
    const text = (key: string): string | undefined => {
      const value = thing[key];
      return typeof value === "string" ? (recorded ? this.translated(value) : value) : undefined;
    };
    if (thing["binary"] !== undefined) return `${text("binary")} ${text("host")}`;
    return (
      text("name") ??
      text("action") ??
      text("device") ??
      text("volume_id") ??
      text("type") ??
      text("interface") ??
      text("rel")
    );
  }

  /** Keys and types alone. */
  private walkShape(at: string, recorded: unknown, own: unknown, note: (at: string, what: string) => void): void {
    if (isObject(recorded) && isObject(own)) {
      for (const name of Object.keys(recorded))
        if (name in own) this.walkShape(`${at}.${name}`, recorded[name], own[name], note);
        else note(`${at}.${name}`, "missing");
      return;
    }
    const [left, right] = [typeOf(recorded), typeOf(own)];
    if (left !== right && left !== "null" && right !== "null") note(at, `${right} instead of ${left}`);
  }
}

function outcomeOf(of: string, different: readonly string[], reasons: ReadonlySet<string>): Outcome {
  if (different.length > 0) return { of, kind: "different", details: different };
  return { of, kind: reasons.size > 0 ? "explained" : "equal", details: [...reasons] };
}

/** Things of another kind in one list have other keys. */
function kindOf(thing: unknown): unknown {
  if (!isObject(thing)) return undefined;
  const info = thing["connection_info"];
  return thing["binary"] ?? thing["volume_type"] ?? (isObject(info) ? info["driver_volume_type"] : undefined);
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);
const typeOf = (value: unknown): string => (value === null ? "null" : Array.isArray(value) ? "list" : typeof value);
