import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { changeOntap } from "../site-pair";
import { until } from "../support";
import { met } from "../../support/hazards";
import { hook, onSharedLab } from "./support";

/**
 * What Nova and Cinder leave half done, met in one journey that is taken back before its cutover: no data is moved, but
 * every volume is detached and attached again.
 */
onSharedLab("hazards: attachments", "openstack", (lab) => {
  interface Mapping {
    readonly volumeId: string;
    readonly device: string;
    readonly attachment_id: string;
  }

  const guest = async (name = "guest-01") => {
    const server = (await lab().scene.servers()).find((one) => one.name === name);
    assert.ok(server);
    return server;
  };

  async function mappings(server: string): Promise<Mapping[]> {
    const below = `/servers/${server}/os-volume_attachments`;
    return (await lab().scene.cloud<{ volumeAttachments: Mapping[] }>("GET", "compute", below)).volumeAttachments;
  }

  const devices = async (server: string): Promise<Record<string, string>> =>
    Object.fromEntries((await mappings(server)).map(({ volumeId, device }) => [volumeId, device]));

  const at = (all: readonly Mapping[], device: string): string => {
    const found = all.find((one) => one.device === device);
    assert.ok(found, `nothing is at ${device}`);
    return found.volumeId;
  };

  const status = async (volume: string) => (await lab().scene.volumes()).find(({ id }) => id === volume)?.status;

  async function computesWith(edit: (text: string) => string): Promise<() => Promise<void>> {
    const { computes, dir } = lab().scene.lab;
    const files = computes.map(({ name }) => ({
      name,
      file: path.join(dir, "computes", name, "etc", "nova", "nova.conf"),
    }));
    const before = files.map(({ file }) => readFileSync(file, "utf8"));
    files.forEach(({ file }, index) => {
      const text = before[index] ?? "";
      assert.notEqual(edit(text), text);
      writeFileSync(file, edit(text));
    });
    await (
      await lab().withoutComputes()
    )();
    return async () => {
      files.forEach(({ file }, index) => writeFileSync(file, before[index] ?? ""));
      await (
        await lab().withoutComputes()
      )();
    };
  }

  /** Each time when a detach hangs and nothing else goes on, the time passes that a stall is given. */
  async function impatient(over: AbortSignal): Promise<void> {
    const statuses = async (): Promise<string> =>
      (await lab().scene.volumes()).map((volume) => `${volume.id} ${volume.status}`).join();
    while (!over.aborted) {
      const seen = await statuses();
      await new Promise((resolve) => setTimeout(resolve, 5_000));
      if (over.aborted || !seen.includes("detaching") || seen !== (await statuses())) continue;
      lab().clock.advance(430);
      await until("it is tried again", statuses, (now) => now !== seen || over.aborted, 15_000).catch(() => undefined);
    }
  }

  it("can't be told to enable or disable, and Nova's attachments can't be deleted past it", async () => {
    const host = lab().host("iprod");
    await lab().scene.cloud("PUT", "blockStorage", "/os-services/disable", { host, binary: "cinder-volume" });
    assert.equal((await lab().row("iprod"))?.disabled, false, "disable works: this Cinder is another one");
    const [mapping] = await mappings((await guest()).id);
    await assert.rejects(
      lab().scene.cloud("DELETE", "blockStorage", `/attachments/${mapping?.attachment_id ?? ""}`),
      /409/,
    );
    met({
      id: "N6.1",
      behaviour: "PUT enable and disable answer 200 and change nothing (Cinder 28, 29)",
      produced: "PUT /os-services/disable: 200, the row still enabled",
      handled: "disables by disable-log-reason, enables by freeze and thaw, and reads the row back",
      lost: "0",
    });
    met({
      id: "N2.16",
      behaviour: "Cinder refuses (409) to delete an attachment that Nova has, without a service token",
      produced: "DELETE /attachments/{id} by an administrator: 409",
      handled: "never deletes attachments; asks Nova, which has the token",
      lost: "0",
    });
  });

  it("keeps device names although they follow the order of attaching, which isn't that of the devices", async () => {
    const { id } = await guest();
    const before = await mappings(id);
    const [b, c] = [at(before, "/dev/vdb"), at(before, "/dev/vdc")];
    for (const volume of [b, c]) await lab().scene.detach(id, volume);
    for (const volume of [c, b]) await lab().scene.attach(id, volume);
    assert.deepEqual(await devices(id), {
      ...Object.fromEntries(before.map((m) => [m.volumeId, m.device])),
      [c]: "/dev/vdb",
      [b]: "/dev/vdc",
    });
    for (const volume of [c, b]) await lab().scene.detach(id, volume);
    for (const volume of [b, c]) await lab().scene.attach(id, volume);
    // Now vdb is attached anew, after vdc: Nova lists it last.
    await lab().scene.detach(id, b);
    await lab().scene.attach(id, b);
    assert.deepEqual(await devices(id), Object.fromEntries(before.map((m) => [m.volumeId, m.device])));
    met({
      id: "N3.4",
      behaviour: "device names follow the order of attaching, whatever is asked for",
      produced: "two volumes attached in the other order had each other's names; then vdb attached after vdc",
      handled: "attaches one after another in the order of devices; the journey below keeps every name",
      lost: "0",
    });
  });

  it("is taken back whole: a forgotten detach, a dead cinder-volume, a refused service token, a dead nova-compute", async () => {
    await lab().scene.write("before-taken-back");
    const { id } = await guest();
    const before = await devices(id);
    const others = await devices((await guest("guest-02")).id);
    const vdb = at(await mappings(id), "/dev/vdb");
    await lab().scene.cloud("POST", "blockStorage", `/volumes/${vdb}/action`, { "os-begin_detaching": {} });
    assert.equal(await status(vdb), "detaching");

    // A detach that nobody carries out; then cinder-volume dies right before the volumes are detached.
    let rolled = "";
    const drained = (line: string): void => {
      // Again where that was before the step began to wait.
      const pass = (): void => {
        if (rolled !== "") return;
        lab().clock.advance(430);
        setTimeout(pass, 30_000).unref();
      };
      if (line.includes("hold/drain-transient: Wait")) setTimeout(pass, 2_000);
      if (line.startsWith("rolling volume")) rolled = line;
    };
    const [map] = await lab().scene.onArray("iprod", (client) => client.listLunMaps(lab().pair.flexVols));
    assert.ok(map);
    const hooks = [hook("before:detach"), hook("before:cutover")];
    lab().meanwhile = {
      "before:detach": () => lab().kill("controller-1", "cinder-volume"),
      "before:cutover": () =>
        changeOntap(
          lab().scene.lab,
          "iprod",
          "/api/protocols/san/lun-maps",
          { svm: { name: lab().scene.lab.arrays.iprod.svm }, lun: { name: map.lunPath }, igroup: { name: map.igroup } },
          "POST",
        ),
    };
    const gate = await lab().failedUp("idr", { hooks }, drained);
    assert.match(gate, /no cinder-volume consumes the queue of/);
    assert.match(rolled, /it was left detaching/);
    assert.equal(await status(vdb), "in-use");
    assert.deepEqual(await devices(id), before);
    met({
      id: "N2.12",
      behaviour: "a volume left detaching refuses every detach until it's rolled back",
      produced: "os-begin_detaching without anybody who detaches",
      handled: "rolled back to in-use once it is detaching for longer than any detach takes; then detached",
      lost: "0",
    });
    met({
      id: "N2.13",
      behaviour: "a detach while cinder-volume is down hangs for 5 minutes, holds locks, leaves the volume detaching",
      produced: "cinder-volume killed between quiesce and detach; its service still called up",
      handled: "the step sees that nobody consumes the queue and asks Nova for nothing",
      lost: "0",
    });
    await lab().service("controller-1", "cinder-volume", "start");
    await until(
      "cinder-volume consumes",
      () => lab().queues("iprod"),
      (queues) => queues.some((q) => q.consumers > 0),
    );

    // Nova's calls to Cinder without a service token.
    const restore = await computesWith((text) =>
      text.replace("send_service_user_token = true", "send_service_user_token = false"),
    );
    const over = new AbortController();
    try {
      const refused = await lab().failedUp("idr", { hooks }, (line) => {
        if (line.includes("detach/volumes: Detach")) void impatient(over.signal);
      });
      assert.match(refused, /after 4 attempts/);
      assert.match(refused, /service token/);
    } finally {
      over.abort();
      await restore();
    }
    assert.deepEqual(await devices(id), before);
    met({
      id: "N8.7",
      behaviour: "without Nova's service token Cinder refuses the end of a detach, and the volume stays detaching",
      produced: "send_service_user_token = false on the compute hosts",
      handled:
        "rolled back and tried four times, then given up with the likely cause; after the repair it goes on from there",
      lost: "0",
    });

    // Somebody maps a LUN at the source again, after the last transfer.
    const error = await lab().failedUp("idr", { hooks });
    assert.match(error, /Prove that "iprod" maps none of the pair's LUNs/);
    assert.match(error, new RegExp(`${map.lunPath} is mapped to ${map.igroup}`));
    assert.deepEqual(
      (await lab().mirrors("idr")).map(({ state }) => state),
      ["snapmirrored", "snapmirrored"],
    );
    met({
      id: "I2",
      behaviour: "never two writable sides that both are mapped to hosts",
      produced: "a LUN mapped at iprod by hand between the last transfer and the cutover",
      handled: "the cutover isn't begun: no failover_host was sent, every mirror is whole",
      lost: "0",
    });

    // The way back, while nova-compute is dead.
    const startAgain = await lab().withoutComputes();
    const down = await lab().failedUp("iprod");
    assert.match(down, /nova-compute on "compute-\d" is down/);
    await startAgain();
    await lab().up("iprod");
    assert.equal(lab().report().verdict, "aborted");
    assert.deepEqual(await devices(id), before);
    assert.deepEqual(await devices((await guest("guest-02")).id), others);
    await lab().home();
    await lab().scene.assertBytes();
    met({
      id: "N3.12",
      behaviour: "an attach while nova-compute is down leaves a mapping that blocks the volume everywhere",
      produced: "nova-compute killed on every host before the volumes are attached again",
      handled: "the step asks whether it is up before each attach, and goes on once it is",
      lost: "0",
    });
  });

  it("refuses a planned switchover while cinder-volume is down, and an instance whose host is", async () => {
    await lab().kill("controller-1", "cinder-volume");
    const startAgain = await lab().withoutComputes();
    try {
      const said = await lab().refusals("idr");
      assert.match(said, /no cinder-volume consumes the queue of cinder-dr@iprod: a volume can't be detached over it/);
      assert.match(said, /instance "guest-01" .* is on compute host "compute-\d", which is down/);
    } finally {
      await lab().service("controller-1", "cinder-volume", "start");
      await startAgain();
    }
    await lab().serviceIs("iprod", "up");
    met({
      id: "N2.2",
      behaviour: "detach and attach need nova-compute and cinder-volume, whose death shows late",
      produced: "both killed; preview",
      handled: "preflight refuses: the queue without consumer at once, the hosts as soon as Nova knows",
      lost: "0",
    });
  });
});
