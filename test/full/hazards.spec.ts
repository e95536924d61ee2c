import assert from "node:assert/strict";
import { until } from "../openstack/support";
import { hook, onSharedLab } from "../openstack/hazards/support";
import { met } from "../support/hazards";

/** Hazards that take two more journeys, or minutes of other people's time-outs. */
onSharedLab("hazards that take long", "openstack", (lab) => {
  it("promotes although cinder-volume was restarted while failed over, with the lost site dead", async () => {
    await lab().scene.write("full-transferred");
    await lab().scene.transferAll("idr");
    await lab().scene.setReachable("iprod", false);
    const unplanned = { from: "iprod", acceptLossSeconds: 7200 } as const;
    await lab().up("idr", { unplanned, promotion: "deferred" });
    assert.equal((await lab().verdict()).promoted, false);
    const logged = lab().log("controller-1", "cinder-volume").length;
    await lab().service("controller-1", "cinder-volume", "restart");
    await until(
      "the driver has failed",
      () => lab().log("controller-1", "cinder-volume").slice(logged),
      (text) => /Failed to initialize driver/.test(text),
    );
    await lab().serviceIs("iprod", "down");
    await lab().up("idr");
    assert.equal(lab().report().kind, "promotion");
    await lab().scene.assertBytes();
    await lab().scene.setReachable("iprod", true);
    await lab().home();
    await lab().scene.assertBytes();
    met({
      id: "D2",
      behaviour: "while failed over, a restart with the lost site away leaves the driver dead (29.0.0)",
      produced: "a deferred promotion, iprod unreachable, cinder-volume restarted: down",
      handled: "promotion needs no living backend: it stops all, and starts the new site's without replication_device",
      lost: "0",
    });
  });

  it("promotes first where the driver died between failover and attaching", async () => {
    await lab().scene.write("before-driver-died");
    await lab().scene.transferAll("idr");
    await lab().scene.setReachable("iprod", false);
    const unplanned = { from: "iprod", acceptLossSeconds: 7200 } as const;
    lab().meanwhile = {
      "after:cutover": async () => {
        await lab().service("controller-1", "cinder-volume", "restart");
        await lab().serviceIs("iprod", "down");
      },
    };
    const said = await lab().failedUp("idr", { unplanned, hooks: [hook("after:cutover")] });
    assert.match(said, /no cinder-volume consumes the queue of cinder-dr@iprod: .* set route to direct/);
    await lab().up("idr", { unplanned, route: "direct" });
    const report = lab().report();
    assert.deepEqual([report.verdict, report.route, report.mode], ["completed", "direct", "unplanned"]);
    await lab().scene.assertBytes();
    await lab().scene.setReachable("iprod", true);
    await lab().home();
    await lab().scene.assertBytes();
    met({
      id: "D2b",
      behaviour: "while failed over, a restart with the lost site away leaves the driver dead (29.0.0)",
      produced: "iprod unreachable, cinder-volume restarted right after the failover: nothing can be attached",
      handled: "refuses to attach over it, names the direct route, which promotes first, on the same journal",
      lost: "0",
    });
  });

  it("names the mapping that an attach to a dead nova-compute leaves, and goes on once it's removed", async () => {
    const [server] = await lab().scene.servers();
    assert.ok(server);
    lab().meanwhile = {
      "before:cutover": async () => {
        throw new Error("held here");
      },
    };
    await lab().failedUp("idr", { hooks: [hook("before:cutover")] });
    const volume = (await lab().scene.volumes()).find(({ name }) => name === `${server.name}-prefailover`);
    assert.ok(volume);
    // Somebody attaches it while nova-compute is dead, and before Nova knows: 500 after a minute, carried out later.
    const startAgain = await lab().withoutComputes(async () => {
      const body = { volumeAttachment: { volumeId: volume.id } };
      await assert.rejects(
        lab().scene.cloud("POST", "compute", `/servers/${server.id}/os-volume_attachments`, body),
        /500/,
      );
    });
    await startAgain();
    const count = async (): Promise<number> => {
      const rows = await lab().scene.sql(
        "SELECT id FROM nova.block_device_mapping WHERE deleted = 0 AND attachment_id IS NULL AND volume_id = ?",
        [volume.id],
      );
      return (rows as unknown[]).length;
    };
    await until("the stale reservation is carried out", count, (rows) => rows > 0);
    const said = await lab().failedUp("iprod");
    assert.match(said, /a mapping without attachment/);
    const [sql] = /UPDATE block_device_mapping SET [^;]*?IS NULL/.exec(said) ?? [];
    assert.ok(sql);
    await lab().scene.sql(sql.replace("UPDATE block_device_mapping", "UPDATE nova.block_device_mapping"));
    await lab().up("iprod");
    await lab().home();
    await lab().scene.assertBytes();
    met({
      id: "N3.12b",
      behaviour: "an attach to a dead nova-compute leaves a mapping without attachment, which blocks the volume",
      produced: "the attach, and nova-compute started again: the mapping was there",
      handled: "named with the statement that removes it; after it the run goes on",
      lost: "0",
    });
  });

  it("goes on by the direct route where the driver's failover left a FlexVol unbroken", async () => {
    await lab().scene.write("before-half-failover");
    const { cluster } = lab().scene.lab.arrays.idr;
    const [, kept] = await lab().mirrors("idr");
    assert.ok(kept);
    const effect = { kind: "status", status: 500, code: "13303825", message: "Operation is busy." };
    const path = `/snapmirror/relationships/${kept.uuid}`;
    await lab().control("POST", "/faults", { cluster, method: "PATCH", path, count: 0, effect });
    const said = await lab().failedUp("idr");
    const flexVol = kept.destination.flexVol;
    assert.match(said, new RegExp(`couldn't fail over .*"idr" ${flexVol} is (snapmirrored|paused)`));
    assert.match(said, /set route to "direct"/);
    const states = new Map((await lab().mirrors("idr")).map(({ uuid, state }) => [uuid, state]));
    assert.deepEqual(
      [...states].filter(([uuid]) => uuid !== kept.uuid).map(([, state]) => state),
      ["broken_off"],
    );
    assert.notEqual(states.get(kept.uuid), "broken_off");
    assert.equal((await lab().row("iprod"))?.replicationStatus, "failed-over");
    await lab().control("DELETE", "/faults");
    await lab().up("idr", { route: "direct" });
    const report = lab().report();
    assert.deepEqual(
      [report.verdict, report.route, report.mode, report.rpoSeconds],
      ["completed", "direct", "planned", 0],
    );
    await lab().normal("idr");
    await lab().scene.assertBytes();
    await lab().up("iprod");
    await lab().normal("iprod");
    await lab().scene.assertBytes();
    met({
      id: "D6b",
      behaviour: "a mirror that the driver can't break is a fault of its volumes alone: the row says failed-over",
      produced: `every change of ${flexVol}'s mirror answered with 500 during failover_host`,
      handled: "stops before anything is attached, names the FlexVol; the direct route goes on on the same journal",
      lost: "0",
    });
  });
});
