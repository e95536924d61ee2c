/** Puts instances with replicated volumes into an embedded lab that runs: thousands in seconds. */
import * as fs from "node:fs";
import { type LabAccount, type LabDescription, readLab, readSecret } from "../description";
import { Session } from "../openstack/cloud";
import { layoutOf } from "../openstack/files";
import type { Progress } from "../openstack/progress";
import { processesOfLab } from "../openstack/service-manager";
import type { ArrayAnswer, ArrayRequest, Populated, Type } from "../simulators/openstack/populate";
import { populate } from "../simulators/openstack/populate";
import { readSimulatorConfig, simulatorConfigFile } from "./up";

export interface PopulateOptions {
  dir: string;
  instances: number;
  volumesPerInstance: number;
  progress: Progress;
}

/** In the demo project, whose quotas it lifts. @throws before anything is made, or with nothing left of it */
export async function populateLab({ dir, progress, ...counts }: PopulateOptions): Promise<Populated> {
  const lab = readLab(dir);
  const layout = layoutOf(lab.dir);
  if (!fs.existsSync(simulatorConfigFile(layout)))
    throw new Error(
      `The lab in ${lab.dir} is a real OpenStack, which makes its volumes itself: bring one up with --flavour embedded.`,
    );
  if (processesOfLab(lab.dir).length === 0)
    throw new Error(`The lab in ${lab.dir} doesn't run: \`npm run lab -- up --flavour embedded --dir ${dir}\` first.`);
  const [admin, { projectId, userId }] = await Promise.all([open(lab, lab.admin), open(lab, lab.demo)]);
  return populate(readSimulatorConfig(layout), {
    ...counts,
    sizeGiB: 1,
    projectId,
    userId,
    prepare: async (backendNames) => {
      await liftQuotas(admin, lab, projectId);
      const replicated = { volume_backend_name: backendNames.data, replication_enabled: "<is> True" };
      return {
        roots: await ensureType(admin, lab, "populated-roots", { volume_backend_name: backendNames.roots }),
        data: await ensureType(admin, lab, "populated", replicated),
      };
    },
    ask: (backend, requests) => askArray(lab, backend, requests),
    progress,
  });
}

const open = (lab: LabDescription, { username, passwordFile, project }: LabAccount): Promise<Session> =>
  Session.open(lab.endpoints.identity, username, readSecret(passwordFile), project);

async function liftQuotas(admin: Session, { endpoints }: LabDescription, project: string): Promise<void> {
  const unlimited = {
    [endpoints.compute]: { instances: -1, cores: -1, ram: -1 },
    [endpoints.blockStorage]: { volumes: -1, gigabytes: -1 },
  };
  for (const [endpoint, quotas] of Object.entries(unlimited))
    await admin.request("PUT", `${endpoint}/os-quota-sets/${project}`, { quota_set: quotas });
}

async function ensureType(
  admin: Session,
  { endpoints }: LabDescription,
  name: string,
  specs: Record<string, string>,
): Promise<Type> {
  const url = `${endpoints.blockStorage}/types`;
  const { volume_types: types } = await admin.request<{ volume_types: Type[] }>("GET", url);
  const found = types.find((type) => type.name === name);
  if (found !== undefined) return found;
  const made = await admin.request<{ volume_type: Type }>("POST", url, { volume_type: { name, extra_specs: specs } });
  return made.volume_type;
}

/** Of 20,000 requests by HTTPS each would cost a millisecond; the simulator's own interface takes hundreds at once. */
async function askArray(
  { arrays, arrayControl }: LabDescription,
  backend: string,
  requests: readonly ArrayRequest[],
): Promise<ArrayAnswer[]> {
  const array = Object.entries(arrays).find(([site]) => site === backend)?.[1];
  if (array === undefined) throw new Error(`The backend ${backend} is no site of this lab.`);
  const url = `http://${arrayControl.address}:${arrayControl.port}/clusters/${array.cluster}/svms/${array.svm}/requests`;
  const headers = { "content-type": "application/json" };
  const response = await fetch(url, { method: "POST", headers, body: JSON.stringify(requests) });
  if (!response.ok) throw new Error(`POST ${url}: ${response.status} ${await response.text()}`);
  return (await response.json()) as ArrayAnswer[];
}
