import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { openSync, readSync, writeSync, closeSync } from "node:fs";
import type { Flavour } from "../../../lab/lab";
import { until } from "../support";
import { met } from "../../support/hazards";
import { onSharedLab } from "./support";

/** What NetApp's driver does at its start, and what must not be begun before somebody has looked. */
export function driverHazards(flavour: Flavour): void {
  onSharedLab("hazards: the driver at its start", flavour, (lab) => {
    interface LunFile {
      readonly svm: string;
      readonly path: string;
      readonly volume: string;
      readonly file: string;
    }
    const OFFSET = 700 << 20;
    const LENGTH = 1 << 16;

    /** Somebody writes to a LUN of the standby site that is writable for a while, as a drill there does. */
    async function drillAt(site: "iprod" | "idr"): Promise<() => Promise<boolean>> {
      const { svm } = lab().scene.lab.arrays[site];
      const find = async () => {
        const luns = await lab().control<LunFile[]>("GET", "/luns");
        return luns.find((lun) => lun.svm === svm && lun.volume === "pool1" && lun.path.includes("/volume-"));
      };
      const lun = await find();
      assert.ok(lun);
      const bytes = createHash("sha512").update("a drill").digest();
      const file = openSync(lun.file, "r+");
      for (let at = 0; at < LENGTH; at += bytes.length) writeSync(file, bytes, 0, bytes.length, OFFSET + at);
      closeSync(file);
      return async () => {
        const now = await find();
        assert.ok(now);
        const seen = Buffer.alloc(bytes.length);
        const again = openSync(now.file, "r");
        readSync(again, seen, 0, seen.length, OFFSET);
        closeSync(again);
        return seen.equals(bytes);
      };
    }

    it("refuses consistent replication and a second target by name", async () => {
      const restore = lab().editConf(
        (text) =>
          text.replace(
            /^\[iprod\]\n/m,
            "[iprod]\nnetapp_consistent_replication = True\nreplication_device = backend_id:third\n",
          ),
        0,
      );
      try {
        const said = await lab().refusals("idr");
        assert.match(said, /\[iprod\] .* on controller-1 sets netapp_consistent_replication, which isn't supported/);
        assert.match(said, /has 2 replication targets: a failover breaks the mirrors to all of them/);
      } finally {
        restore();
      }
      met({
        id: "D12",
        behaviour: "consistent replication builds a client for the lost site unguarded",
        produced: "netapp_consistent_replication and a second replication_device in one controller's cinder.conf",
        handled: "preflight refuses both by name",
        lost: "0",
      });
    });

    it("refuses active/active by name", async () => {
      const restore = lab().editConf((text) => text.replace(/^\[DEFAULT\]\n/m, "[DEFAULT]\ncluster = together\n"), 1);
      try {
        assert.match(
          await lab().refusals("idr"),
          /on controller-2 uses cluster= \(active\/active\), which isn't supported/,
        );
      } finally {
        restore();
      }
      met({
        id: "C1",
        behaviour: "with cluster= rows name a cluster, and several cinder-volumes serve one backend",
        produced: "cluster= in one controller's cinder.conf, two controllers with cinder-volume",
        handled: "preflight refuses it by name",
        lost: "0",
      });
    });

    it("refuses while a controller has a standby site enabled, whose driver finds no pools", async () => {
      const before = lab().log("controller-2", "cinder-volume").length;
      const restore = lab().editConf((text) => text.replace(/^(enabled_backends.*)iprod/m, "$1idr"), 1);
      try {
        await lab().service("controller-2", "cinder-volume", "start");
        // After a switchover the fence row makes it a driver of the active site, which comes up; before any it has no pools.
        const fenced = (await lab().row("idr"))?.replicationStatus === "failed-over";
        await until(
          fenced ? "both drivers are up" : "the standby driver gives up",
          () => lab().log("controller-2", "cinder-volume").slice(before),
          (text) =>
            fenced
              ? text.split("Driver post RPC initialization completed").length > 2
              : /No pools are available/.test(text),
        );
        const said = await lab().refusals("idr");
        assert.match(said, /enabled_backends of .* on controller-2: "idr", expected "iprod"/);
      } finally {
        await lab().service("controller-2", "cinder-volume", "stop");
        restore();
      }
      await lab()
        .preview("idr")
        .then(({ failures }) => assert.deepEqual(failures, []));
      met({
        id: "D10",
        behaviour: "pools of the standby site are seen only when its mirrors are broken",
        produced: "a driver started on idr before any failover: No pools are available",
        handled:
          "preflight refuses while controllers differ; the plan starts a site's driver after its mirrors are broken",
        lost: "0",
      });
    });

    it("refuses a second mirror the other way, which the driver doesn't notice at its start", async () => {
      const { arrays } = lab().scene.lab;
      const uuid = await lab().scene.onArray("iprod", (client) =>
        client.createMirror({
          sourceSvm: arrays.idr.svm,
          destinationSvm: arrays.iprod.svm,
          flexVol: "pool1",
          policy: lab().pair.replication.policy,
        }),
      );
      try {
        assert.match(
          await lab().refusals("idr"),
          /there is a mirror the other way, svm-idr:pool1 → svm-iprod:pool1 \(broken_off\)/,
        );
        const beats = (await lab().row("iprod"))?.reportCount ?? 0;
        await lab().service("controller-1", "cinder-volume", "restart");
        await until(
          "the driver comes up all the same",
          () => lab().row("iprod"),
          (row) => (row?.reportCount ?? 0) >= beats + 2,
        );
      } finally {
        await lab().scene.onArray("iprod", (client) => client.deleteMirror(uuid));
        await lab().scene.onArray("idr", (client) =>
          client.releaseMirror({ sourceFlexVol: "pool1", destinationSvm: arrays.iprod.svm }),
        );
      }
      await lab().scene.assertBytes();
      met({
        id: "D11",
        behaviour: "validate_no_conflicting_snapmirrors checks nothing at the first start",
        produced: "a mirror idr → iprod beside iprod → idr; cinder-volume restarted, and it came up",
        handled: "preflight refuses and names it",
        lost: "0",
      });
    });

    it("begins nothing after a failback by Cinder's bare default, whose next restart overwrites the other site", async () => {
      const row = (status: string) => status === "failed-over" || status === "enabled" || status.endsWith("error");
      assert.equal(await lab().failOverByHand("iprod", "idr", (s) => row(s) && s !== "enabled"), "failed-over");
      const kept = await drillAt("idr");
      assert.equal(await lab().failOverByHand("iprod", "default", (s) => row(s) && s !== "failed-over"), "enabled");

      const switchover = await lab().refusals("idr");
      assert.match(switchover, /pool1 is broken_off, not snapmirrored/);
      assert.match(switchover, /a resync discards that, and so does the next restart of cinder-volume/);
      const stanza = await lab().refusalOfReload("iprod");
      assert.match(stanza, /"pool1" is writable at "idr" and its mirror is broken off/);
      assert.match(stanza, /at its start the driver overwrites what "idr" holds/);
      assert.ok(await kept());

      await lab().service("controller-1", "cinder-volume", "restart"); // by a hand that didn't ask
      await until(
        "the driver resyncs every mirror",
        () => lab().mirrors("idr"),
        (mirrors) =>
          mirrors.every(
            ({ state, healthy, transfer }) => state === "snapmirrored" && healthy && transfer?.state === "success",
          ),
      );
      await until("its bytes are gone", kept, (there) => !there);
      await lab().home();
      await lab().scene.assertBytes();
      met({
        id: "D1",
        behaviour: "failback to default reverses nothing; the next restart resyncs old → new",
        produced: "failover_host idr, a write at idr, failover_host default, restart by hand: that write was gone",
        handled: "never sends default; refuses the switchover and its own restart while a mirror is broken off",
        lost: "0",
      });
      met({
        id: "D14",
        behaviour: "the housekeeping ends at its first error; the next restart repairs mirrors at once",
        produced: "mirrors broken off since hours stay so until a restart, which resynced both within seconds",
        handled: "a restart for a changed stanza is refused until somebody has looked at the standby site",
        lost: "0",
      });
    });
  });
}
