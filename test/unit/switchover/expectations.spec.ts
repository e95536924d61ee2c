import assert from "node:assert/strict";
import type { Intent } from "../../../lib/switchover";
import { at, fails, journals, killAt, lost, type Operator, operator } from "./support";
import { intentTo, World } from "./world";

const folder = journals();

function begin(world = new World()) {
  const dr = operator(world, folder());
  return {
    world,
    up: (...o: Parameters<Operator["up"]>) => dr.up(...o),
    preview: (...o: Parameters<Operator["preview"]>) => dr.preview(...o),
  };
}

type Ports = ReturnType<World["ports"]>;

/** The mirrors' lag as these systems tell it. */
function behind(world: World, lagSeconds: number | undefined): void {
  const ports = world.ports.bind(world);
  world.ports = (): Ports => {
    const real = ports();
    const arrays = Object.entries(real.arrays).map(([site, array]) => [
      site,
      {
        ...array,
        listMirrors: async (flexVols: readonly string[]) =>
          (await array.listMirrors(flexVols)).map(({ lagSeconds: _, ...mirror }) => ({
            ...mirror,
            ...(lagSeconds === undefined ? {} : { lagSeconds }),
          })),
      },
    ]);
    return { ...real, arrays: Object.fromEntries(arrays) as Ports["arrays"] };
  };
}

const period = { minimumSecondsBetweenSwitchovers: 600 };

describe("expectedActive", () => {
  const expecting = (site: "iprod" | "idr"): Intent => intentTo("idr", { expectedActive: site });

  it("refuses a switchover where production runs elsewhere, by preview and by up, and says where", async () => {
    const { world, up, preview } = begin();
    const { failures } = await preview(expecting("idr"), at("iprod"));
    assert.match(failures[0]?.message ?? "", /production runs at "iprod", but expectedActive is "idr"/);
    assert.match(failures[0]?.remedy ?? "", /pulumi config rm expectedActive/);
    await assert.rejects(up(expecting("idr"), at("iprod")), fails("precondition", /expectedActive is "idr"/));
    assert.deepEqual([world.calls, world.journals.size], [[], 0]);
  });

  it("lets it begin where production runs there, and isn't in the way of what comes after", async () => {
    const { up, preview } = begin();
    const after = await up(expecting("iprod"), at("iprod"));
    assert.equal(after.activeSite, "idr");
    assert.deepEqual((await preview(expecting("iprod"), after)).failures, []);
  });

  it("refuses to adopt a site where others switched", async () => {
    const { up } = begin();
    await up(intentTo("idr"), at("iprod"));
    await assert.rejects(up(expecting("iprod"), at("iprod")), fails("precondition", /production runs at "idr"/));
    assert.equal((await up(intentTo("idr"), at("iprod"))).activeSite, "idr");
  });

  it("refuses to promote what others failed over", async () => {
    const { up } = begin();
    await up(intentTo("idr", { promotion: "deferred" }), at("iprod"));
    await assert.rejects(up(expecting("iprod"), at("iprod")), fails("precondition", /production runs at "idr"/));
  });

  it("isn't asked of what is resumed", async () => {
    const { world, up } = begin();
    await assert.rejects(up(expecting("iprod"), at("iprod"), killAt("attach/volumes", "before-call")));
    world.lease = undefined;
    assert.equal((await up(expecting("idr"), at("iprod"))).activeSite, "idr");
  });
});

describe("maximumLagSeconds", () => {
  const within = (maximumLagSeconds: number, more: Partial<Intent> = {}): Intent =>
    intentTo("idr", { maximumLagSeconds, ...more });

  it("refuses a planned switchover beyond it, for each FlexVol, and none at it", async () => {
    const { world, up, preview } = begin();
    behind(world, 300);
    const { failures } = await preview(within(299), at("iprod"));
    assert.deepEqual(
      failures.map(({ message }) => message),
      ["pool1", "pool2"].map((name) => `"${name}": it is 300 s behind, maximumLagSeconds is 299`),
    );
    await assert.rejects(up(within(299), at("iprod")), fails("precondition", /300 s behind/));
    assert.deepEqual(world.calls, []);
    assert.deepEqual((await preview(within(300), at("iprod"))).failures, []);
  });

  it("refuses where the lag can't be read", async () => {
    const { world, preview } = begin();
    behind(world, undefined);
    const [first] = (await preview(within(300), at("iprod"))).failures;
    assert.match(first?.message ?? "", /its lag can't be read/);
  });

  it("warns of an unplanned failover, which acceptLossSeconds decides upon", async () => {
    const { world, preview } = begin();
    world.reachable.iprod = false;
    behind(world, 300);
    const { failures, warnings } = await preview(within(299, { unplanned: lost }), at("iprod"));
    assert.deepEqual(failures, []);
    assert.ok(warnings.some((warning) => warning.includes("maximumLagSeconds is 299")));
  });
});

describe("minimumSecondsBetweenSwitchovers", () => {
  /** After a switchover to idr, so many seconds ago. */
  async function after(seconds: number) {
    const scene = begin();
    await scene.up(intentTo("idr", period), at("iprod"));
    scene.world.nowMs += seconds * 1000;
    const [id = ""] = [...scene.world.journals.keys()];
    return { ...scene, id, calls: [...scene.world.calls] };
  }
  const home = (more: Partial<Intent> = {}): Intent => intentTo("iprod", { ...period, ...more });

  it("holds a failback back, and tells in one message all that helps", async () => {
    const { world, up, preview, id, calls } = await after(100);
    const { failures } = await preview(home(), at("idr"));
    assert.equal(failures.length, 1);
    const [{ message, remedy } = { message: "", remedy: "" }] = failures;
    assert.match(message, new RegExp(`the switchover "iprod" → "idr" \\(${id}\\) ended 1\\d\\d s ago, needed 600 s`));
    assert.match(remedy, /Wait \d+ s\./);
    assert.ok(remedy.includes(`pulumi config set soonAfter ${id} (cheesecake: --soon-after ${id})`));
    assert.match(remedy, /unplanned: \{ from: "idr", acceptLossSeconds: … \}/);
    await assert.rejects(up(home(), at("idr")), fails("precondition", /needed 600 s between two/));
    assert.deepEqual([world.calls, world.journals.size], [calls, 1]);
  });

  it("lets it begin when the time is over", async () => {
    const { up } = await after(600);
    assert.equal((await up(home(), at("idr"))).activeSite, "iprod");
  });

  it("lets it begin before by soonAfter, with a warning, after that one only", async () => {
    const { up, preview, id, world } = await after(1);
    const [failure] = (await preview(home({ soonAfter: "another" }), at("idr"))).failures;
    assert.match(failure?.message ?? "", /needed 600 s/);
    const { failures, warnings } = await preview(home({ soonAfter: id }), at("idr"));
    assert.deepEqual(failures, []);
    assert.ok(warnings.some((warning) => warning.includes(id)));
    assert.equal((await up(home({ soonAfter: id }), at("idr"))).activeSite, "iprod");
    world.nowMs += 1000;
    const again = await preview(intentTo("idr", { ...period, soonAfter: id }), at("iprod"));
    assert.match(again.failures[0]?.message ?? "", /"idr" → "iprod"/);
  });

  it("never holds an unplanned failover back", async () => {
    const { world, up } = await after(1);
    world.reachable.idr = false;
    const unplanned = { from: "idr", acceptLossSeconds: 3600 };
    assert.equal((await up(home({ unplanned }), at("idr"))).activeSite, "iprod");
  });

  it("never holds a resume or an abort back, nor what follows an abort", async () => {
    const { world, up, id } = await after(1);
    const soon = home({ soonAfter: id });
    await assert.rejects(up(soon, at("idr"), killAt("detach/volumes", "before-call")));
    world.lease = undefined;
    await up(intentTo("idr", period), at("idr")); // aborted: nothing was switched
    const [, aborted = ""] = [...world.journals.keys()];
    assert.match(world.journals.get(aborted)?.entries.at(-1) ?? "", /aborted/);
    await assert.rejects(up(soon, at("idr"), killAt("attach/volumes", "before-call")));
    world.lease = undefined;
    assert.equal((await up(home(), at("idr"))).activeSite, "iprod");
  });

  it("counts the switchover where a promotion came after it", async () => {
    const { world, up, preview } = begin();
    await up(intentTo("idr", { ...period, promotion: "deferred" }), at("iprod"));
    await up(intentTo("idr", period), at("idr", false, false));
    assert.equal(world.journals.size, 2);
    const [failure] = (await preview(home(), at("idr"))).failures;
    assert.match(failure?.message ?? "", /"iprod" → "idr" \(\S+-switchover-iprod-idr\) ended/);
  });

  it("reads no journal of one that was closed before", async () => {
    const { world, preview } = await after(601);
    const ports = world.ports.bind(world);
    let reads = 0;
    world.ports = (): Ports => {
      const real = ports();
      const readJournal = (id: string): Promise<readonly string[]> => {
        reads++;
        return real.coordination.readJournal(id);
      };
      return { ...real, coordination: { ...real.coordination, readJournal } };
    };
    assert.deepEqual((await preview(home(), at("idr"))).failures, []);
    assert.equal(reads, 0);
    world.nowMs -= 2000;
    assert.equal((await preview(home(), at("idr"))).failures.length, 1);
    assert.ok(reads > 0);
  });

  it("counts from the last entry where the run died before it closed its row", async () => {
    for (const [seconds, refused] of [
      [700, false],
      [100, true],
    ] as const) {
      const { world, up, preview, id } = await after(seconds);
      const journal = world.journals.get(id);
      assert.ok(journal);
      journal.open = true;
      delete journal.closedMs;
      assert.equal((await preview(home(), at("idr"))).failures.length, refused ? 1 : 0);
      const outcome = up(home(), at("idr"));
      if (refused) await assert.rejects(outcome, fails("precondition", /needed 600 s/));
      else assert.equal((await outcome).activeSite, "iprod");
    }
  });

  it("isn't in the digest, nor are the others", async () => {
    const { preview } = begin();
    const { digest } = await preview(intentTo("idr"), at("iprod"));
    const more = { ...period, soonAfter: "x", maximumLagSeconds: 100, expectedActive: "iprod" };
    assert.equal((await preview(intentTo("idr", more), at("iprod"))).digest, digest);
  });
});
