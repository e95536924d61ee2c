import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { promisify } from "node:util";
import * as mysql from "mysql2/promise";
import { labDown, labUp, missingFor, readLab, readSecret } from "../../lab/lab";
import type { Flavour, LabDescription } from "../../lab/lab";
import { CinderClient } from "../../lib/cinder/client";
import { DrError } from "../../lib/errors";
import { parseCloud } from "../../lib/keystone/clouds-yaml";
import { KeystoneSession } from "../../lib/keystone/session";
import type { KeystoneCredential } from "../../lib/keystone/session";
import { NovaClient } from "../../lib/nova/client";
import { skipBecause } from "../support/skip";
import { enableSite, peerSites } from "./site-pair";

const run = promisify(execFile);

async function until<T>(what: string, look: () => Promise<T | undefined | false>, deadlineMs = 180_000): Promise<T> {
  const end = Date.now() + deadlineMs;
  for (;;) {
    const seen = await look();
    if (seen !== undefined && seen !== false) return seen;
    if (Date.now() > end) throw new Error(`${what}: not within ${deadlineMs / 1000} s`);
    await delay(300);
  }
}

/**
 * The clients of Keystone, Cinder and Nova on a lab's services. CINDER_CHEESECAKE_LAB names the folder of a lab that is
 * up; without it, one of the flavour is brought up and taken down again.
 */
export function clientsSuite(flavour: Flavour): void {
  describe(`clients (${flavour} lab)`, function () {
    this.timeout(600_000);
    let lab: LabDescription;
    let ownDir: string | undefined;
    const sessions: KeystoneSession[] = [];
    let admin: KeystoneSession;
    let cinder: CinderClient;
    let nova: NovaClient;
    let host: string;
    let volumes: string[];
    let serverId: string;

    const sessionOf = (credential: KeystoneCredential, secret: string): KeystoneSession => {
      const session = new KeystoneSession({
        authUrl: lab.endpoints.identity,
        region: lab.region,
        interface: "internal",
        credential,
        secret,
        now: () => new Date(),
      });
      sessions.push(session);
      return session;
    };
    const passwordOf = ({ username, project }: LabDescription["admin"]): KeystoneCredential => ({
      kind: "password",
      username,
      userDomainName: "Default",
      projectName: project,
      projectDomainName: "Default",
    });

    /** For what the product never does: makes the objects to look at. */
    const make = async <T>(type: string, target: string, body?: unknown, microversion?: string): Promise<T> => {
      const answer = await fetch((await admin.endpoint(type)) + target, {
        method: body === undefined ? "GET" : "POST",
        headers: {
          "content-type": "application/json",
          "x-auth-token": await admin.token(),
          ...(microversion === undefined ? {} : { "openstack-api-version": microversion }),
        },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      });
      const text = await answer.text();
      assert.ok(answer.ok, `${type} ${target}: ${answer.status} ${text}`);
      return JSON.parse(text || "{}") as T;
    };

    /** A statement of the database's administrator: for states that are long to come by. */
    const sql = async (statement: string, values: (string | null)[]): Promise<void> => {
      const { host: address, port, services } = lab.database;
      const password = readSecret(services.passwordFile);
      const connection = await mysql.createConnection({ host: address, port, user: services.user, password });
      await connection.query(statement, values);
      await connection.end();
    };
    const refused = (status: number, message: RegExp) => (error: unknown) => {
      assert.ok(DrError.is(error, "remote"), String(error));
      assert.equal(error.context["status"], status, error.message);
      assert.match(error.message, message);
      return true;
    };

    before(async function () {
      const given = process.env["CINDER_CHEESECAKE_LAB"];
      if (given !== undefined) lab = readLab(given);
      else {
        const python = process.env["CINDER_CHEESECAKE_PYTHON"];
        const missing = missingFor(flavour, python);
        if (missing !== undefined) skipBecause(this, missing);
        ownDir = fs.mkdtempSync(path.join(os.tmpdir(), "clients-lab-"));
        lab = await labUp({ flavour, dir: ownDir, python: python ?? "", progress: () => undefined });
      }
      host = `${lab.volumeHost}@iprod`;
      admin = sessionOf(passwordOf(lab.admin), readSecret(lab.admin.passwordFile));
      cinder = new CinderClient({ tokens: admin });
      nova = new NovaClient({ tokens: admin });

      if (!(await cinder.listServices()).some((service) => service.host === host)) {
        await peerSites(lab);
        enableSite(lab, "iprod");
        await run(lab.serviceManager, ["--lab", lab.dir, "--host", "controller-1", "restart", "cinder-volume"]);
      }
      await until("iprod reports its pools", async () =>
        (await cinder.listPools()).some(({ name }) => name.startsWith(`${host}#`)),
      );

      const suffix = String(Date.now());
      const { volume_type: type } = await make<{ volume_type: { id: string } }>("block-storage", "/types", {
        volume_type: {
          name: `clients-${suffix}`,
          extra_specs: { volume_backend_name: "netapp_iscsi", replication_enabled: "<is> True" },
        },
      });
      volumes = [];
      for (const name of ["b", "c"]) {
        const { volume } = await make<{ volume: { id: string } }>("block-storage", "/volumes", {
          volume: { size: 1, name: `data-${name}-${suffix}`, volume_type: type.id },
        });
        volumes.push(volume.id);
      }
      const { images } = await make<{ images: { id: string }[] }>("image", `/v2/images?name=${lab.image}`);
      const { flavors } = await make<{ flavors: { id: string; name: string }[] }>("compute", "/flavors");
      const { server } = await make<{ server: { id: string } }>(
        "compute",
        "/servers",
        {
          server: {
            name: `clients-${suffix}`,
            ...(flavour === "embedded" ? await bootVolume(suffix, images[0]?.id) : { imageRef: images[0]?.id }),
            flavorRef: flavors.find(({ name }) => name === lab.flavor)?.id,
            networks: "none",
          },
        },
        "compute 2.37",
      );
      serverId = server.id;
      await until("the server runs", async () => {
        const { status } = await nova.getServer(serverId);
        assert.notEqual(status, "ERROR");
        return status === "ACTIVE";
      });
      await volumesAre("available");
    });

    /** The simulated Nova knows servers only that boot from a volume. */
    async function bootVolume(suffix: string, imageRef: string | undefined): Promise<object> {
      const { volume_type: type } = await make<{ volume_type: { name: string } }>("block-storage", "/types", {
        volume_type: { name: `roots-${suffix}`, extra_specs: { volume_backend_name: "loweropenstack1" } },
      });
      const { volume } = await make<{ volume: { id: string } }>("block-storage", "/volumes", {
        volume: { size: 1, name: `root-${suffix}`, volume_type: type.name, imageRef },
      });
      await until("the root is there", async () => {
        const below = `/volumes/${volume.id}`;
        return (await make<{ volume: { status: string } }>("block-storage", below)).volume.status === "available";
      });
      const root = { boot_index: 0, uuid: volume.id, source_type: "volume", destination_type: "volume" };
      return { block_device_mapping_v2: [root] };
    }

    after(async () => {
      await Promise.all(
        [cinder, nova, ...sessions].map(async (each) => await (each as CinderClient | undefined)?.close()),
      );
      if (ownDir === undefined) return;
      await labDown(ownDir, { keepLogs: false, progress: () => undefined });
      fs.rmSync(ownDir, { recursive: true, force: true });
    });

    const volumesAre = async (status: string): Promise<void> =>
      void (await until(`the volumes are ${status}`, async () => {
        const seen = (await cinder.listVolumes(host)).filter(({ id }) => volumes.includes(id));
        for (const volume of seen) assert.ok(!volume.status.startsWith("error"), `${volume.id} is ${volume.status}`);
        return seen.length === volumes.length && seen.every((volume) => volume.status === status);
      }));
    const dataAttachments = async () =>
      (await nova.listServerAttachments(serverId)).filter(({ volumeId }) => volumes.includes(volumeId));
    const serverIs = async (status: string): Promise<void> =>
      void (await until(`the server is ${status}`, async () => {
        const seen = await nova.getServer(serverId);
        return seen.status === status && seen.taskState === undefined;
      }));

    describe("KeystoneSession", () => {
      it("opens with an application credential, and with what clouds.yaml says", async () => {
        const { id, secret } = JSON.parse(readSecret(lab.applicationCredentialFile)) as { id: string; secret: string };
        const application = sessionOf({ kind: "applicationCredential", id }, secret);
        assert.equal(await application.endpoint("block-storage"), await admin.endpoint("block-storage"));
        const cloud = new KeystoneSession({
          ...parseCloud({ clouds: fs.readFileSync(lab.cloudsYaml, "utf8") }, "admin"),
          now: () => new Date(),
        });
        sessions.push(cloud);
        assert.match(await cloud.token(), /./);
      });

      it("gives another token after one was refused, and the clients go on", async () => {
        const session = sessionOf(passwordOf(lab.admin), readSecret(lab.admin.passwordFile));
        const token = await session.token();
        const member = sessionOf(passwordOf(lab.demo), readSecret(lab.demo.passwordFile));
        const revoke = async (by: string): Promise<number> => {
          const headers = { "x-auth-token": by, "x-subject-token": token };
          return (await fetch(`${lab.endpoints.identity}/auth/tokens`, { method: "DELETE", headers })).status;
        };
        assert.equal(await revoke(await member.token()), 403);
        assert.equal(await revoke(token), 204);
        const client = new CinderClient({ tokens: session });
        assert.ok((await client.listServices()).length > 0);
        assert.notEqual(await session.token(), token);
        await client.close();
      });

      it("says that a password is wrong", async () => {
        await assert.rejects(sessionOf(passwordOf(lab.admin), "wrong").token(), (error) => DrError.is(error, "config"));
      });
    });

    describe("as a member of a project", () => {
      let member: { cinder: CinderClient; nova: NovaClient };
      before(() => {
        const tokens = sessionOf(passwordOf(lab.demo), readSecret(lab.demo.passwordFile));
        member = { cinder: new CinderClient({ tokens }), nova: new NovaClient({ tokens }) };
      });
      after(async () => {
        await member.cinder.close();
        await member.nova.close();
      });

      it("no list pretends to be complete", async () => {
        await assert.rejects(
          member.cinder.listVolumes(host),
          (error) => DrError.is(error, "remote") && error.context["status"] === 400,
        );
        await assert.rejects(member.cinder.listSnapshots(), (error) => DrError.is(error, "precondition"));
        await assert.rejects(member.cinder.listAttachments(), (error) => DrError.is(error, "precondition"));
        for (const refused of [
          () => member.cinder.listServices(),
          () => member.cinder.listPools(),
          () => member.nova.listServers(),
          () => member.nova.listComputeServices(),
        ])
          await assert.rejects(
            refused,
            (error) =>
              DrError.is(error, "remote") && error.context["status"] === 403 && /role admin/.test(error.remedy ?? ""),
          );
      });
    });

    describe("CinderClient", () => {
      it("lists services, volumes and snapshots", async () => {
        const service = (await cinder.listServices()).find((each) => each.host === host);
        assert.ok(service);
        assert.deepEqual(
          { binary: service.binary, up: service.up, frozen: service.frozen },
          { binary: "cinder-volume", up: true, frozen: false },
        );
        assert.ok(Math.abs(Date.parse(service.updatedAt ?? "") - Date.now()) < 3_600_000);
        const volume = (await cinder.listVolumes(host)).find(({ id }) => id === volumes[0]);
        assert.ok(volume);
        assert.match(volume.host, /^cinder-dr@iprod#pool[12]$/);
        assert.equal(volume.sizeGiB, 1);
        assert.equal(volume.replicationStatus, "enabled");
        const { snapshot } = await make<{ snapshot: { id: string } }>("block-storage", "/snapshots", {
          snapshot: { volume_id: volumes[0] },
        });
        await until("the snapshot is there", async () =>
          (await cinder.listSnapshots()).some(({ id, status }) => id === snapshot.id && status === "available"),
        );
        assert.equal((await cinder.listSnapshots()).find(({ id }) => id === snapshot.id)?.volumeId, volumes[0]);
      });

      it("disables a service, and enables it again", async () => {
        await cinder.disableService(host, "switchover rehearsal");
        const disabled = (await cinder.listServices()).find((each) => each.host === host);
        assert.deepEqual([disabled?.enabled, disabled?.disabledReason], [false, "switchover rehearsal"]);
        await cinder.enableService(host);
        const enabled = (await cinder.listServices()).find((each) => each.host === host);
        assert.deepEqual([enabled?.enabled, enabled?.frozen, enabled?.disabledReason], [true, false, undefined]);
        await cinder.enableService(host);
      });

      it("says why a backend can't fail over", async () => {
        await assert.rejects(cinder.failoverHost(`${lab.volumeHost}@loweropenstack1`, "idr"), (error) => {
          assert.ok(DrError.is(error, "remote"));
          assert.equal(error.context["status"], 400);
          assert.equal(error.retryable, false);
          return true;
        });
        await assert.rejects(cinder.failoverHost(`${lab.volumeHost}@nowhere`, "idr"), (error) =>
          DrError.is(error, "precondition"),
        );
      });

      it("attaches no volume in error, and resets states as an administrator does", async () => {
        const [b = ""] = volumes;
        const reset = (to: object) => make("block-storage", `/volumes/${b}/action`, { "os-reset_status": to });
        await sql("UPDATE cinder.volumes SET status = 'error_extending', migration_status = 'migrating' WHERE id = ?", [
          b,
        ]);
        await assert.rejects(
          nova.attachVolume({ serverId, volumeId: b, deleteOnTermination: false }),
          refused(400, /error/),
        );
        await assert.rejects(reset({ status: "deleting" }), /400.*Cannot reset-state to deleting/);
        await assert.rejects(reset({ status: "in-use" }), /400.*does not have any attachments/);
        await reset({ status: "available", migration_status: "none" });
        const volume = (await cinder.listVolumes(host)).find(({ id }) => id === b);
        assert.deepEqual([volume?.status, volume?.migrationStatus], ["available", undefined]);
      });

      it("leaves a volume alone that isn't detaching", async () => {
        await cinder.rollDetaching(volumes[0] ?? "");
        await volumesAre("available");
      });
    });

    describe("NovaClient", () => {
      it("lists servers and compute services", async () => {
        const server = (await nova.listServers()).find(({ id }) => id === serverId);
        assert.deepEqual(server, await nova.getServer(serverId));
        assert.deepEqual(
          [server?.status, server?.hostStatus, server?.locked, server?.powerState],
          ["ACTIVE", "UP", false, 1],
        );
        const hosts = (await nova.listComputeServices())
          .filter(({ up, enabled }) => up && enabled)
          .map((service) => service.host);
        assert.ok(hosts.includes(server?.host ?? ""));
      });

      it("locks with a reason, and unlocks", async () => {
        await nova.lock(serverId, "switchover rehearsal");
        await nova.lock(serverId, "switchover rehearsal");
        const locked = await nova.getServer(serverId);
        assert.deepEqual([locked.locked, locked.lockedReason], [true, "switchover rehearsal"]);
        await nova.unlock(serverId);
        await nova.unlock(serverId);
        assert.equal((await nova.getServer(serverId)).locked, false);
      });

      it("stops and starts, however often it is told", async () => {
        await nova.stop(serverId);
        await nova.stop(serverId);
        await serverIs("SHUTOFF");
        await nova.stop(serverId);
        await nova.start(serverId);
        await nova.start(serverId);
        await serverIs("ACTIVE");
        await nova.start(serverId);
        assert.deepEqual(
          (await nova.listActions(serverId)).slice(0, 2).map(({ action }) => action),
          ["start", "stop"],
        );
      });

      it("attaches in order, and tells device, verdict and connection", async () => {
        const [b = "", c = ""] = volumes;
        assert.equal(
          await nova.attachVolume({
            serverId,
            volumeId: b,
            device: "/dev/vdb",
            tag: "logs",
            deleteOnTermination: true,
          }),
          "/dev/vdb",
        );
        assert.equal(
          await nova.attachVolume({ serverId, volumeId: c, device: "/dev/vdc", deleteOnTermination: false }),
          "/dev/vdc",
        );
        await volumesAre("in-use");
        // A repeat after a crash.
        assert.equal(
          await nova.attachVolume({ serverId, volumeId: c, device: "/dev/vdc", deleteOnTermination: false }),
          "/dev/vdc",
        );

        const attachments = await dataAttachments();
        assert.deepEqual(
          attachments.map(({ volumeId, device, tag, deleteOnTermination }) => ({
            volumeId,
            device,
            tag,
            deleteOnTermination,
          })),
          [
            { volumeId: b, device: "/dev/vdb", tag: "logs", deleteOnTermination: true },
            { volumeId: c, device: "/dev/vdc", tag: undefined, deleteOnTermination: false },
          ],
        );
        const seen = (await cinder.listAttachments()).filter(
          (attachment) => attachment.serverId === serverId && volumes.includes(attachment.volumeId),
        );
        assert.deepEqual(seen.map(({ id }) => id).sort(), attachments.map(({ attachmentId }) => attachmentId).sort());
        const lunNumbers = new Set<number | undefined>();
        for (const { status, connection } of seen) {
          assert.equal(status, "attached");
          assert.equal(connection?.type, "iscsi");
          assert.match(connection?.iqn ?? "", /^iqn\.1992-08\.com\.netapp:/);
          assert.ok(lab.arrays.iprod.iscsiAddresses.some((address) => connection?.portal === `${address}:3260`));
          lunNumbers.add(connection?.lun);
        }
        assert.ok(!lunNumbers.has(undefined) && lunNumbers.size === 2);
        const inCinder = (await cinder.listVolumes(host)).find(({ id }) => id === b)?.attachments;
        assert.deepEqual(
          inCinder?.map(({ serverId: server, device, host: compute }) => ({ server, device, compute })),
          [{ server: serverId, device: "/dev/vdb", compute: (await nova.getServer(serverId)).host }],
        );

        const [last] = await nova.listActions(serverId);
        assert.equal(last?.action, "attach_volume");
        await until(
          "Nova has its verdict",
          async () => (await nova.findActionResult(serverId, last.requestId))?.result === "success",
        );
        assert.equal(await nova.findActionResult(serverId, "req-00000000-0000-0000-0000-000000000000"), undefined);
      });

      it("is refused what the volume's or the server's state doesn't allow", async function () {
        if (flavour === "embedded") skipBecause(this, "the simulated Nova doesn't know rescue");
        const [b = ""] = volumes;
        const other = "00000000-0000-0000-0000-000000000000";
        await assert.rejects(
          nova.attachVolume({ serverId, volumeId: other, deleteOnTermination: false }),
          (error) => DrError.is(error, "remote") && error.context["status"] === 404,
        );
        await assert.rejects(
          nova.stop(other),
          (error) => DrError.is(error, "remote") && error.context["status"] === 404,
        );
        await nova.stop(serverId);
        await serverIs("SHUTOFF");
        await make("compute", `/servers/${serverId}/action`, { rescue: {} });
        await serverIs("RESCUE");
        await assert.rejects(
          nova.detachVolume(serverId, b),
          (error) => DrError.is(error, "remote") && !error.retryable && /unrescue/.test(error.remedy ?? ""),
        );
        await assert.rejects(
          nova.stop(serverId),
          (error) => DrError.is(error, "remote") && !error.retryable && /RESCUE/.test(error.state ?? ""),
        );
        await make("compute", `/servers/${serverId}/action`, { unrescue: null });
        await serverIs("ACTIVE");
      });

      it("has a word for each state, and is refused what Nova refuses in it", async () => {
        const [b = ""] = volumes;
        const state = (vm: string, task: string | null) =>
          sql("UPDATE nova.instances SET vm_state = ?, task_state = ? WHERE uuid = ?", [vm, task, serverId]);
        const words = [
          ["paused", null, "PAUSED", ["stop"]],
          ["suspended", null, "SUSPENDED", ["stop", "detach"]],
          ["rescued", null, "RESCUE", ["stop", "detach"]],
          ["resized", null, "VERIFY_RESIZE", ["stop"]],
          ["shelved", null, "SHELVED", ["stop"]],
          ["error", null, "ERROR", ["detach"]],
          ["soft-delete", null, "SOFT_DELETED", ["stop"]],
          ["active", "migrating", "MIGRATING", ["stop", "detach"]],
          ["active", "resize_prep", "RESIZE", ["stop", "detach"]],
          ["active", "rebooting_hard", "HARD_REBOOT", ["stop", "detach"]],
          ["active", "updating_password", "PASSWORD", ["stop", "detach"]],
          ["stopped", "rebuilding", "REBUILD", ["detach"]],
          ["resized", "resize_reverting", "REVERT_RESIZE", ["stop", "detach"]],
        ] as const;
        try {
          for (const [vm, task, word, refusals] of words) {
            await state(vm, task);
            assert.equal((await nova.getServer(serverId)).status, word);
            assert.equal(
              (await nova.listServers()).some(({ id }) => id === serverId),
              word !== "SOFT_DELETED",
            );
            for (const what of refusals)
              await assert.rejects(
                what === "stop" ? nova.stop(serverId) : nova.detachVolume(serverId, b),
                refused(409, /while it is in (vm|task)_state/),
              );
          }
        } finally {
          await state("active", null);
        }
      });

      it("tells a disabled compute host from one that was forced down, over which nothing is detached", async () => {
        const { host: compute = "" } = await nova.getServer(serverId);
        const service = (set: string) =>
          sql(`UPDATE nova.services SET ${set} WHERE \`binary\` = 'nova-compute' AND host = ?`, [compute]);
        const seen = async () => {
          const [{ hostStatus }, services] = [await nova.getServer(serverId), await nova.listComputeServices()];
          const { up, enabled } = services.find((each) => each.host === compute) ?? {};
          return [hostStatus, up, enabled];
        };
        try {
          await service("disabled = 1");
          assert.deepEqual(await seen(), ["MAINTENANCE", true, false]);
          await service("forced_down = 1");
          assert.deepEqual(await seen(), ["DOWN", false, false]);
          await assert.rejects(nova.detachVolume(serverId, volumes[0] ?? ""), refused(409, /Service is unavailable/));
        } finally {
          await service("disabled = 0, forced_down = 0");
        }
        assert.deepEqual(await seen(), ["UP", true, true]);
      });

      it("detaches, however often it is told", async () => {
        for (const volumeId of volumes) await nova.detachVolume(serverId, volumeId);
        await until("Nova has no volume there", async () => (await dataAttachments()).length === 0);
        await volumesAre("available");
        for (const volumeId of volumes) await nova.detachVolume(serverId, volumeId);
        assert.deepEqual(
          (await cinder.listAttachments()).filter(({ volumeId }) => volumes.includes(volumeId)),
          [],
        );
        await nova.detachVolume("00000000-0000-0000-0000-000000000000", volumes[0] ?? "");
      });
    });

    // Last, and in a suite of its own: mocha runs a suite's own tests before those of the suites in it.
    describe("a poller", () => {
      /** Statuses one after another, from before it's told until the last one is reached. */
      async function seen(read: () => Promise<string>, tell: () => Promise<unknown>, last: string): Promise<string[]> {
        const statuses = [await read()];
        let told = false;
        const telling = tell().finally(() => (told = true));
        const end = Date.now() + 120_000;
        for (;;) {
          const status = await read();
          if (status !== statuses.at(-1)) statuses.push(status);
          if (told && status === last) break;
          if (Date.now() > end) throw new Error(`${last} wasn't reached: ${statuses.join(", ")}`);
          await delay(5);
        }
        await telling;
        return statuses;
      }
      /** A poller may miss some, but sees none in another order. The embedded lab answers fast enough to see one on the way. */
      function inOrder(statuses: readonly string[], order: readonly string[]): void {
        const places = statuses.map((status) => order.indexOf(status));
        const said = `${statuses.join(" → ")}; order: ${order.join(" → ")}`;
        assert.ok(!places.includes(-1), said);
        assert.deepEqual(
          places,
          places.toSorted((a, b) => a - b),
          said,
        );
        assert.deepEqual([statuses[0], statuses.at(-1)], [order[0], order.at(-1)], said);
        if (flavour === "embedded") assert.ok(statuses.length > 2, `nothing was seen on the way: ${said}`);
      }
      const volumeCall = async (id: string, method: "GET" | "DELETE"): Promise<Response> =>
        fetch(`${await admin.endpoint("block-storage")}/volumes/${id}`, {
          method,
          headers: { "x-auth-token": await admin.token() },
        });
      const volumeStatus = (id: string) => async () => {
        const answer = await volumeCall(id, "GET");
        if (answer.status === 404) return "gone";
        return ((await answer.json()) as { volume: { status: string } }).volume.status;
      };
      const serverStatus = async (): Promise<string> => {
        const { status, taskState } = await nova.getServer(serverId);
        return taskState === undefined ? status : `${status}, ${taskState}`;
      };

      it("sees an instance's statuses in their order", async () => {
        await serverIs("ACTIVE");
        const stopped = await seen(serverStatus, () => nova.stop(serverId), "SHUTOFF");
        inOrder(stopped, ["ACTIVE", "ACTIVE, powering-off", "SHUTOFF"]);
        const started = await seen(serverStatus, () => nova.start(serverId), "ACTIVE");
        inOrder(started, ["SHUTOFF", "SHUTOFF, powering-on", "ACTIVE"]);
      });

      it("sees a volume's statuses in their order", async () => {
        const [id = ""] = volumes;
        const attach = () => nova.attachVolume({ serverId, volumeId: id, deleteOnTermination: false });
        const attached = await seen(volumeStatus(id), attach, "in-use");
        inOrder(attached, ["available", "reserved", "attaching", "in-use"]);
        const detached = await seen(volumeStatus(id), () => nova.detachVolume(serverId, id), "available");
        inOrder(detached, ["in-use", "detaching", "available"]);
      });

      it("sees a volume come and go", async () => {
        const { volume } = await make<{ volume: { id: string; status: string } }>("block-storage", "/volumes", {
          volume: { size: 1, name: "polled", volume_type: await volumeTypeOf(volumes[0] ?? "") },
        });
        assert.equal(volume.status, "creating");
        await until("it is available", async () => (await volumeStatus(volume.id)()) === "available");
        inOrder(await seen(volumeStatus(volume.id), () => volumeCall(volume.id, "DELETE"), "gone"), [
          "available",
          "deleting",
          "gone",
        ]);
      });

      const volumeTypeOf = async (id: string): Promise<string> =>
        (await make<{ volume: { volume_type: string } }>("block-storage", `/volumes/${id}`)).volume.volume_type;
    });

    describe("CinderClient.failoverHost", () => {
      it("fails a backend over, once, however often it is told", async function () {
        if (ownDir === undefined) skipBecause(this, "the lab is somebody's, and would stay failed over");
        await cinder.failoverHost(host, "idr");
        await cinder.failoverHost(host, "idr");
        const service = await until("the service is failed over", async () => {
          const seen = (await cinder.listServices()).find((each) => each.host === host);
          assert.notEqual(seen?.replicationStatus, "failover-error");
          return seen?.replicationStatus === "failed-over" && seen;
        });
        assert.deepEqual([service.activeBackendId, service.enabled], ["idr", false]);
        await until("the volumes are failed over", async () =>
          (await cinder.listVolumes(host)).every(({ replicationStatus }) => replicationStatus === "failed-over"),
        );
        await cinder.failoverHost(host, "idr");
        assert.equal(
          (await cinder.listServices()).find((each) => each.host === host)?.replicationStatus,
          "failed-over",
        );
      });
    });
  });
}
