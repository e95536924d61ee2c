import assert from "node:assert/strict";
import { appendFile, mkdir, readFile, rename, stat, symlink, writeFile } from "node:fs/promises";
import path from "node:path";
import { DrError } from "../../../lib/errors";
import { Journal } from "../../../lib/switchover/journal";
import { planReload } from "../../../lib/switchover/plan";
import { journals, look } from "./support";
import { intentTo, World } from "./world";

const newJournal = journals();

interface Bench {
  readonly world: World;
  readonly directory: string;
  readonly journal: Journal;
  readonly find: (directory?: string) => Promise<Journal | undefined>;
  readonly stored: () => readonly string[];
  readonly file: () => Promise<string[]>;
}

async function bench(): Promise<Bench> {
  const world = new World();
  const directory = newJournal();
  const { coordination, clock } = world.ports();
  const plan = planReload({ intent: intentTo("iprod"), observation: await look(world), site: "iprod" });
  const journal = await Journal.begin({ directory, coordination, clock, stack: "test", plan });
  return {
    world,
    directory,
    journal,
    find: (at = directory) => Journal.findOpen({ directory: at, coordination, clock, pair: "pair" }),
    stored: () => world.journals.get(journal.switchoverId)?.entries ?? [],
    file: async () => (await readFile(journal.file, "utf8")).split("\n").slice(0, -1),
  };
}

const intent = (item: string) => ({ type: "intent", step: "hold/lock-instances", item }) as const;

describe("Journal", () => {
  it("has every entry in the file and in the database, in one order, under concurrency", async () => {
    const { journal, stored, file } = await bench();
    const items = Array.from({ length: 40 }, (_, index) => `server-${index}`);
    await Promise.all(items.map((item) => journal.append(intent(item))));
    assert.deepEqual(await file(), stored());
    const order = journal.entries.flatMap((entry) => (entry.type === "intent" ? [entry.item] : []));
    assert.deepEqual(order, items);
  });

  it("is written together by all who come while an entry is written", async () => {
    const world = new World();
    const { coordination, clock } = world.ports();
    const batches: number[] = [];
    const counted = {
      ...coordination,
      appendJournal: (id: string, seq: number, pair: string, entries: readonly string[]) => {
        batches.push(entries.length);
        return coordination.appendJournal(id, seq, pair, entries);
      },
    };
    const plan = planReload({ intent: intentTo("iprod"), observation: await look(world), site: "iprod" });
    const journal = await Journal.begin({ directory: newJournal(), coordination: counted, clock, stack: "test", plan });
    await Promise.all(Array.from({ length: 40 }, (_, index) => journal.append(intent(`server-${index}`))));
    assert.deepEqual(batches, [1, 40]);
  });

  it("goes on from wherever the file was cut while entries were written together", async () => {
    const { journal, find, stored, file } = await bench();
    const begun = Buffer.byteLength(`${stored()[0] ?? ""}\n`);
    await Promise.all(["ä", "b", "日本"].map((item) => journal.append(intent(item))));
    const whole = await readFile(journal.file);
    for (let cut = begun; cut <= whole.length; cut++) {
      await writeFile(journal.file, whole.subarray(0, cut));
      const again = (await find()) ?? assert.fail();
      assert.ok(["ä", "b", "日本"].every((item) => again.entries.some((e) => e.type === "intent" && e.item === item)));
      await again.settle();
      assert.deepEqual(await file(), stored(), `cut at ${cut}`);
    }
  });

  it("is readable by its owner only", async () => {
    const { journal } = await bench();
    assert.equal((await stat(journal.file)).mode & 0o777, 0o600);
  });

  it("says that the disk is full, writes nothing more, and goes on where there is room", async () => {
    const { journal, find, stored, file } = await bench();
    const kept = `${journal.file}.kept`;
    await rename(journal.file, kept);
    await symlink("/dev/full", journal.file);
    const isFull = (error: unknown): boolean =>
      DrError.is(error, "journal") && /ENOSPC.*Make room on the disk of journalDir/.test(error.message);
    await assert.rejects(journal.append(intent("a")), isFull);
    await assert.rejects(journal.append(intent("b")), isFull);
    await rename(kept, journal.file);
    const again = await find();
    await again?.settle();
    await again?.append(intent("c"));
    assert.deepEqual(await file(), stored());
    const items = again?.entries.flatMap((entry) => (entry.type === "intent" ? [entry.item] : []));
    assert.deepEqual(items, ["a", "c"]);
  });

  it("is found again, whole, until it's closed", async () => {
    const { journal, find } = await bench();
    await journal.append(intent("a"));
    assert.deepEqual((await find())?.entries, journal.entries);
    await journal.close("completed");
    assert.equal(await find(), undefined);
  });

  it("cuts off a torn line, as it announced nothing that was begun", async () => {
    const { journal, find, stored, file } = await bench();
    await journal.append(intent("a"));
    await appendFile(journal.file, '{"at":"2026-01-01T00:00:00Z","type":"int');
    const again = await find();
    assert.equal(again?.entries.length, 2);
    await again?.settle();
    await again?.append(intent("b"));
    assert.equal((await file()).length, 3);
    assert.deepEqual(await file(), stored());
  });

  it("takes from the database what the file lacks, also on another machine", async () => {
    const { journal, find, stored } = await bench();
    await journal.append(intent("a"));
    const elsewhere = newJournal();
    const again = await find(elsewhere);
    assert.deepEqual(again?.entries, journal.entries);
    await again?.settle();
    assert.deepEqual((await readFile(again?.file ?? "", "utf8")).split("\n").slice(0, -1), stored());
  });

  it("takes from the file what the database lacks", async () => {
    const { world, journal, find, stored, file } = await bench();
    await journal.append(intent("a"));
    world.journals.get(journal.switchoverId)?.entries.pop();
    const again = await find();
    assert.equal(again?.entries.length, 2);
    assert.equal(stored().length, 1, "reading writes nothing");
    await again?.settle();
    assert.deepEqual(await file(), stored());
  });

  it("writes nothing when it's only looked at, as its run may be alive", async () => {
    const { journal, find, file } = await bench();
    await journal.append(intent("a"));
    const elsewhere = path.join(newJournal(), "never-made");
    await find(elsewhere);
    await assert.rejects(stat(elsewhere));
    await writeFile(journal.file, `${(await file())[0] ?? ""}\n`);
    await find();
    assert.equal((await file()).length, 1);
  });

  it("refuses copies that contradict each other", async () => {
    const { journal, find, file } = await bench();
    await journal.append(intent("a"));
    await writeFile(journal.file, `${(await file())[0] ?? ""}\n{"type":"other"}\n`);
    await assert.rejects(find(), (error) => DrError.is(error, "journal") && /entry 1 differs/.test(error.message));
  });

  it("refuses two that are open", async () => {
    const { world, journal, find } = await bench();
    const entries = [...(world.journals.get(journal.switchoverId)?.entries ?? [])];
    world.journals.set("another", { pair: "pair", open: true, entries });
    await assert.rejects(find(), (error) => DrError.is(error, "journal") && /2 are open/.test(error.message));
  });

  for (const when of ["before", "after"] as const)
    it(`writes nothing after an entry that failed ${when} the database had it, so that the copies don't part`, async () => {
      const { world, journal, find, stored, file } = await bench();
      world.faults.journalWrite[when] = 1;
      await assert.rejects(journal.append(intent("a")), (error) => DrError.is(error, "unreachable"));
      await assert.rejects(journal.append({ type: "failed", step: "x", item: "", error: "that" }));
      const again = await find();
      await again?.settle();
      await again?.append(intent("b"));
      assert.deepEqual(await file(), stored());
      const items = again?.entries.flatMap((entry) => (entry.type === "intent" ? [entry.item] : []));
      assert.deepEqual(items, when === "after" ? ["a", "b"] : ["b"]);
    });

  it("keeps a second writer's line out of the file", async () => {
    const { journal, find, stored, file } = await bench();
    const other = await find();
    await other?.append(intent("theirs"));
    await assert.rejects(journal.append(intent("ours")));
    assert.deepEqual(await file(), stored());
    assert.match((await file()).at(-1) ?? "", /theirs/);
  });

  it("has an id that fits the database's column", async () => {
    const world = new World();
    const { coordination, clock } = world.ports();
    const plan = planReload({ intent: intentTo("iprod"), observation: await look(world), site: "iprod" });
    const named = {
      ...plan,
      pair: "a-pair-with-a-long-name-of-its-own",
      from: "first-site-of-two",
      to: "second-site-of-two",
    };
    const directory = newJournal();
    await mkdir(directory, { recursive: true });
    const { switchoverId } = await Journal.begin({ directory, coordination, clock, stack: "test", plan: named });
    assert.equal(switchoverId.length, 64);
  });

  it("counts a cutover that was found done as begun", async () => {
    const { journal } = await bench();
    assert.equal(journal.pastCutover, false);
    await journal.append({ type: "done", step: "cutover/failover-host", item: "all", already: true, facts: {} });
    assert.equal(journal.pastCutover, true);
  });
});
