import assert from "node:assert/strict";
import { DrError } from "../../../lib/errors";
import { Lease, leaseSeconds } from "../../../lib/switchover/lease";
import { at, journals, operator } from "./support";
import { intentTo, World } from "./world";

const newJournal = journals();
const holder = (owner: string) => ({ owner, host: "h", pid: 1, stack: "test", planDigest: "" });

function taker(world: World, owner: string, said: string[] = []): Promise<Lease> {
  const { coordination, clock } = world.ports();
  const { signal } = new AbortController();
  return Lease.acquire({
    pair: "pair",
    holder: holder(owner),
    coordination,
    clock,
    signal,
    say: (line) => said.push(line),
  });
}

describe("Lease", () => {
  it("goes to one of two takers; the other waits until it's given back", async () => {
    const world = new World();
    const first = await taker(world, "first");
    const said: string[] = [];
    const waiting = taker(world, "second", said);
    while (said.length === 0) await Promise.resolve();
    assert.equal(world.lease?.owner, "first");
    assert.match(said[0] ?? "", /held by first on h \(pid 1\)/);
    await first.release();
    const second = await waiting;
    assert.equal(world.lease?.owner, "second");
    await second.release();
    assert.equal(world.lease, undefined);
  });

  it("is taken over when its holder doesn't renew it any more", async () => {
    const world = new World();
    await taker(world, "dead");
    const before = world.nowMs;
    const lease = await taker(world, "heir");
    assert.equal(world.lease?.owner, "heir");
    assert.ok(world.nowMs - before >= leaseSeconds * 1000, "not before it ran out");
    await lease.guard();
  });

  it("isn't taken from a holder that renews it", async () => {
    const world = new World();
    const first = await taker(world, "alive");
    const { coordination } = world.ports();
    const ticking = world.ports().clock;
    const clock = {
      now: () => new Date(world.nowMs),
      sleep: async (ms: number, signal?: AbortSignal) => {
        await ticking.sleep(ms, signal);
        await coordination.renewLease("pair", world.lease?.token ?? "", leaseSeconds);
      },
    };
    await assert.rejects(
      Lease.acquire({ pair: "pair", holder: holder("other"), coordination, clock, signal: new AbortController().signal, say: () => undefined }),
      (error) => DrError.is(error, "lease") && /alive on h \(pid 1, stack test\) holds it and renews it/.test(error.message),
    ); // prettier-ignore
    await first.guard();
  });

  it("asks the database again when its last proof has aged, and not before", async () => {
    const world = new World();
    const lease = await taker(world, "first");
    world.faults.leaseTaken = true;
    await lease.guard();
    world.nowMs += 4_000;
    await assert.rejects(lease.guard(), (error) => DrError.is(error, "lease") && /taken over/.test(error.message));
    world.faults.leaseTaken = false;
    await assert.rejects(lease.guard(), (error) => DrError.is(error, "lease"), "lost is lost");
  });

  it("takes a renewal that needed half of the lease's time for no proof", async () => {
    const world = new World();
    const lease = await taker(world, "first");
    world.nowMs += 4_000;
    world.faults.renewalSeconds = 20;
    await assert.rejects(lease.guard(), (error) => DrError.is(error, "lease") && /took 20 s/.test(error.message));
    world.faults.renewalSeconds = 0;
    await lease.guard();
  });

  it("doesn't trust a proof from the future, after the clock was put back", async () => {
    const world = new World();
    const lease = await taker(world, "first");
    world.faults.leaseTaken = true;
    world.nowMs -= 3_600_000;
    await assert.rejects(lease.guard(), (error) => DrError.is(error, "lease"));
  });

  it("hides no error when it can't be given back", async () => {
    const world = new World();
    const { coordination, clock } = world.ports();
    const dead = { ...coordination, releaseLease: () => Promise.reject(new Error("connection lost")) };
    const { signal } = new AbortController();
    const lease = await Lease.acquire({
      pair: "pair",
      holder: holder("x"),
      coordination: dead,
      clock,
      signal,
      say: () => undefined,
    });
    await lease.release();
  });
});

describe("a run that loses its lease", () => {
  for (const from of ["server-0 lock", "server-0 stop", "server-1 detach 10", "transfer iprod pool1"])
    it(`makes no further call after "${from}", and writes nothing into the journal of the other run`, async () => {
      const world = new World();
      let entries = 0;
      world.meanwhile = (call) => {
        if (call !== from || world.faults.leaseTaken) return;
        world.faults.leaseTaken = true;
        world.nowMs += 4_000;
        entries = [...world.journals.values()][0]?.entries.length ?? 0;
      };
      await assert.rejects(operator(world, newJournal()).up(intentTo("idr"), at("iprod")), (error) =>
        DrError.is(error, "lease"),
      );
      // The other instance's may be on its way, past its own look at the lease.
      const later = world.calls.slice(world.calls.indexOf(from) + 1);
      const [own = ""] = from.split(" ");
      assert.ok(later.length <= 1 && later.every((call) => !call.startsWith(own)), later.join("; "));
      assert.equal([...world.journals.values()][0]?.entries.length, entries);
      assert.deepEqual(world.violations, []);
    });

  it("is refused to a stack that doesn't own the pair", async () => {
    const world = new World();
    await operator(world, newJournal()).up(intentTo("iprod"));
    await assert.rejects(
      operator(world, newJournal(), "other").up(intentTo("idr"), at("iprod")),
      (error) => DrError.is(error, "lease") && /belongs to stack "test"/.test(error.message),
    );
    assert.deepEqual(world.calls, []);
  });
});
