import assert from "node:assert/strict";
import * as net from "node:net";
import * as os from "node:os";
import type { SimulatorConfig } from "../../../lab/simulators/openstack/config";
import type { FaultRule } from "../../../lab/simulators/openstack/faults";
import { ApiService, type RecordedRequest } from "../../../lab/simulators/openstack/http";
import { Tokens } from "../../../lab/simulators/openstack/tokens";

const address = "127.0.0.1";

/** One that is free now. */
const freePort = (): Promise<number> =>
  new Promise((resolve) => {
    const server = net.createServer().listen(0, address, () => {
      const { port } = server.address() as net.AddressInfo;
      server.close(() => resolve(port));
    });
  });

describe("faults of the simulated APIs", () => {
  let service: ApiService;
  let root: string;
  let done: number;

  beforeEach(async () => {
    done = 0;
    const port = await freePort();
    root = `http://${address}:${port}`;
    service = new ApiService({
      name: "counter",
      address,
      port,
      tokens: new Tokens({ stateDir: os.tmpdir(), identity: { key: "k" } } as SimulatorConfig),
      routes: [{ method: "POST", path: "/count", open: true, run: () => ({ status: 200, body: { done: ++done } }) }],
      refusal: ({ message }) => ({ body: { message } }),
      unauthorised: () => ({ status: 401 }),
      log: () => undefined,
    });
    await service.listen();
  });
  afterEach(() => service.close());

  const count = async (who = "me"): Promise<[number, unknown]> => {
    const response = await fetch(`${root}/count`, {
      method: "POST",
      body: '{"up": 1}',
      headers: { "user-agent": who },
    });
    return [response.status, await response.json()];
  };
  const add = async (rule: Omit<FaultRule, "path">): Promise<void> => {
    const response = await fetch(`${root}/_lab/faults`, {
      method: "POST",
      body: JSON.stringify({ path: "/count", ...rule }),
    });
    assert.equal(response.status, 200);
  };

  it("break an answer off in its middle, once it's done", async () => {
    await add({ effect: { kind: "half-answer" } });
    await assert.rejects(count());
    assert.equal(done, 1);
    assert.deepEqual(await count(), [200, { done: 2 }]);
  });

  it("answer as the first time, until they are forgotten", async () => {
    await add({ count: 0, effect: { kind: "frozen" } });
    assert.deepEqual(
      [await count(), await count()],
      [
        [200, { done: 1 }],
        [200, { done: 1 }],
      ],
    );
    await fetch(`${root}/_lab/faults`, { method: "DELETE" });
    assert.deepEqual(await count(), [200, { done: 2 }]);
  });

  it("say when to come again, and only to whom they are meant for", async () => {
    await add({ who: "me", effect: { kind: "status", status: 503, body: {}, headers: { "retry-after": "7" } } });
    assert.deepEqual(await count("another"), [200, { done: 1 }]);
    const response = await fetch(`${root}/count`, { method: "POST", headers: { "user-agent": "me" } });
    assert.deepEqual([response.status, response.headers.get("retry-after")], [503, "7"]);
  });

  it("are recorded with the calls that met them, and with the action that was asked for", async () => {
    await count();
    await add({ effect: { kind: "lost-answer" } });
    await assert.rejects(count());
    const read = async (since: number): Promise<RecordedRequest[]> =>
      (await (await fetch(`${root}/_lab/requests?since=${since}`)).json()) as RecordedRequest[];
    const [first, second] = await read(0);
    assert.deepEqual([first?.action, first?.status, first?.fault], ["up", 200, undefined]);
    assert.deepEqual([second?.action, second?.status, second?.fault], ["up", undefined, "lost-answer"]);
    assert.deepEqual(await read(1), [second]);
  });
});
