import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { archive } from "../../../lab/guest/archive";
import { DrError } from "../../../lib/errors";

const IMAGE_BYTES = 1 << 20;
const FILESYSTEM = { label: "vm-07 in a büro", uuid: "0b54b7f8-2b3c-4c5c-9d54-0d2f4f1f0001" };

describe("archive", () => {
  let folder: string;
  const image = () => readFile(join(folder, "image"));
  const setImage = (bytes: Buffer) => writeFile(join(folder, "image"), bytes);
  const put = (name: string, content: string | Buffer) => archive.put(folder, "image", name, Buffer.from(content));
  const names = async () => (await archive.files(folder, "image")).map((file) => file.name);
  const damage = () => archive.findDamage(folder, "image");

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "archive-"));
    await setImage(Buffer.alloc(IMAGE_BYTES));
    await archive.make(folder, "image", FILESYSTEM);
  });
  afterEach(() => rm(folder, { recursive: true }));

  it("is recognised by its content, with label and UUID", async () => {
    assert.deepEqual(archive.parse(await image()), FILESYSTEM);
    await put("a", "content");
    assert.deepEqual(archive.parse(await image()), FILESYSTEM);
  });

  it("recognises nothing else", () => {
    assert.equal(archive.parse(Buffer.alloc(IMAGE_BYTES)), undefined);
    assert.equal(archive.parse(Buffer.alloc(IMAGE_BYTES, 0xff)), undefined);
    assert.equal(archive.parse(Buffer.from("text ".repeat(1000))), undefined);
  });

  it("lists files by name, with size and digest, the last of a name", async () => {
    await put("b", "first");
    await put("a", "");
    await put("b", "second");
    const files = await archive.files(folder, "image");
    assert.deepEqual(
      files.map(({ name, sizeBytes, content }) => [name, sizeBytes, content.toString()]),
      [
        ["a", 0, ""],
        ["b", 6, "second"],
      ],
    );
    assert.equal(files[0]?.sha256, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    assert.equal(await damage(), undefined);
  });

  it("gives back whatever was put in, the image keeps its size, and nothing is damaged", async () => {
    const name = fc.stringMatching(/^[a-z0-9][a-z0-9.:+-]{0,130}$/);
    const content = fc.uint8Array({ maxLength: 3000 });
    await fc.assert(
      fc.asyncProperty(fc.array(fc.tuple(name, content), { maxLength: 8 }), async (files) => {
        await setImage(Buffer.alloc(IMAGE_BYTES));
        await archive.make(folder, "image", FILESYSTEM);
        for (const [file, bytes] of files) await put(file, Buffer.from(bytes));
        const found = await archive.files(folder, "image");
        const wanted = new Map(files.map(([file, bytes]) => [file, Buffer.from(bytes).toString("hex")]));
        assert.deepEqual(new Map(found.map((file) => [file.name, file.content.toString("hex")])), wanted);
        assert.equal(await damage(), undefined);
        assert.equal((await image()).length, IMAGE_BYTES);
      }),
      { numRuns: 20 },
    );
  });

  it("is one that tar lists", async () => {
    await put("vm-07-pre-failover", "x");
    const listed = execFileSync("tar", ["-tf", join(folder, "image")], { encoding: "utf8" });
    assert.equal(listed, "vm-07-pre-failover\n");
  });

  it("doesn't grow by the same write again", async () => {
    await put("a", "content");
    const before = await image();
    await put("a", "content");
    assert.ok(before.equals(await image()));
  });

  it("refuses what doesn't fit, and changes nothing", async () => {
    await put("a", "content");
    const before = await image();
    await assert.rejects(
      put("big", Buffer.alloc(IMAGE_BYTES)),
      (error) =>
        DrError.is(error, "failure-state") && /no space left: \d+ bytes are needed, \d+ are free/.test(error.message),
    );
    assert.ok(before.equals(await image()));
    await put("big", Buffer.alloc(IMAGE_BYTES - 8192));
    assert.deepEqual(await names(), ["a", "big"]);
    assert.equal(await damage(), undefined);
  });

  it("refuses names that ext4's tools don't take", async () => {
    await assert.rejects(put("a name", "x"), (error) => DrError.is(error, "config"));
  });

  it("finds a changed byte of a file by its digest, and still gives its bytes", async () => {
    await put("a", "content");
    await put("b", "other");
    const bytes = await image();
    bytes.write("K", bytes.indexOf("content"));
    await setImage(bytes);
    assert.match((await damage()) ?? "", /^a: its content has SHA-256 [0-9a-f]{64}, written was [0-9a-f]{64}$/);
    assert.equal((await archive.files(folder, "image"))[0]?.content.toString(), "Kontent");
  });

  it("finds a damaged header, and writes nothing more that would hide what is behind it", async () => {
    await put("a", "content");
    const end = (await image()).lastIndexOf("content");
    await put("b", "other");
    const bytes = await image();
    bytes.fill(0xff, end + 512, end + 520);
    await setImage(bytes);
    assert.match((await damage()) ?? "", /no header of a member/);
    await assert.rejects(put("c", "x"), /the archive is damaged: .*; nothing was written/);
    assert.ok(bytes.equals(await image()));
  });

  it("finds a block that was lost in the middle", async () => {
    for (const name of ["a", "b", "c"]) await put(name, name.repeat(4000));
    const bytes = await image();
    bytes.fill(0, 4096, 8192);
    await setImage(bytes);
    assert.match((await damage()) ?? "", /^behind its end at byte \d+ there are bytes, .*; a: its content has SHA-256/);
    await assert.rejects(put("d", "x"), /nothing was written/);
  });

  it("sees a write that was cut off anywhere, keeps the files before it, and the same write again completes it", async () => {
    await put("a", "content");
    const before = await image();
    await put("b", "other ".repeat(1000));
    const after = await image();
    for (let cut = 0; cut < 12_288; cut += 512) {
      await setImage(Buffer.concat([after.subarray(0, cut), before.subarray(cut)]));
      const found = await damage();
      const whole = (await names()).includes("b") && found === undefined;
      const nothing = (await image()).equals(before);
      assert.ok(whole || nothing || found !== undefined, `cut at ${cut}`);
      assert.equal((await archive.files(folder, "image"))[0]?.content.toString(), "content");
      await put("b", "other ".repeat(1000));
      assert.equal(await damage(), undefined, `cut at ${cut}`);
      assert.deepEqual(await names(), ["a", "b"]);
    }
  });
});
