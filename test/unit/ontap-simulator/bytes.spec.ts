import { strict as assert } from "node:assert";
import { promises as fs, mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import * as path from "node:path";
import * as bytes from "../../../lab/simulators/ontap/bytes";
import { due } from "../../../lab/simulators/ontap/schedule";

const mb = 1 << 20;

describe("the simulator's bytes", () => {
  let dir: string;
  const file = (name: string): string => path.join(dir, name);
  const write = async (name: string, offset: number, text: string): Promise<void> => {
    const handle = await fs.open(file(name), "r+");
    await handle.write(text, offset);
    await handle.close();
  };
  beforeEach(() => {
    dir = mkdtempSync(path.join(tmpdir(), "simulator-bytes-"));
  });
  afterEach(() => fs.rm(dir, { recursive: true }));

  it("merges ranges to whole blocks inside the file", () => {
    assert.deepEqual(
      bytes.mergeRanges(
        [
          { offset: 5000, length: 10 },
          { offset: 0, length: 1 },
          { offset: 4096, length: 1 },
          { offset: 20000, length: 9000 },
        ],
        21000,
      ),
      [
        { offset: 0, length: 8192 },
        { offset: 16384, length: 21000 - 16384 },
      ],
    );
  });

  it("finds anew what is written after it was looked at, also where the size stays, and as often as it's asked", async () => {
    await bytes.createSparse(file("a"), 8 * mb);
    await bytes.copyInto([file("a")], file("b"));
    const long = () => new Promise((resolve) => setTimeout(resolve, 70));
    for (const [round, block] of [3, 5, 7].entries()) {
      await write("b", block * 4096, `round ${round}`);
      const expected = [3, 5, 7].slice(0, round + 1).map((each) => ({ offset: each * 4096, length: 4096 }));
      // At once, when the time of modification can't be trusted; then looked at, and then remembered.
      assert.deepEqual(await bytes.difference(file("a"), file("b")), expected);
      await long();
      assert.deepEqual(await bytes.difference(file("a"), file("b")), expected);
      assert.deepEqual(await bytes.difference(file("a"), file("b")), expected);
    }
    await long();
    await write("a", 5 * 4096, "round 1");
    await long();
    assert.deepEqual(
      (await bytes.difference(file("a"), file("b"))).map(({ offset }) => offset / 4096),
      [3, 7],
    );
  });

  it("tells files apart that were written to in the same clock tick", async () => {
    const long = () => new Promise((resolve) => setTimeout(resolve, 70));
    const starts = async (base: string, next: string) =>
      (await bytes.difference(file(base), file(next))).map(({ offset }) => offset / 4096);
    await bytes.createSparse(file("a"), 1 * mb);
    for (const name of ["live", "snapshot"]) await bytes.copyInto([file("a")], file(name));
    await write("live", 3 * 4096, "before the snapshot");
    await write("live", 5 * 4096, "after it");
    await write("snapshot", 3 * 4096, "before the snapshot");
    const tick = new Date(Date.now() - 60_000);
    for (const name of ["live", "snapshot"]) await fs.utimes(file(name), tick, tick);
    await long();
    assert.deepEqual(await starts("a", "snapshot"), [3]);
    assert.deepEqual(await starts("a", "live"), [3, 5]);
    assert.deepEqual(await starts("live", "snapshot"), [5]);
    await bytes.applyRanges(file("snapshot"), file("live"), [{ offset: 5 * 4096, length: 4096 }]);
    await fs.utimes(file("live"), tick, tick);
    await long();
    assert.deepEqual(await starts("live", "snapshot"), []);
    assert.deepEqual(await starts("a", "live"), [3]);
  });

  for (const sizeMb of [2, 64]) {
    it(`finds exactly the blocks that differ in a sparse file of ${sizeMb} MB, and applying them makes both equal in place`, async () => {
      await bytes.createSparse(file("a"), sizeMb * mb);
      await write("a", 100, "kept");
      await write("a", mb, "overwritten");
      await bytes.copyInto([file("a")], file("b"));
      await write("b", mb, "OVERWRITTEN");
      await write("b", mb + 4096, "\0\0\0\0");
      await write("b", sizeMb * mb - 3, "end");
      const ranges = await bytes.difference(file("a"), file("b"));
      assert.deepEqual(ranges, [
        { offset: mb, length: 4096 },
        { offset: sizeMb * mb - 4096, length: 4096 },
      ]);
      const { ino } = await fs.stat(file("a"));
      await bytes.applyRanges(file("b"), file("a"), ranges);
      assert.deepEqual(await bytes.difference(file("a"), file("b")), []);
      assert.equal((await fs.stat(file("a"))).ino, ino);
      assert.ok((await fs.readFile(file("a"))).equals(await fs.readFile(file("b"))));
    });
  }

  it("finds the same blocks without perl", async () => {
    await bytes.createSparse(file("a"), 64 * mb);
    await write("a", 40 * mb, "only here");
    await bytes.copyInto([file("a")], file("b"));
    await write("b", 50 * mb, "only there");
    const differ = async () => [
      await bytes.difference(undefined, file("a")),
      await bytes.difference(file("a"), file("b")),
    ];
    const expected = await differ();
    const searchPath = process.env["PATH"];
    try {
      process.env["PATH"] = dir;
      assert.deepEqual(await differ(), expected);
    } finally {
      process.env["PATH"] = searchPath;
    }
    assert.deepEqual(expected, [[{ offset: 40 * mb, length: 4096 }], [{ offset: 50 * mb, length: 4096 }]]);
  });

  it("finds each file's own blocks where many are asked for at once", async () => {
    const names = Array.from({ length: 40 }, (_, i) => `many-${i}`);
    for (const [i, name] of names.entries()) {
      await bytes.createSparse(file(name), 64 * mb);
      await write(name, i * mb, "here");
      if (i % 2 === 1) await write(name, 63 * mb, "and there");
    }
    const asked = await Promise.all(names.map((name) => bytes.difference(undefined, file(name))));
    const block = (i: number): { offset: number; length: number } => ({ offset: i * mb, length: 4096 });
    assert.deepEqual(
      asked,
      names.map((_, i) => (i % 2 === 1 ? [block(i), block(63)] : [block(i)])),
    );
  });

  it("keeps copies sparse", async () => {
    await bytes.createSparse(file("a"), 512 * mb);
    await write("a", 300 * mb, "x");
    await bytes.copyInto([file("a")], file("b"));
    assert.ok((await fs.stat(file("b"))).blocks * 512 < mb);
  });

  it("follows a file that shrank or grew", async () => {
    await bytes.createSparse(file("a"), 2 * mb);
    await write("a", mb + 10, "gone when cut");
    await bytes.copyInto([file("a")], file("b"));
    await bytes.resize(file("b"), mb);
    await bytes.resize(file("b"), 3 * mb);
    const ranges = await bytes.difference(file("a"), file("b"));
    assert.equal(bytes.bytesOf(ranges), 4096);
    await bytes.applyRanges(file("b"), file("a"), ranges);
    assert.ok((await fs.readFile(file("a"))).equals(await fs.readFile(file("b"))));
  });

  it("doesn't trust a time of modification that is as young as the copy", async () => {
    await bytes.createSparse(file("a"), mb);
    await bytes.copyInto([file("a")], file("b"));
    const { mtimeMs } = await fs.stat(file("b"));
    assert.equal(await bytes.seemsUnchanged(file("b"), mtimeMs, file("a")), false);
    assert.equal(await bytes.seemsUnchanged(file("b"), mtimeMs + 1000, file("a")), true);
  });
});

describe("the simulator's schedules", () => {
  const time = (text: string): number => Date.parse(`2026-03-04T${text}Z`); // a Wednesday
  it("fall due once their minute has come", () => {
    assert.equal(due({ minutes: [5] }, time("10:04:30"), time("10:04:59")), false);
    assert.equal(due({ minutes: [5] }, time("10:04:59"), time("10:05:00")), true);
    assert.equal(due({ minutes: [5] }, time("10:05:00"), time("10:05:30")), false);
    assert.equal(due({ minutes: [0], hours: [8] }, time("00:00:00"), time("23:00:00")), true);
    assert.equal(due({ minutes: [0], weekdays: [0] }, time("00:00:00"), time("23:00:00")), false);
    assert.equal(
      due({ minutes: [0], weekdays: [3], months: [3], days: [4] }, time("00:00:00"), time("23:00:00")),
      true,
    );
  });
});
