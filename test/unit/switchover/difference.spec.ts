import assert from "node:assert/strict";
import { observeDifferences, sentencesOfDifferences } from "../../../lib/switchover/difference";
import type { Ports, Snapshot } from "../../../lib/switchover/ports";
import { sizeOf } from "../../../lib/switchover/size";
import { journals, look, operator } from "./support";
import { intentTo, World } from "./world";

const snapshot = (versionUuid: string, day: number): Snapshot => ({
  uuid: `${versionUuid}-here`,
  name: `snapmirror.${versionUuid}`,
  versionUuid,
  createTime: `2026-01-0${day}T00:00:00Z`,
});

const newJournal = journals();

describe("the difference between both sides", () => {
  let world: World;
  let held: Record<string, readonly Snapshot[]>;

  beforeEach(() => {
    world = new World();
    held = { iprod: [snapshot("a", 1), snapshot("b", 2), snapshot("only-here", 4)], idr: [snapshot("b", 2), snapshot("a", 1), snapshot("only-there", 3)] };
  }); // prettier-ignore

  function ports(changed: Record<string, number | undefined> = { iprod: 5000, idr: 12 }): Ports {
    const all = world.ports();
    const arrays = Object.entries(all.arrays).map(([site, array]) => [
      site,
      { ...array, listSnapshots: async () => held[site] ?? [], findChangedBytes: async () => changed[site] },
    ]);
    return { ...all, arrays: Object.fromEntries(arrays) as Ports["arrays"] };
  }
  const compare = async (some = ports()) => {
    const found = await observeDifferences(await look(world), some, { from: "idr", onto: "iprod" });
    assert.ok(!("error" in found), JSON.stringify(found));
    return found;
  };

  it("starts from the newest snapshot that both have, by its version, and measures both sides since", async () => {
    const [first] = await compare();
    assert.deepEqual(
      [first?.flexVol, first?.common?.name, first?.toCopyBytes, first?.toDiscardBytes],
      ["pool1", "snapmirror.b", 12, 5000],
    );
  });

  it("names the volumes that only the side to be overwritten has, or has in another size", async () => {
    world.luns.idr.delete("00");
    world.luns.idr.set("02", { flexVol: "pool1", sizeBytes: 2 ** 31 });
    world.luns.iprod.set("02", { flexVol: "pool1", sizeBytes: 2 ** 30 });
    const [first] = await compare();
    assert.deepEqual(first?.onlyThere, ['"v00" (volume-00), 1.0 GiB', "volume-02 in another size"]);
  });

  it("says so where nothing is common, and how much a new baseline is", async () => {
    held["idr"] = [snapshot("c", 5)];
    const [first] = await compare();
    assert.deepEqual([first?.common, first?.toCopyBytes, first?.toDiscardBytes], [undefined, undefined, undefined]);
    const told = sentencesOfDifferences(first === undefined ? [] : [first], { from: "idr", onto: "iprod", discards: true });
    assert.match(told.join("\n"), /no snapshot is common to "idr" and "iprod": a new baseline of up to 2.0 GiB/);
  }); // prettier-ignore

  it("tells an array that doesn't measure from one that found nothing", async () => {
    const told = async (bytes: number | undefined) =>
      sentencesOfDifferences(await compare(ports({ iprod: bytes, idr: bytes })), {
        from: "idr",
        onto: "iprod",
        discards: true,
      });
    assert.match((await told(undefined)).join("\n"), /an unknown number of bytes changed at "idr" since/);
    assert.match((await told(0)).join("\n"), /"iprod" holds 0 bytes that "idr" doesn't have/);
  });

  it("is an error where an array doesn't answer", async () => {
    world.reachable.iprod = false;
    const found = await observeDifferences(await look(world), ports(), { from: "idr", onto: "iprod" });
    assert.ok("error" in found);
  });

  it("is part of a failback's preview, which is refused without a common snapshot", async () => {
    const state = { activeSite: "iprod", promoted: true, protected: true, observedSite: "iprod", status: "", backendRevisions: {} };
    const seen = Object.assign(Object.create(world) as World, { ports: () => ports() });
    const preview = () => operator(seen, newJournal()).preview(intentTo("idr"), state);
    const { runbook, warnings } = await preview();
    assert.match(runbook?.differences.join("\n") ?? "", /"pool1": 4.9 KiB changed at "iprod" since the common snapshot snapmirror.b/);
    assert.deepEqual(warnings, []); // the last update carries it
    held["idr"] = [];
    const refused = (await preview()).failures.map(({ message }) => message);
    assert.match(refused.join("\n"), /no snapshot of "pool1" is common to "iprod" and "idr"/);
  }); // prettier-ignore

  it("stops what would copy over a side that couldn't be looked at", async () => {
    const state = { activeSite: "iprod", promoted: true, protected: true, observedSite: "iprod", status: "", backendRevisions: {} };
    const blind = () => {
      const all = ports();
      const idr = { ...all.arrays["idr"], listSnapshots: () => Promise.reject(new Error("403: not authorized")) };
      return { ...all, arrays: { ...all.arrays, idr } as Ports["arrays"] };
    };
    const seen = Object.assign(Object.create(world) as World, { ports: blind });
    const { failures } = await operator(seen, newJournal()).preview(intentTo("idr"), state);
    assert.equal(failures.length, 1);
    assert.match(failures[0]?.message ?? "", /"iprod" and "idr" don't have in common can't be read: 403: not authorized/);
  }); // prettier-ignore

  it("writes sizes as people read them", () => {
    const sizes = [undefined, 0, 1023, 1024, 12 * 2 ** 20, 1.5 * 2 ** 30, 3 * 2 ** 50].map(sizeOf);
    assert.deepEqual(sizes, ["an unknown number of bytes", "0 bytes", "1023 bytes", "1.0 KiB", "12 MiB", "1.5 GiB", "3072 TiB"]); // prettier-ignore
  });
});
