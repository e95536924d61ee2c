import assert from "node:assert/strict";
import { withRowsWhereUnreachable } from "../../../lib/connections/rows-where-unreachable";
import { DrError, type DrErrorCode } from "../../../lib/errors";
import type { BlockStoragePort, CinderSnapshot } from "../../../lib/switchover/ports";

const snapshot: CinderSnapshot = { id: "s", volumeId: "v", status: "available" };

describe("listing while Cinder's API is down", () => {
  const failing = (code: DrErrorCode) => () =>
    Promise.reject(new DrError({ code, attempted: "List", seen: "nothing" }));
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

  it("takes a refusal for what it is", async () => {
    await assert.rejects(api(failing("remote")).listSnapshots(), (error) => DrError.is(error, "remote"));
  });

  it("changes nothing but by the API", async () => {
    const rollDetaching = failing("unreachable");
    const port = api(async () => [], { rollDetaching });
    await assert.rejects(port.rollDetaching("v"), (error) => DrError.is(error, "unreachable"));
  });
});
