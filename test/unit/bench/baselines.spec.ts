import assert from "node:assert/strict";
import { baselines, type BaselineResult, type Run, withRuns } from "../../../bench/baselines";
import { problemsAt, type Seen } from "../../../bench/baselines/end-state";
import type { LabDescription } from "../../../lab/lab";

const run = (contender: Run["contender"], seconds: number, to: Run["to"] = "idr"): Run => ({
  contender,
  instances: 10,
  to,
  seconds,
  downSeconds: seconds / 2,
  phases: [{ name: "stop", seconds: seconds / 2 }],
});

describe("the baselines", () => {
  const result: BaselineResult = {
    volumesPerInstance: 4,
    labs: [
      { flavour: "openstack", missing: "there is no RabbitMQ", runs: [] },
      {
        flavour: "embedded",
        runs: [run("product", 10), run("runbook", 300), run("product", 20, "iprod"), run("runbook", 400, "iprod")],
      },
    ],
  };

  it("compare medians with what was wanted, and only what was measured", () => {
    const goals = baselines.goals(result);
    assert.deepEqual(
      goals.map(({ met }) => met),
      [false],
    );
    assert.match(
      goals[0]?.text ?? "",
      /^At least 25 × .*10 × 4 volumes\): 23\.3 ×, where 9\.3 × would be what one instance's own delays allow$/,
    );
  });

  it("are measured lab by lab, and size by size", () => {
    const ten = withRuns(result, "openstack", [run("product", 30)]);
    assert.deepEqual(ten.labs[0], { flavour: "openstack", runs: [run("product", 30)] });
    assert.equal(ten.labs[1], result.labs[1]);
    const more = { ...run("product", 50), instances: 49 };
    const both = withRuns(withRuns(ten, "openstack", [more]), "openstack", [run("product", 31)]);
    assert.deepEqual(both.labs[0]?.runs, [run("product", 31), more]);
    assert.match(withRuns(undefined, "embedded", []).labs[0]?.missing ?? "", /only the other/);
  });

  it("are shown with their spread, for each volume, and with what is missing", () => {
    const { markdown } = baselines.render(result);
    assert.match(markdown, /not measured here, as there is no RabbitMQ/);
    assert.match(markdown, /\| 10 × 4 \| the runbook \| 350 \(300–400\), 2 runs \|/);
    assert.match(markdown, /\| 8\.75 /);
    assert.match(markdown, /- the runbook: stop 150/);
  });

  it("aren't part of a quick run", () =>
    assert.match(baselines.missing?.({ quick: true, cold: false }) ?? "", /quick/));
});

describe("the end state", () => {
  const site = (name: string, portal: string) => ({
    svm: `svm-${name}`,
    iscsiAddresses: [portal],
    flexVols: [{ name: "pool1" }],
  });
  const lab = {
    volumeHost: "h",
    controllers: [{ name: "controller-1" }],
    arrays: { iprod: site("iprod", "1.1.1.1"), idr: site("idr", "2.2.2.2") },
  } as unknown as LabDescription;
  const at = (here: "iprod" | "idr", there: "iprod" | "idr", portal: string): Seen => ({
    servers: [{ id: "s", name: "guest-01", vm_state: "active", task_state: null, locked: 0 }],
    attachments: [
      {
        server: "s",
        device: "/dev/vdb",
        volume: "v",
        connection: JSON.stringify({ data: { target_portal: `${portal}:3260` } }),
      },
    ],
    volumes: [{ id: "v", host: `h@${here}#pool1`, status: "in-use", replication_status: "enabled" }],
    services: [
      { host: `h@${here}`, disabled: 0, replication_status: "enabled", active_backend_id: null },
      { host: `h@${there}`, disabled: 1, replication_status: "failed-over", active_backend_id: here },
    ],
    maps: { iprod: [], idr: [], [here]: ["/vol/pool1/v"] },
    mirrors: { iprod: [], idr: [], [there]: [`svm-${here}:pool1 → svm-${there}:pool1: snapmirrored`] },
    enabledBackends: [`roots,${here}`],
  });
  const before = at("iprod", "idr", "1.1.1.1");
  const after = at("idr", "iprod", "2.2.2.2");

  it("is reached when all of it moved", () => assert.deepEqual(problemsAt(lab, "idr", before, after), []));

  const flaws: { name: string; seen: Partial<Seen>; says: RegExp }[] = [
    { name: "nothing moved", seen: before, says: /portal 1\.1\.1\.1/ },
    {
      name: "an instance that doesn't run",
      seen: { servers: [{ ...after.servers[0], vm_state: "stopped" }] as Seen["servers"] },
      says: /^instances: .*stopped/,
    },
    { name: "a volume that isn't attached", seen: { attachments: [] }, says: /^attachments: \[\] instead/ },
    {
      name: "a LUN that is still mapped",
      seen: { maps: { iprod: ["/vol/pool1/v"], idr: ["/vol/pool1/v"] } },
      says: /^LUN maps at iprod/,
    },
    { name: "no fence", seen: { services: after.services.slice(0, 1) }, says: /^the service at iprod: null/ },
    { name: "a mirror that isn't turned round", seen: { mirrors: before.mirrors }, says: /^mirrors/ },
    { name: "a cinder.conf of before", seen: { enabledBackends: ["roots,iprod"] }, says: /^enabled_backends/ },
  ];
  for (const { name, seen, says } of flaws)
    it(`isn't reached with ${name}`, () => {
      const problems = problemsAt(lab, "idr", before, { ...after, ...seen });
      assert.ok(
        problems.some((problem) => says.test(problem)),
        problems.join("\n"),
      );
    });
});
