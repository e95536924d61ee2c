import assert from "node:assert/strict";
import { until, type Volume } from "../openstack/support";
import { met } from "../support/hazards";
import { hook, onSharedLab } from "../openstack/hazards/support";

/** A site that is dead for long, work at the other one meanwhile, its return, and the way home. */
onSharedLab("hazards: a site lost for long", "openstack", (lab) => {
  const unplanned = { from: "iprod", acceptLossSeconds: 7200 } as const;
  const ids: Record<string, string> = {};

  const create = async (name: string, type = "netapp_iscsi"): Promise<void> => {
    ids[name] = await lab().scene.createVolume(name, type);
  };
  const volume = async (name: string): Promise<Volume | undefined> =>
    (await lab().scene.volumes()).find(({ id }) => id === ids[name]);
  const action = (name: string, body: object) =>
    lab().scene.cloud("POST", "blockStorage", `/volumes/${ids[name] ?? ""}/action`, body);
  const lunsAt = async (site: "iprod" | "idr") => {
    const { svm } = lab().scene.lab.arrays[site];
    const luns = await lab().control<{ svm: string; path: string; sizeBytes: number; maps: unknown[] }[]>(
      "GET",
      "/luns",
    );
    return luns.filter((lun) => lun.svm === svm);
  };
  const lunOf = async (site: "iprod" | "idr", name: string) =>
    (await lunsAt(site)).find(({ path }) => path.endsWith(`/volume-${ids[name] ?? ""}`));
  /** What anybody sent to iprod's cluster that may change something, since then. */
  const sentToIprod = async (since: number) =>
    (await lab().scene.mutations(since)).filter(
      ({ cluster, path }) => cluster === lab().scene.lab.arrays.iprod.cluster && !path.includes("/ems/"),
    );

  it("a driver that is up and dead is found out at the cutover; the same journey goes on past it", async () => {
    await lab().scene.cloud("POST", "blockStorage", "/types", {
      volume_type: { name: "alone", extra_specs: { volume_backend_name: lab().pair.name } },
    });
    await create("gone-later");
    await create("grown-later", "alone");
    await lab().scene.write(`lost-transferred-${process.pid}`);
    await lab().scene.transferAll("idr");
    const kept = lab().scene.writes();
    await create("never-transferred");
    await lab().scene.write(`lost-untransferred-${process.pid}`);
    await lab().scene.setReachable("iprod", false);

    // The operator's reflex: cinder-volume is restarted. Its driver doesn't come up without its array.
    let state = "";
    lab().meanwhile = {
      "before:cutover": async () => {
        await lab().kill("controller-1", "cinder-volume");
        await lab().service("controller-1", "cinder-volume", "start");
        state = (await lab().scene.volumeService("iprod"))?.state ?? "";
      },
    };
    let patient: NodeJS.Timeout | undefined;
    const said = await lab()
      .failedUp("idr", { unplanned, hooks: [hook("before:cutover")] }, (line) => {
        if (line.includes("cutover/failover-host: Fail")) patient = setTimeout(() => lab().clock.advance(100), 8_000);
      })
      .finally(() => clearTimeout(patient));
    assert.equal(state, "up");
    assert.match(said, /0 of 2 heartbeats/);
    assert.match(said, /set route to direct/);
    await lab().serviceIs("iprod", "down");
    await assert.rejects(lab().putService("failover_host", { host: lab().host("iprod"), backend_id: "idr" }), /400/);

    await lab().up("idr", { unplanned, route: "direct" });
    const report = lab().report();
    assert.deepEqual([report.verdict, report.route, report.mode], ["completed", "direct", "unplanned"]);
    assert.deepEqual(report.lostVolumes, [{ id: ids["never-transferred"], name: "never-transferred" }]);
    assert.ok((await lab().scene.missing()).length > 0);
    lab().scene.forget(`lost-untransferred-${process.pid}`, kept);
    await lab().scene.assertBytes();
    met({
      id: "D3",
      behaviour: "cinder-volume started while its array is away: not initialised, failover_host 400",
      produced: "iprod unreachable, cinder-volume restarted",
      handled: "direct route on the same journal; what the last transfer had is all there",
      lost: "what wasn't transferred",
    });
    met({
      id: "N6.9",
      behaviour: "a service is called up for a while although its driver is dead",
      produced: "cinder-volume restarted right before the cutover, iprod away: state up",
      handled: "no failover is sent before two heartbeats: none came; the error names the direct route",
      lost: "0",
    });
  });

  it("works alone: new volumes, deletes, extends, snapshots; and restarts with the other site dead", async () => {
    // Without replication_device no backend offers what the ordinary type asks for; nor would an extend find one.
    await assert.rejects(create("asks-for-replication"), /'error'|error/);
    const refused = (await lab().scene.volumes()).find(({ name }) => name === "asks-for-replication");
    await lab().scene.deleteVolume(refused?.id ?? "");
    await create("new-at-idr", "alone");
    await lab().scene.deleteVolume(ids["gone-later"] ?? "");
    await action("grown-later", { "os-extend": { new_size: 2 } });
    await until(
      "it is extended",
      () => volume("grown-later"),
      (one) => one?.status === "available" && (one as Volume & { size: number }).size === 2,
    );
    const { snapshot } = await lab().scene.cloud<{ snapshot: { id: string } }>("POST", "blockStorage", "/snapshots", {
      snapshot: { volume_id: ids["grown-later"], name: "at-idr", force: true },
    });
    ids["snapshot"] = snapshot.id;
    await lab().scene.write("alone");
    await until(
      "the snapshot is there",
      () => lunsAt("idr"),
      (luns) => luns.some(({ path }) => path.includes(snapshot.id)),
    );
    const rows = (await lab().scene.sql(
      "SELECT id, replication_status FROM cinder.volumes WHERE deleted = 0 AND id = ?",
      [ids["new-at-idr"] ?? ""],
    )) as {
      replication_status: string | null;
    }[];
    assert.equal(rows[0]?.replication_status ?? null, null);

    // A configuration management run puts replication_device back; the driver starts with it although iprod is dead.
    const restore = lab().editConf((text) =>
      text.replace(/^\[idr\]\n/m, "[idr]\nreplication_device = backend_id:iprod\n"),
    );
    try {
      const beats = (await lab().row("idr"))?.reportCount ?? 0;
      await lab().service("controller-1", "cinder-volume", "restart");
      await until(
        "idr is initialised",
        () => lab().row("idr"),
        (row) => (row?.reportCount ?? 0) >= beats + 2,
      );
    } finally {
      restore();
      await lab().service("controller-1", "cinder-volume", "restart"); // before iprod returns
    }
    await lab().scene.assertBytes();
    met({
      id: "D18",
      behaviour: "after promotion the new site's driver starts with the lost site dead",
      produced: "replication_device put back by another hand, cinder-volume restarted: initialised",
      handled: "promotion leaves replication_device out, so that nothing begins when the lost site returns",
      lost: "0",
    });
  });

  it("doesn't touch the site that returns, and says what it holds", async () => {
    const since = await lab().scene.lastMutation();
    await lab().scene.setReachable("iprod", true);
    const beats = (await lab().row("idr"))?.reportCount ?? 0;
    await lab().service("controller-1", "cinder-volume", "restart");
    await until(
      "idr is initialised",
      () => lab().row("idr"),
      (row) => (row?.reportCount ?? 0) >= beats + 3,
    );
    await lab().up("idr");
    const { decision, warnings } = await lab().preview("idr");
    assert.equal(decision, "nothing");
    const said = warnings.join("\n");
    assert.match(said, /"iprod" isn't touched until reprotect is asked for/);
    assert.match(said, /"pool\d": "iprod" holds [1-9][\d.]* [KM]iB that "idr" doesn't have/);
    assert.deepEqual(await sentToIprod(since), []);
    assert.ok(
      (await lunsAt("iprod")).some(({ maps }) => maps.length > 0),
      "iprod's LUN maps are there still",
    );
    assert.deepEqual(await lab().scene.onArray("iprod", (client) => client.listMirrors(lab().pair.flexVols)), []);

    // With replication_device back, a restart would overwrite it: refused.
    const restore = lab().editConf((text) =>
      text.replace(/^\[idr\]\n/m, "[idr]\nreplication_device = backend_id:iprod\n"),
    );
    try {
      assert.match(await lab().refusalOfReload("idr"), /at its start the driver overwrites what "iprod" holds/);
    } finally {
      restore();
    }
    met({
      id: "L1",
      behaviour: "the lost site has the only copy of what was lost",
      produced: "iprod returned with its maps; cinder-volume restarted, up and preview repeated",
      handled: "nothing was sent to iprod; preview tells what it holds; a restart with replication_device is refused",
      lost: "0",
    });
  });

  it("fences it first, lists what diverged by volume, keeps it; copies the difference, or begins anew", async () => {
    await lab().forgetCommon("pool2", "iprod");
    const preview = await lab().preview("idr", { reprotect: "keepDiverged" });
    assert.deepEqual(preview.failures, []);
    const said = preview.warnings.join("\n");
    assert.match(said, /only at "iprod": .*"never-transferred" \(volume-/);
    assert.match(said, /"grown-later" \(volume-.*\) in another size/);
    assert.match(said, new RegExp(`volume-${ids["gone-later"] ?? ""}`)); // deleted meanwhile: without a name
    assert.match(said, /"pool1": [\d.]+ [KM]iB changed at "idr" since the common snapshot snapmirror\./);
    assert.match(said, /"pool2": no snapshot is common to "idr" and "iprod": a new baseline of up to [\d.]+ GiB/);
    assert.match(preview.sentences.join("\n"), /1 FlexVol by resync: .*; 1 FlexVol by the new baseline/);

    const since = await lab().scene.lastMutation();
    await lab().up("idr", { reprotect: "keepDiverged" });
    const sent = await sentToIprod(since);
    const first = sent.findIndex(({ path }) => !path.includes("/lun-maps/"));
    assert.ok(
      first > 0 && sent.slice(0, first).every(({ method }) => method === "DELETE"),
      JSON.stringify(sent.slice(0, 3)),
    );
    assert.ok(sent.slice(first).every(({ path }) => !path.includes("/lun-maps")));
    const clones = await lab().scene.onArray("iprod", async (client) =>
      (await client.listFlexVols()).filter(({ name }) => /^(pool1_diverged|pool2_former)_/.test(name)),
    );
    assert.equal(clones.length, lab().pair.flexVols.length);
    const kept = (await lunsAt("iprod")).filter(({ path }) => /_(diverged|former)_/.test(path));
    // Under another name: NetApp's driver goes by a LUN's name alone.
    assert.ok(kept.some(({ path }) => path.endsWith(`/diverged-volume-${ids["never-transferred"] ?? ""}`)));
    assert.ok(kept.every(({ path }) => /\/diverged-[^/]+$/.test(path)));
    await lab().normal("idr");
    await lab().scene.assertBytes();
    met({
      id: "L2",
      behaviour: "a resync discards what the lost site holds beyond the common snapshot",
      produced: "a volume never transferred, one deleted and one extended at idr meanwhile, writes on both sides",
      handled:
        "listed by volume in the preview; kept as split clones; the difference since the common snapshot was copied",
      lost: "0",
    });
    met({
      id: "L3",
      behaviour: "without a common snapshot nothing can be resynced",
      produced: "the mirrors' records and iprod's snapshots of pool2 were removed while it was away",
      handled: "preview tells the baseline's size; pool2 of iprod renamed, kept whole; a new one made and initialised",
      lost: "0",
    });
    met({
      id: "D9",
      behaviour: "a detach after the failover unmaps at the new site only: the old one's LUN maps stay",
      produced: "the unplanned failover left iprod's maps",
      handled: "every map at iprod was deleted before anything else was sent to it",
      lost: "0",
    });
  });

  it("fails back planned, after the preview told the difference, with everything that was made meanwhile", async () => {
    // The volume that was lost has no LUN anywhere but in the clone: its row would stop the way home.
    await lab().scene.sql("UPDATE cinder.volumes SET status = 'error' WHERE id = ?", [ids["never-transferred"] ?? ""]);
    await lab().scene.deleteVolume(ids["never-transferred"] ?? "");
    await lab().scene.write("before-home");
    const preview = await lab().preview("iprod");
    assert.deepEqual([preview.failures, preview.route], [[], "failover-host"]);
    assert.match(
      preview.warnings.join("\n"),
      /"pool1": [1-9][\d.]* [KM]iB changed at "idr" since the common snapshot snapmirror\./,
    );
    await gate();
    await shadowed();

    const logged = lab().log("controller-1", "cinder-api").length;
    const since = await lab().scene.lastMutation();
    const reversals: string[] = [];
    await lab().up("iprod");
    for (const request of await lab().scene.mutations(since))
      if (
        /PATCH|POST/.test(request.method) &&
        /snapmirror\/relationships/.test(request.path) &&
        request.cluster === lab().scene.lab.arrays.idr.cluster
      )
        reversals.push(`${request.who} ${request.method}`);
    assert.deepEqual([lab().report().rpoSeconds, lab().report().lostVolumes], [0, []]);
    await lab().normal("iprod");
    await lab().scene.assertBytes();
    const made = await volume("new-at-idr");
    assert.equal(made?.["os-vol-host-attr:host"].split("#")[0], lab().host("iprod"));
    assert.equal(made.status, "available");
    assert.equal((await lunOf("iprod", "grown-later"))?.sizeBytes, 2 * 2 ** 30);
    assert.doesNotMatch(lab().log("controller-1", "cinder-api").slice(logged), /"backend_id": "default"/);
    met({
      id: "D17",
      behaviour:
        "volumes made without replication_device have no replication_status; failover-host moves them all the same",
      produced: "a volume made at idr while iprod was dead: NULL",
      handled: "moved home with the others; its LUN proven at the destination before anything is attached",
      lost: "0",
    });
    met({
      id: "D16",
      behaviour: "the new site's driver turns mirrors round by itself at its start, with the old site's maps in place",
      produced: `the planned failback; requests that changed mirrors: ${[...new Set(reversals)].join(", ")}`,
      handled: "turned round by us before the start, once iprod's and idr's maps were proven away",
      lost: "0",
    });
    await lab().scene.cloud("DELETE", "blockStorage", `/snapshots/${ids["snapshot"] ?? ""}`);
    await until(
      "the snapshot is gone",
      () => lunsAt("iprod"),
      (luns) => !luns.some(({ path }) => path.includes(ids["snapshot"] ?? "")),
    );
    for (const name of ["new-at-idr", "grown-later"]) await lab().scene.deleteVolume(ids[name] ?? "");
  });

  /** A clone for a test has the volumes' LUN names, and NetApp's driver serves a volume by the first LUN of its name. */
  async function shadowed(): Promise<void> {
    await lab().scene.onArray("iprod", async (client) => {
      await client.cloneFlexVol({ parent: "pool1", name: "drill" });
      assert.match(
        await lab().refusals("iprod"),
        /LUNs with the names of the pair's volumes elsewhere .*\/vol\/drill\/volume-/,
      );
      await client.deleteFlexVol("drill");
    });
    met({
      id: "D19",
      behaviour: "the driver finds a volume's LUN by its name in the whole SVM: a clone's LUN is served for it",
      produced: "a FlexClone of pool1 at iprod; what a reprotect keeps",
      handled:
        "refused with the paths; what is kept gets names of its own; each attachment is proven to lead to its LUN",
      lost: "0",
    });
  }

  /** Not before the reverse mirror is whole: quiesced, or broken off, the way home is closed. */
  async function gate(): Promise<void> {
    const [mirror] = await lab().mirrors("iprod");
    assert.ok(mirror);
    await lab().scene.onArray("iprod", (client) => client.setMirrorState(mirror.uuid, "paused"));
    await until(
      "it is paused",
      () => lab().mirrors("iprod"),
      (mirrors) => mirrors.some(({ state }) => state === "paused"),
    );
    try {
      assert.match(await lab().refusals("iprod"), /is paused, not snapmirrored\. Resume it/);
    } finally {
      await lab().scene.onArray("iprod", (client) => client.setMirrorState(mirror.uuid, "snapmirrored"));
    }
    met({
      id: "F1",
      behaviour: "Cinder's failback looks at no mirror",
      produced: "the reverse mirror quiesced; preview of the failback",
      handled: "refused until it is whole; the difference's size is in the preview; never sends default",
      lost: "0",
    });
  }
});
