import assert from "node:assert/strict";
import { withRowsWhereUnreachable } from "../../../lib/connections/rows-where-unreachable";
import { DrError, type DrErrorCode } from "../../../lib/errors";
import type { BlockStoragePort, CinderSnapshot } from "../../../lib/switchover/ports";

const snapshot: CinderSnapshot = { id: "s", volumeId: "v", status: "available" };

describe("listing while Cinder's API is down", () => {
  const failing = (code: DrErrorCode, status?: number) => () =>
    Promise.reject(new DrError({ code, attempted: "List", seen: "nothing", context: { status } }));
  const rows = {
    listVolumes: async () => [],
    listAttachments: async () => [],
    listSnapshots: async () => [snapshot],
  };
  const api = (listSnapshots: BlockStoragePort["listSnapshots"], more: Partial<BlockStoragePort> = {}) =>
    withRowsWhereUnreachable({ ...rows, ...more, listSnapshots } as unknown as BlockStoragePort, rows);

  it("asks the API as long as it answers", async () => {
    assert.deepEqual(await api(async () => []).listSnapshots(), []);
  });

  it("reads the database where it doesn't answer at all", async () => {
    assert.deepEqual(await api(failing("unreachable")).listSnapshots(), [snapshot]);
  });

  for (const status of [502, 503, 504])
    it(`reads the database where a gateway answers ${status} for it`, async () => {
      assert.deepEqual(await api(failing("remote", status)).listSnapshots(), [snapshot]);
    });

  for (const status of [400, 401, 429, 500, undefined])
    it(`takes ${status ?? "an answer that makes no sense"} for what it is`, async () => {
      await assert.rejects(api(failing("remote", status)).listSnapshots(), (error) => DrError.is(error, "remote"));
    });

  it("changes nothing but by the API", async () => {
    const rollDetaching = failing("unreachable");
    const port = api(async () => [], { rollDetaching });
    await assert.rejects(port.rollDetaching("v"), (error) => DrError.is(error, "unreachable"));
  });
});
