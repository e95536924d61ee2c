/** Asynchronous jobs (/api/cluster/jobs). Finished ones are gone after 300 s of the simulator's time. */
import { randomUUID } from "node:crypto";
import { pause } from "./clock";
import { asOntapError, type OntapError } from "./errors";
import type { Cluster, Job } from "./state";
import type { World } from "./world";

const keptMs = 300_000;

export function startJob(
  world: World,
  cluster: Cluster,
  description: string,
  svmUuid: string | undefined,
  work: () => Promise<void>,
): Job {
  const job: Job = {
    uuid: randomUUID(),
    description,
    state: "running",
    message: "in progress",
    code: 0,
    error: undefined,
    startMs: world.clock.now(),
    endMs: undefined,
    svmUuid,
    done: Promise.resolve(),
  };
  cluster.jobs.set(job.uuid, job);
  job.done = pause(world.jobMs)
    .then(work)
    .then(
      () => {
        job.state = "success";
        job.message = "success";
      },
      (cause: unknown) => {
        const error: OntapError = asOntapError(cause);
        job.state = "failure";
        job.message = error.message;
        job.code = Number(error.code);
        job.error = error.body().error;
      },
    )
    .then(() => {
      job.endMs = world.clock.now();
    });
  return job;
}

export function expireJobs(world: World, cluster: Cluster): void {
  const now = world.clock.now();
  for (const job of cluster.jobs.values()) {
    if (job.endMs !== undefined && now - job.endMs > keptMs) cluster.jobs.delete(job.uuid);
  }
}
