import assert from "node:assert/strict";
import { at, killAt, operator } from "../switchover/support";
import { intentTo, pair, World } from "../switchover/world";
import { cliOn, folder } from "./support";

const newFolder = folder();

describe("cheesecake stop", () => {
  const begin = () => {
    const world = new World();
    const cli = cliOn(world, newFolder());
    return { world, cli, pulumi: operator(world, cli.journalDir) };
  };
  const holder = { owner: "ops", host: "bastion", pid: 7, stack: "test", planDigest: "" };

  it("has nothing to stop where no run is under way", async () => {
    const { world, cli } = begin();
    assert.deepEqual(await cli.run(["stop"]), { code: 0, out: "No run is under way.", err: "" });
    assert.deepEqual(world.calls, []);
  });

  it("says how to go on with what isn't finished, and before the cutover also how to go back", async () => {
    for (const [step, back] of [
      ["detach/volumes", true],
      ["promote/update-database", false],
    ] as const) {
      const { cli, pulumi } = begin();
      await assert.rejects(pulumi.up(intentTo("idr"), at("iprod"), killAt(step, "before-call")));
      const { code, out } = await cli.run(["stop"]);
      assert.equal(code, 0);
      assert.match(out, /-switchover-iprod-idr isn't finished\. Go on: `cheesecake resume`, or `pulumi up`/);
      assert.equal(/; back: `cheesecake apply --to iprod`\.$/.test(out), back, out);
    }
  });

  it("tells of what it stopped, as status does until it's gone on with", async () => {
    const { cli } = begin();
    assert.equal((await cli.run(["apply", "--to", "idr", "--yes"], { stopAt: /detach\/volumes/ })).code, 1);
    assert.match((await cli.run(["status"])).out, /^verdict +unfinished: \S+ was stopped by request at .*, at \S+/m);
    const { openSwitchover } = JSON.parse((await cli.run(["status", "--json"])).out) as {
      openSwitchover: { stopped: Record<string, string> };
    };
    assert.deepEqual(Object.keys(openSwitchover.stopped).sort(), ["at", "by", "state", "step", "type"]);
    assert.equal((await cli.run(["resume"])).code, 0);
    assert.match((await cli.run(["status"])).out, /^open switchover +none$/m);
  });

  it("ends with 1 where the run's end isn't seen: in time, or by a lease that nobody renews", async () => {
    for (const [passed, said] of [
      [0, /^ops on bastion \(pid 7, stack test\) is still at it: it was asked/m],
      [31_000, /^ops on bastion \(pid 7, stack test\) doesn't renew its lease/m],
    ] as const) {
      const { world, cli } = begin();
      await world.ports().coordination.acquireLease(pair.name, holder, "token", 30);
      world.nowMs += passed;
      const { code, out } = await cli.run(["stop", "--wait", "0"]);
      assert.deepEqual([code, said.test(out), world.stopRequest?.token], [1, true, "token"], out);
    }
  });

  it("says how to go on also where the run has died, and its lease is left", async () => {
    const { world, cli, pulumi } = begin();
    await assert.rejects(pulumi.up(intentTo("idr"), at("iprod"), killAt("detach/volumes", "before-call")));
    await world.ports().coordination.acquireLease(pair.name, holder, "token", 30);
    world.nowMs += 31_000;
    const { code, out } = await cli.run(["stop"]);
    assert.equal(code, 1);
    assert.match(out, /doesn't renew its lease[^]*-switchover-iprod-idr isn't finished\. Go on: `cheesecake resume`/);
  });
});
