import assert from "node:assert/strict";
import type { Flavour } from "../../../lab/lab";
import { until } from "../support";
import { met } from "../../support/hazards";
import { onSharedLab } from "./support";

/** Cinder's own failover refused and broken in every way that was measured, one after another, in one disaster. */
export function failoverHazards(flavour: Flavour): void {
  onSharedLab("hazards: where Cinder's own failover fails", flavour, (lab) => {
    const unplanned = { from: "iprod", acceptLossSeconds: 200_000 } as const;
    const ended = (status: string): boolean => status === "failed-over" || status === "failover-error";
    const stage = `direct-untransferred-${process.pid}`;
    let kept: ReadonlyMap<string, string>;

    const reason = async (): Promise<string> => {
      const { route, failures, warnings, mode } = await lab().preview("idr", { unplanned });
      assert.deepEqual([route, mode, failures], ["direct", "unplanned", []]);
      const said = warnings.find((warning) => warning.startsWith("direct route: "));
      assert.ok(said);
      return said;
    };

    /** The way out that Cinder has, after which it would be asked again. */
    async function resetByHand(): Promise<void> {
      const host = lab().host("iprod");
      await lab().putService("freeze", { host });
      await lab().resetActiveBackend(host);
      await lab().putService("thaw", { host });
      const row = await lab().row("iprod");
      assert.deepEqual([row?.replicationStatus, row?.disabled, row?.frozen], ["enabled", false, false]);
    }

    it("meets a last transfer that failed: failover-error, with mirrors half broken", async () => {
      await lab().scene.write("direct-transferred");
      await lab().scene.transferAll("idr");
      kept = lab().scene.writes();
      await lab().scene.write(stage);
      // The dying site loses a FlexVol first: a transfer of it begins and fails.
      await lab().setOnline("iprod", false);
      await lab().scene.onArray("idr", async (client) => {
        const mirror = (await client.listMirrors(["pool1"]))[0];
        await client.startTransfer(mirror?.uuid ?? "");
      });
      await until(
        "the transfer fails",
        () => lab().mirrors("idr"),
        (mirrors) => mirrors.some(({ transfer }) => transfer?.state === "failed"),
      );
      await lab().scene.setReachable("iprod", false);

      assert.match(
        await reason(),
        /the last transfer of "pool1" ended as failed, which NetApp's driver refuses to break/,
      );
      assert.match(await lab().refusals("idr"), /the array of "iprod" can't be asked/);
      assert.match(
        await lab().refusals("idr", { unplanned, route: "failover-host" }),
        /route failover-host is asked for, but/,
      );
      assert.equal(await lab().failOverByHand("iprod", "idr", ended), "failover-error");
      const states = (await lab().mirrors("idr")).map(({ state }) => state);
      assert.ok(states.includes("paused") && !states.every((state) => state === "broken_off"), states.join());
      assert.match(await reason(), /its replication_status is failover-error/);
      await assert.rejects(lab().putService("failover_host", { host: lab().host("iprod"), backend_id: "idr" }), /400/);
      met({
        id: "D6",
        behaviour:
          "a last transfer that didn't succeed aborts the driver's failover: failover-error, a mirror left paused",
        produced: "pool1 offline at the dying site, a transfer failed; failover_host by hand",
        handled: "preflight chooses the direct route and says why; it breaks what is paused or half broken",
        lost: "what wasn't transferred",
      });
      await resetByHand();
      met({
        id: "D7",
        behaviour: "failover-error refuses every retry; left by freeze, reset_active_backend, thaw alone",
        produced: "failover_host again: 400; then the three by hand",
        handled: "needs no reset: the direct route takes failover-error as it is",
        lost: "0",
      });
    });

    it("meets a lag of a day, which the driver can't parse", async () => {
      await lab().control("POST", "/clock", { advanceSeconds: 25 * 3600 });
      assert.match(await reason(), /"pool2" is a day or more behind, which NetApp's driver can't parse/);
      assert.match(
        await lab().refusals("idr", { unplanned, route: "failover-host" }),
        /NetApp's driver can't parse a lag of a day or more/,
      );
      assert.match(
        await lab().refusals("idr", { unplanned: { ...unplanned, acceptLossSeconds: 7200 } }),
        /more than the accepted 7200 s/,
      );
      const logged = lab().log("controller-1", "cinder-volume").length;
      assert.equal(await lab().failOverByHand("iprod", "idr", ended), "failover-error");
      assert.match(lab().log("controller-1", "cinder-volume").slice(logged), /time data '.*' does not match format/);
      await resetByHand();
      met({
        id: "D5",
        behaviour: "a lag of 24 hours or more: ValueError, failover-error, nothing broken",
        produced: "the clusters' clock 25 hours on while iprod was away; failover_host by hand: ValueError in the log",
        handled: "preflight chooses the direct route and says why; forced failover-host is refused",
        lost: "what wasn't transferred",
      });
    });

    it("meets a failover that was asked of a dead process, and completes all the same, by the direct route", async () => {
      await lab().kill("controller-1", "cinder-volume");
      await lab().putService("failover_host", { host: lab().host("iprod"), backend_id: "idr" });
      assert.equal((await lab().row("iprod"))?.replicationStatus, "failing-over");
      await until(
        "the message waits, without a consumer",
        () => lab().queues("iprod"),
        (queues) => queues.some(({ messages }) => messages > 0) && queues.every(({ consumers }) => consumers === 0),
      );
      const said = await reason();
      assert.match(said, /no cinder-volume consumes the queue of cinder-dr@iprod/);
      assert.match(said, /its replication_status is failing-over/);

      // And Cinder's API is gone, too: what is to be moved is read from the database.
      const read = (await lab().preview("idr", { unplanned })).sentences[0]?.replace(/; forecast.*/, "");
      await lab().service("controller-1", "cinder-api", "stop");
      assert.match(await reason(), /Cinder's API doesn't tell its services/);
      assert.equal((await lab().preview("idr", { unplanned })).sentences[0]?.replace(/; forecast.*/, ""), read);
      assert.match(await lab().refusals("idr"), /Cinder's API doesn't tell its services/);

      const removed: string[] = [];
      await lab().up("idr", { unplanned }, (line) => {
        if (line.startsWith("removed ")) removed.push(line);
      });
      assert.match(removed.join("\n"), /messages that waited in cinder-volume\.cinder-dr@iprod.*failover/);
      const report = lab().report();
      assert.deepEqual([report.verdict, report.route, report.mode], ["completed", "direct", "unplanned"]);

      // Lost: what was written after the last transfer, and nothing else.
      const devices = await lab().scene.devices();
      const guests = (await lab().scene.servers()).map(({ name }) => name);
      const lost = devices.flatMap((device) =>
        guests.flatMap((guest) => [`fill ${guest} ${device}`, `missing ${guest} ${device} ${guest}-${stage}`]),
      );
      assert.deepEqual(await lab().scene.missing(), lost.sort());
      lab().scene.forget(stage, kept);
      await lab().scene.assertBytes();

      // The rows are what the ordinary route leaves, and what waited doesn't run any more.
      const fence = await lab().row("iprod");
      assert.deepEqual(
        [fence?.replicationStatus, fence?.activeBackendId, fence?.disabled],
        ["failed-over", "idr", true],
      );
      const verdict = await lab().verdict();
      assert.deepEqual(
        [verdict.site, verdict.promoted, verdict.protected, verdict.mismatches],
        ["idr", true, false, []],
      );
      assert.deepEqual(
        await lab()
          .queues("iprod")
          .then((queues) => queues.filter(({ messages }) => messages > 0)),
        [],
      );
      met({
        id: "R2",
        behaviour: "Cinder's API goes with its controllers",
        produced: "cinder-api stopped besides; preview and up",
        handled:
          "unplanned: volumes, snapshots and attachments are read from the database, and the plan is the same; planned: refused",
        lost: "what wasn't transferred",
      });
      met({
        id: "D13",
        behaviour:
          "failover_host sent to a dead process: 202, failing-over for ever, the message runs at the backend's next start",
        produced: "cinder-volume killed, failover_host at once: 202; the message waited in the queue",
        handled:
          "preflight sees the queue without consumer; direct route; the message is read out, journalled, removed before the start",
        lost: "what wasn't transferred",
      });
    });

    it("protects anew when the site is back, and goes home by the direct route with the same end", async () => {
      await lab().scene.setReachable("iprod", true);
      await lab().setOnline("iprod", true);
      await lab().forgetCommon("pool2", "iprod");
      const flexVols = () =>
        lab().scene.onArray("iprod", async (client) => (await client.listFlexVols()).map(({ name }) => name).sort());
      const there = await flexVols();
      await lab().up("idr", { reprotect: "discardDiverged" });
      assert.ok(
        lab()
          .report()
          .steps.some(
            ({ id, durationSeconds }) => id === "reprotect/delete-set-aside" && durationSeconds !== undefined,
          ),
      );
      await lab().normal("idr");
      assert.deepEqual(await flexVols(), there);
      await lab().scene.write("direct-home");
      const before = await attachedNow();
      await lab().up("iprod", { route: "direct" });
      const report = lab().report();
      assert.deepEqual(
        [report.verdict, report.route, report.mode, report.rpoSeconds],
        ["completed", "direct", "planned", 0],
      );
      assert.deepEqual(await attachedNow(), before);
      await lab().normal("iprod");
      await lab().scene.assertBytes();
      met({
        id: "L3b",
        behaviour: "without a common snapshot nothing can be resynced",
        produced: "the mirrors' records and iprod's snapshots of pool2 were removed while it was away",
        handled: "a new baseline; what pool2 was before is deleted once that is healthy, as discarding was asked for",
        lost: "0",
      });
      met({
        id: "R1",
        behaviour: "Cinder's own failover isn't needed",
        produced: "a planned switchover with route: direct",
        handled: "the same end as by failover-host: rows, mirrors, device names, bytes",
        lost: "0",
      });
    });

    async function attachedNow(): Promise<unknown> {
      const volumes = await lab().scene.volumes();
      return volumes
        .map(({ id, status, attachments }) => [
          id,
          status,
          attachments.map(({ server_id, device }) => [server_id, device]),
        ])
        .sort();
    }
  });
}
