import assert from "node:assert/strict";
import { DrError } from "../../../lib/errors";
import { ControllerHost } from "../../../lib/controller-host/controller-host";
import type { CommandResult, CommandRunner, RunOptions } from "../../../lib/controller-host";
import { connectController } from "../../../lib/controller-host";
import type { ControllerOptions } from "../../../lib/controller-host";
import type { ControllerPort } from "../../../lib/switchover/ports";
import type { Controller } from "../../../lib/topology/site-pair";

/** Answers commands by a function over a state of its own; what it doesn't know is an error. */
class FakeRunner implements CommandRunner {
  readonly commands: string[] = [];
  constructor(
    private readonly answer: (
      command: string,
      argv: readonly string[],
    ) => string | number | { code: number; stderr: string } | undefined,
  ) {}
  run(argv: readonly string[], _options?: RunOptions): Promise<CommandResult> {
    const command = argv[0] === "sh" ? `sh ${argv.slice(4).join(" ")}` : argv.join(" ");
    this.commands.push(command);
    const answer = this.answer(command, argv);
    if (answer === undefined) throw new Error(`unexpected command: ${command}`);
    const { code, stdout, stderr } =
      typeof answer === "string"
        ? { code: 0, stdout: answer, stderr: "" }
        : typeof answer === "number"
          ? { code: answer, stdout: "", stderr: "" }
          : { ...answer, stdout: "" };
    return Promise.resolve({ code, stdout: Buffer.from(stdout), stderr });
  }
  exitCodes(): Promise<number[]> {
    throw new Error("only custom commands are asked so");
  }
  close(): Promise<void> {
    return Promise.resolve();
  }
  get changes(): string[] {
    return this.commands.filter((command) => !/ (show|inspect) |journalctl|^date/.test(command));
  }
}

const units = [{ role: "volume" as const, unit: "cinder-volume.service", startedHere: true }];
const host = (services: ControllerOptions["services"], runner: CommandRunner): ControllerPort =>
  new ControllerHost({ kind: "local", name: "ctl1", cinderConf: "/etc/cinder/cinder.conf", services }, runner);

it("takes a controller as the site pair declares it", () => {
  // Never called: the types are what is tested.
  const typed = (controller: Controller): ControllerPort => connectController(controller);
  assert.equal(typeof typed, "function");
});

describe("systemd", () => {
  /** Units as `systemctl show` of systemd 252 prints them. */
  const machine = (
    start: { active?: boolean; etc?: boolean; stuck?: boolean; missing?: boolean; orphan?: boolean } = {},
  ) => {
    const state = { active: start.active ?? true, masked: false, dropIn: false };
    return {
      state,
      runner: new FakeRunner((command) => {
        if (command.startsWith("systemctl show")) {
          if (start.missing) return "LoadState=not-found\nActiveState=inactive\nMainPID=0\nDropInPaths=\n";
          const tasks = state.active || start.orphan ? "3" : "[not set]";
          return (
            `LoadState=${state.masked ? "masked" : "loaded"}\nActiveState=${state.active ? "active" : "inactive"}\nMainPID=${state.active ? 4711 : 0}\n` +
            `TasksCurrent=${tasks}\nDropInPaths=${state.dropIn ? "/etc/systemd/system/x.d/99-cinder-cheesecake-masked.conf" : ""}\n`
          );
        }
        switch (command) {
          case "systemctl mask -- cinder-volume.service":
            if (start.etc)
              return {
                code: 1,
                stderr: "Failed to mask unit: File '/etc/systemd/system/cinder-volume.service' already exists.",
              };
            state.masked = true;
            return 0;
          case "systemctl stop -- cinder-volume.service":
            if (start.stuck) return { code: 1, stderr: "Job for cinder-volume.service canceled." };
            state.active = false;
            return 0;
          case "systemctl unmask -- cinder-volume.service":
            state.masked = false;
            return 0;
          case "systemctl reset-failed -- cinder-volume.service":
            return 1;
          case "systemctl start -- cinder-volume.service":
          case "systemctl restart -- cinder-volume.service":
            if (state.masked || state.dropIn) return { code: 1, stderr: "Unit cinder-volume.service is masked." };
            state.active = true;
            return 0;
          case "sh cinder-volume.service":
            state.dropIn = !state.dropIn && start.etc === true && !state.masked;
            return 0;
        }
        return undefined;
      }),
    };
  };

  it("masks first, then stops, and does nothing when it's so already", async () => {
    const { runner, state } = machine();
    const controller = host({ manager: "systemd", units }, runner);
    await controller.stopAndMask("cinder-volume.service");
    assert.deepEqual(runner.changes, [
      "systemctl mask -- cinder-volume.service",
      "systemctl stop -- cinder-volume.service",
    ]);
    assert.deepEqual(state, { active: false, masked: true, dropIn: false });
    assert.deepEqual(await controller.listUnits(), [
      { role: "volume", unit: "cinder-volume.service", startedHere: true, active: false, masked: true },
    ]);
    await controller.stopAndMask("cinder-volume.service");
    assert.equal(runner.changes.length, 2);
  });
  it("masks a unit of /etc/systemd/system by a drop-in", async () => {
    const { runner, state } = machine({ etc: true });
    const controller = host({ manager: "systemd", units }, runner);
    await controller.stopAndMask("cinder-volume.service");
    assert.deepEqual(state, { active: false, masked: false, dropIn: true });
    await controller.unmaskAndStart("cinder-volume.service");
    assert.deepEqual(state, { active: true, masked: false, dropIn: false });
  });
  it("unmasks and starts, and unmasks alone leaves it stopped", async () => {
    const { runner, state } = machine();
    const controller = host({ manager: "systemd", units }, runner);
    await controller.stopAndMask("cinder-volume.service");
    await controller.unmask("cinder-volume.service");
    assert.equal(state.active, false);
    await controller.unmaskAndStart("cinder-volume.service");
    assert.equal(state.active, true);
    await controller.restart("cinder-volume.service");
  });
  it("refuses to restart a masked unit, an unknown one, and one that isn't configured", async () => {
    const { runner } = machine();
    const controller = host({ manager: "systemd", units }, runner);
    await controller.stopAndMask("cinder-volume.service");
    await assert.rejects(controller.restart("cinder-volume.service"), (error) => DrError.is(error, "precondition"));
    await assert.rejects(controller.stopAndMask("sshd.service"), (error) => DrError.is(error, "config"));
    const nothing = host({ manager: "systemd", units }, machine({ missing: true }).runner);
    await assert.rejects(
      nothing.stopAndMask("cinder-volume.service"),
      (error: Error) => DrError.is(error, "config") && /no such unit/.test(error.message),
    );
  });
  it("says why a stop failed, and counts a process without a main process as running", async () => {
    const stuck = host({ manager: "systemd", units }, machine({ stuck: true }).runner);
    await assert.rejects(
      stuck.stopAndMask("cinder-volume.service"),
      (error: Error) => DrError.is(error, "remote") && /canceled/.test(error.message),
    );
    const orphan = host({ manager: "systemd", units }, machine({ active: false, orphan: true }).runner);
    assert.equal((await orphan.listUnits())[0]?.active, true);
  });
  it("asks for all units by one command", async () => {
    const runner = new FakeRunner((command) =>
      command ===
      "systemctl show --property=LoadState,ActiveState,MainPID,TasksCurrent,DropInPaths -- cinder-volume.service cinder-api.service"
        ? "LoadState=loaded\nActiveState=active\nMainPID=7\nDropInPaths=\n\nLoadState=masked\nActiveState=inactive\nMainPID=0\nDropInPaths=\n"
        : undefined,
    );
    const both = [...units, { role: "api" as const, unit: "cinder-api.service", startedHere: true }];
    assert.deepEqual(await host({ manager: "systemd", units: both }, runner).listUnits(), [
      { role: "volume", unit: "cinder-volume.service", startedHere: true, active: true, masked: false },
      { role: "api", unit: "cinder-api.service", startedHere: true, active: false, masked: true },
    ]);
  });
  it("takes no unit for another where more is answered than was asked", async () => {
    const runner = new FakeRunner(() => "Welcome to ctl1!\n\nLoadState=loaded\nActiveState=active\nMainPID=7\n");
    await assert.rejects(
      host({ manager: "systemd", units }, runner).listUnits(),
      (error: Error) =>
        DrError.is(error, "remote") && /systemctl show answered for 2 of 1: Welcome/.test(error.message),
    );
  });
  it("reads the journal after the cursor of the mark", async () => {
    const runner = new FakeRunner((command) =>
      command.includes("--show-cursor")
        ? "-- cursor: s=1;i=2\n"
        : command.includes("--after-cursor=s=1;i=2")
          ? "new line\n"
          : undefined,
    );
    const controller = host({ manager: "systemd", units }, runner);
    const mark = await controller.markLog("cinder-volume.service");
    assert.equal(await controller.readLogSince("cinder-volume.service", mark), "new line\n");
    await assert.rejects(controller.readLogSince("cinder-volume.service", "file:1 2"), (error) =>
      DrError.is(error, "invariant"),
    );
  });
});

describe("kolla", () => {
  const container = [{ role: "volume" as const, unit: "cinder_volume", startedHere: true }];
  const unit = "kolla-cinder_volume-container.service";
  const machine = (bySystemd: boolean) => {
    const state = {
      status: "running",
      policy: bySystemd ? "no" : "unless-stopped",
      unitActive: bySystemd,
      masked: false,
    };
    const runner = new FakeRunner((command) => {
      switch (command) {
        case "docker inspect --format={{.State.Status}} {{.State.Pid}} {{.HostConfig.RestartPolicy.Name}} cinder_volume":
          return `${state.status} ${state.status === "running" ? 42 : 0} ${state.policy}\n`;
        case `systemctl show --property=LoadState,ActiveState,MainPID,TasksCurrent,DropInPaths -- ${unit}`:
          if (!bySystemd) return "LoadState=not-found\nActiveState=inactive\nMainPID=0\n";
          return `LoadState=${state.masked ? "masked" : "loaded"}\nActiveState=${state.unitActive ? "active" : "inactive"}\nMainPID=${state.unitActive ? 7 : 0}\n`;
        case "docker update --restart=no cinder_volume":
          state.policy = "no";
          return "";
        case "docker update --restart=unless-stopped cinder_volume":
          state.policy = "unless-stopped";
          return "";
        case "docker stop cinder_volume":
          // A living unit starts it again at once.
          if (!state.unitActive) state.status = "exited";
          return "";
        case "docker start cinder_volume":
        case "docker restart cinder_volume":
          state.status = "running";
          return "";
        case `systemctl mask -- ${unit}`:
          state.masked = true;
          return "";
        case `systemctl stop -- ${unit}`:
          state.unitActive = false;
          return "";
        case `sh ${unit}`:
        case `systemctl reset-failed -- ${unit}`:
          return "";
        case `systemctl unmask -- ${unit}`:
          state.masked = false;
          return "";
        case `systemctl start -- ${unit}`:
          state.unitActive = true;
          state.status = "running";
          return "";
      }
      return undefined;
    });
    return { runner, state };
  };
  for (const bySystemd of [false, true])
    it(`stops and starts a container kept up by ${bySystemd ? "its systemd unit" : "docker's restart policy"}`, async () => {
      const { runner, state } = machine(bySystemd);
      const controller = host({ manager: "kolla", engine: "docker", units: container }, runner);
      assert.deepEqual(
        (await controller.listUnits()).map(({ active, masked }) => [active, masked]),
        [[true, false]],
      );
      await controller.stopAndMask("cinder_volume");
      assert.equal(state.status, "exited");
      assert.equal(state.policy, "no");
      assert.equal(state.masked, bySystemd);
      const changes = runner.changes.length;
      await controller.stopAndMask("cinder_volume");
      assert.equal(runner.changes.length, changes);
      await controller.unmaskAndStart("cinder_volume");
      assert.equal(state.status, "running");
      assert.equal(state.policy, bySystemd ? "no" : "unless-stopped");
      assert.equal(state.masked, false);
    });
  it("asks for all containers by one command, and for their units by another", async () => {
    const runner = new FakeRunner((command) => {
      switch (command) {
        case "podman inspect --format={{.State.Status}} {{.State.Pid}} {{.HostConfig.RestartPolicy.Name}} cinder_volume cinder_volume_2":
          return "running 42 no\nexited 0 \n";
        case "systemctl show --property=LoadState,ActiveState,MainPID,TasksCurrent,DropInPaths -- kolla-cinder_volume-container.service kolla-cinder_volume_2-container.service":
          return "LoadState=not-found\nActiveState=inactive\nMainPID=0\n\nLoadState=loaded\nActiveState=inactive\nMainPID=0\n";
      }
      return undefined;
    });
    const both = [...container, { role: "volume" as const, unit: "cinder_volume_2", startedHere: false }];
    assert.deepEqual(await host({ manager: "kolla", engine: "podman", units: both }, runner).listUnits(), [
      { role: "volume", unit: "cinder_volume", startedHere: true, active: true, masked: true },
      { role: "volume", unit: "cinder_volume_2", startedHere: false, active: false, masked: false },
    ]);
  });
  it("names a container that isn't there", async () => {
    const runner = new FakeRunner(() => ({ code: 1, stderr: "Error: No such object: cinder_volume" }));
    await assert.rejects(
      host({ manager: "kolla", engine: "docker", units: container }, runner).listUnits(),
      (error: Error) => DrError.is(error, "config") && /no such container/.test(error.message),
    );
  });
});
