/** The control interface for lab and tests: plain HTTP, JSON, loopback only. Not part of ONTAP. */
import fastify from "fastify";
import type { FaultRule } from "./faults";
import type { BulkRequest, OntapSimulator } from "./simulator";

export async function startControl(
  simulator: OntapSimulator,
  at: { address: string; port: number },
): Promise<{ port: number; close(): Promise<void> }> {
  if (!/^(127\.|::1$|localhost$)/.test(at.address))
    throw new Error(`The control interface listens on loopback only, not on ${at.address}.`);
  const app = fastify({ forceCloseConnections: true });
  app.setErrorHandler((error, _request, reply) => {
    const text = error instanceof Error ? error.message : String(error);
    return reply.status(400).send({ error: text });
  });
  app.get("/requests", (request) => {
    const q = request.query as Record<string, string | undefined>;
    return simulator.requests({
      ...(q["cluster"] === undefined ? {} : { cluster: q["cluster"] }),
      ...(q["since"] === undefined ? {} : { since: Number(q["since"]) }),
      ...(q["mutating"] === undefined ? {} : { mutating: q["mutating"] === "true" }),
    });
  });
  app.get("/unknown", () => simulator.unknown());
  app.get("/luns", () => simulator.luns());
  app.get("/clusters", () => simulator.clusters);
  app.post("/faults", (request) => ({ id: simulator.addFault(request.body as FaultRule) }));
  app.delete("/faults", () => {
    simulator.clearFaults();
    return {};
  });
  app.post("/clusters/:name/reachable", async (request) => {
    const { name } = request.params as { name: string };
    const { reachable, how } = request.body as { reachable?: unknown; how?: "refuse" | "blackhole" };
    if (typeof reachable !== "boolean")
      throw new Error('The body has to be {"reachable": true | false, "how"?: "refuse" | "blackhole"}.');
    await simulator.setReachable(name, reachable, how);
    return {};
  });
  app.post("/clusters/:name/svms/:svm/requests", (request) => {
    const { name, svm } = request.params as { name: string; svm: string };
    return simulator.requestAll(name, svm, request.body as BulkRequest[]);
  });
  app.post("/clock", (request) => {
    const { advanceSeconds } = request.body as { advanceSeconds?: unknown };
    if (typeof advanceSeconds !== "number" || !(advanceSeconds >= 0))
      throw new Error('The body has to be {"advanceSeconds": <number>}.');
    simulator.advanceClock(advanceSeconds);
    return {};
  });
  await app.listen({ host: at.address, port: at.port });
  const address = app.server.address();
  return { port: typeof address === "object" && address ? address.port : at.port, close: () => app.close() };
}
