/** Neutron's API v2.0 (29.0): security groups and their rules, kept in a file; no host acts on them, as in the real lab. */
import { randomUUID } from "node:crypto";
import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import path from "node:path";
import type { SimulatorConfig } from "./config";
import { asObject, onlyKeys, Refusal } from "./http";
import type { Answer, ApiRequest, Json, Route, ServiceOptions } from "./http";
import { isAdmin } from "./tokens";

export const neutronService = (config: SimulatorConfig): Pick<ServiceOptions, "name" | "refusal" | "unauthorised"> => ({
  name: "Neutron",
  refusal: ({ message, fault }) => ({
    body: { NeutronError: { type: fault ?? "HTTPBadRequest", message, detail: "" } },
  }),
  unauthorised: () => ({
    status: 401,
    body: {
      error: { code: 401, title: "Unauthorized", message: "The request you have made requires authentication." },
    },
    headers: { "www-authenticate": `Keystone uri="http://${config.address}:${config.ports.keystone}/v3"` },
  }),
});

interface Group extends Json {
  id: string;
  project_id: string;
}
interface Rule extends Json {
  id: string;
  security_group_id: string;
}

const now = (): string => new Date().toISOString().replace(/\.\d+Z/, "Z");

export class Neutron {
  private readonly file: string;
  private readonly groups: Group[] = [];
  private readonly rules: Rule[] = [];
  private attributes = 10;

  constructor(private readonly config: SimulatorConfig) {
    this.file = path.join(config.stateDir, "neutron.json");
    if (!existsSync(this.file)) return;
    const kept = JSON.parse(readFileSync(this.file, "utf8")) as { groups: Group[]; rules: Rule[] };
    this.groups.push(...kept.groups);
    this.rules.push(...kept.rules);
  }

  routes(): Route[] {
    return [
      { method: "GET", path: "/", open: true, run: () => this.versions() },
      // Servers have no networks here (nova/api.ts), and nobody makes any: so it is in the real lab, too.
      { method: "GET", path: "/v2.0/networks", run: () => ({ status: 200, body: { networks: [] } }) },
      { method: "GET", path: "/v2.0/ports", query: ["device_id"], run: () => ({ status: 200, body: { ports: [] } }) },
      { method: "GET", path: "/v2.0/security-groups", query: ["name", "tenant_id"], run: (q) => this.listGroups(q) },
      { method: "POST", path: "/v2.0/security-groups", run: (q) => this.createGroup(q) },
      {
        method: "GET",
        path: "/v2.0/security-groups/:id",
        run: (q) => ({ status: 200, body: { security_group: this.groupView(this.group(q)) } }),
      },
      { method: "PUT", path: "/v2.0/security-groups/:id", run: (q) => this.changeGroup(q) },
      { method: "DELETE", path: "/v2.0/security-groups/:id", run: (q) => this.deleteGroup(q) },
      { method: "POST", path: "/v2.0/security-group-rules", run: (q) => this.createRule(q) },
      {
        method: "GET",
        path: "/v2.0/security-group-rules/:id",
        run: (q) => ({ status: 200, body: { security_group_rule: this.rule(q) } }),
      },
      { method: "DELETE", path: "/v2.0/security-group-rules/:id", run: (q) => this.deleteRule(q) },
    ];
  }

  private versions(): Answer {
    const links = [{ rel: "self", href: `http://${this.config.address}:${this.config.ports.neutron}/v2.0/` }];
    return { status: 200, body: { versions: [{ id: "v2.0", status: "CURRENT", links }] } };
  }

  private save(): void {
    writeFileSync(`${this.file}.new`, JSON.stringify({ groups: this.groups, rules: this.rules }));
    renameSync(`${this.file}.new`, this.file);
  }

  private group(q: ApiRequest): Group {
    const found = this.groups.find(
      ({ id, project_id }) => id === q.at["id"] && (isAdmin(q.token) || project_id === q.token.projectId),
    );
    if (found === undefined)
      throw new Refusal(404, `Security group ${q.at["id"] ?? ""} does not exist`, "SecurityGroupNotFound");
    return found;
  }

  private rule(q: ApiRequest): Rule {
    const found = this.rules.find(({ id }) => id === q.at["id"]);
    if (found === undefined)
      throw new Refusal(404, `Security group rule ${q.at["id"] ?? ""} does not exist`, "SecurityGroupRuleNotFound");
    return found;
  }

  private groupView(group: Group): Json {
    return { ...group, security_group_rules: this.rules.filter((rule) => rule.security_group_id === group.id) };
  }

  private listGroups(q: ApiRequest): Answer {
    const name = q.query.get("name");
    const own = this.groups.filter(
      (group) =>
        (isAdmin(q.token) || group.project_id === q.token.projectId) && (name === null || group["name"] === name),
    );
    return { status: 200, body: { security_groups: own.map((group) => this.groupView(group)) } };
  }

  private createGroup(q: ApiRequest): Answer {
    const wanted = asObject(q.body["security_group"]);
    onlyKeys(wanted, ["name", "description", "tenant_id", "stateful"], "create a security group");
    const project = q.token.projectId;
    const at = now();
    const group: Group = {
      id: randomUUID(),
      name: wanted["name"],
      stateful: true,
      tenant_id: project,
      project_id: project,
      description: wanted["description"] ?? "",
      shared: false,
      tags: [],
      created_at: at,
      updated_at: at,
      revision_number: 1,
    };
    this.groups.push(group);
    for (const ethertype of ["IPv6", "IPv4"])
      this.rules.push({
        ...this.newRule({ security_group_id: group.id, ethertype, direction: "egress" }, project),
        description: null,
        standard_attr_id: ++this.attributes,
        tags: [],
      });
    this.save();
    return { status: 201, body: { security_group: this.groupView(group) } };
  }

  private changeGroup(q: ApiRequest): Answer {
    const group = this.group(q);
    const wanted = asObject(q.body["security_group"]);
    onlyKeys(wanted, ["name", "description"], "change a security group");
    Object.assign(group, wanted, { updated_at: now(), revision_number: Number(group["revision_number"]) + 1 });
    this.save();
    return { status: 200, body: { security_group: this.groupView(group) } };
  }

  private deleteGroup(q: ApiRequest): Answer {
    const group = this.group(q);
    this.groups.splice(this.groups.indexOf(group), 1);
    for (const rule of this.rules.filter((each) => each.security_group_id === group.id))
      this.rules.splice(this.rules.indexOf(rule), 1);
    this.save();
    return { status: 204 };
  }

  private newRule(wanted: Json, project: string): Rule {
    const at = now();
    const prefix = wanted["remote_ip_prefix"] ?? null;
    return {
      id: randomUUID(),
      project_id: project,
      security_group_id: String(wanted["security_group_id"]),
      ethertype: wanted["ethertype"] ?? "IPv4",
      direction: wanted["direction"],
      protocol: wanted["protocol"] ?? null,
      port_range_min: wanted["port_range_min"] ?? null,
      port_range_max: wanted["port_range_max"] ?? null,
      remote_ip_prefix: prefix,
      remote_address_group_id: null,
      normalized_cidr: prefix,
      remote_group_id: wanted["remote_group_id"] ?? null,
      belongs_to_default_sg: false,
      description: wanted["description"] ?? "",
      created_at: at,
      updated_at: at,
      revision_number: 0,
      tenant_id: project,
    };
  }

  private createRule(q: ApiRequest): Answer {
    const wanted = asObject(q.body["security_group_rule"]);
    const known = [
      "direction",
      "ethertype",
      "port_range_max",
      "port_range_min",
      "protocol",
      "remote_ip_prefix",
      "remote_group_id",
      "security_group_id",
      "description",
      "tenant_id",
    ];
    onlyKeys(wanted, known, "create a security group rule");
    const group = this.group({ ...q, at: { id: String(wanted["security_group_id"]) } });
    const rule = this.newRule(wanted, group.project_id);
    this.rules.push(rule);
    // Seen so: 1, 3, 5.
    group["revision_number"] = Number(group["revision_number"]) + 2;
    this.save();
    return { status: 201, body: { security_group_rule: rule } };
  }

  private deleteRule(q: ApiRequest): Answer {
    this.rules.splice(this.rules.indexOf(this.rule(q)), 1);
    this.save();
    return { status: 204 };
  }
}
