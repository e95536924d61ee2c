import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import http from "node:http";
import type { AddressInfo } from "node:net";
import { Calls, total } from "../../../bench/calls";
import { watchMemory } from "../../../bench/memory";
import type { LabDescription } from "../../../lab/lab";

const id = "0b9b4bd5-6b4c-4b19-9d0c-0d7a5bb9a2f1";

describe("what is watched while something is measured", () => {
  it("are the product's calls, by route, also of a service that is restarted meanwhile", async () => {
    let requests: { id: number; method: string; path: string; who: string }[] = [];
    let isDown = false;
    const server = http.createServer((request, response) => {
      if (isDown) return void response.destroy();
      const since = Number(new URL(request.url ?? "", "http://lab").searchParams.get("since"));
      response.end(JSON.stringify(requests.filter((one) => one.id > since)));
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address() as AddressInfo;
    const called = (path: string, who = "", method = "GET"): void =>
      void requests.push({ id: (requests.at(-1)?.id ?? 0) + 1, method, path, who });
    const url = `http://127.0.0.1:${port}/v2.1`;
    const lab = {
      endpoints: { compute: url, blockStorage: "http://127.0.0.1:1", identity: "http://127.0.0.1:1" },
      arrayControl: { address: "127.0.0.1", port: 1 },
    } as unknown as LabDescription;
    try {
      called("/before");
      const calls = await Calls.begin(lab);
      called(`/v2.1/servers/${id}/os-volume_attachments/${id}?x=1`, "", "DELETE");
      called("/v3/volumes/detail", "python-cinderclient");
      await new Promise((resolve) => setTimeout(resolve, 400));
      isDown = true;
      await new Promise((resolve) => setTimeout(resolve, 400));
      requests = [];
      isDown = false;
      called("/v2.1/servers/detail?marker=1");
      await calls.stop();
      assert.deepEqual(calls.counts(), {
        "DELETE nova /v2.1/servers/{id}/os-volume_attachments/{id}": 1,
        "GET nova /v2.1/servers/detail": 1,
      });
      assert.equal(total(calls.counts()), 2);
    } finally {
      server.closeAllConnections();
      server.close();
    }
  });

  it("is the memory of what one command starts, and of nothing else", async () => {
    const backend = `file:///${id}`;
    const watch = watchMemory({ environment: () => ({ PULUMI_BACKEND_URL: backend }) });
    const hold = "const held = Buffer.alloc(64 << 20, 1); setTimeout(() => held, 600)";
    const start = (own: string) =>
      spawn(process.execPath, ["-e", hold, "dynamic-provider"], { env: { PULUMI_BACKEND_URL: own }, stdio: "ignore" });
    await Promise.all([once(start(backend), "exit"), once(start("file:///another"), "exit")]);
    watch.stop();
    const { all, provider } = watch.peaks();
    assert.ok(provider > 64 && provider < 190, `${provider} MiB`);
    assert.ok(all > 64 && all <= provider + 5, `${all} MiB`);
  });
});
