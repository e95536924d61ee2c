import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { appendFileSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import { promisify } from "node:util";
import { type Flavour, missingFor, readSecret } from "../../lab/lab";
import { met } from "../support/hazards";
import { skipBecause } from "../support/skip";
import { otherSite, say, sayFailures, Scene, type Site, until } from "./support";

const run = promisify(execFile);

/** The product through its own command line on a lab of that flavour: one lab, one scenario after another. */
export function switchoverSuite(flavour: Flavour): void {
  describe(`the switchover by Pulumi's command line (${flavour} lab)`, function () {
    this.timeout(900_000);
    let scene: Scene;

    before(async function () {
      const missing = missingFor(flavour, process.env["CINDER_CHEESECAKE_PYTHON"]);
      if (missing !== undefined) skipBecause(this, missing);
      scene = await Scene.open({ flavour });
    });

    sayFailures(() => scene);

    after(() => scene?.close());

    function withoutOurs(conf: string): string {
      return conf
        .replace(/^\[(iprod|idr)\]\n(?:(?!\[).*\n?)*/gm, "")
        .replace(/^enabled_backends.*$/m, "")
        .trim();
    }

    // ------------------------------------------------------------------------------------------------------------ helpers

    const logOf = (file = ""): string => (existsSync(file) ? readFileSync(file, "utf8") : "");

    /** The standby controller's cinder-volume, by the lab's service manager. */
    async function service(host: string, verb: "start" | "stop"): Promise<void> {
      await run(scene.lab.serviceManager, ["--lab", scene.lab.dir, "--host", host, verb, "cinder-volume"]);
    }

    /** Counts changes of the services row. */
    function heartbeats(site: Site): () => Promise<number> {
      const seen = new Set<string>();
      return async () => seen.add((await scene.volumeService(site))?.updated_at ?? "").size;
    }

    /** Starts an update of each mirror into the site, as anybody may. Returns how many began. */
    function startTransfers(into: Site): Promise<number> {
      return scene.onArray(into, async (client) => {
        let begun = 0;
        for (const { uuid } of await client.listMirrors(scene.flexVols()))
          await client.startTransfer(uuid).then(
            () => begun++,
            (error: unknown) => say(`another transfer: ${error instanceof Error ? error.message : String(error)}`),
          );
        return begun;
      });
    }

    describe("at first", () => {
      it("doesn't take over a stanza that exists with other values", async () => {
        const [controller] = scene.lab.controllers;
        assert.ok(controller);
        const right = readFileSync(controller.cinderConf, "utf8");
        writeFileSync(controller.cinderConf, `${right}\n[idr]\nnetapp_vserver = another\n`);
        const before = scene.cinderConf(0);
        try {
          const said = await scene.refused();
          assert.match(said, /Adopt the stanza \[idr\]/);
          assert.match(said, /controller-1 .*netapp_vserver/);
          assert.match(said, /Declare the values that the file has, or edit the file/);
          assert.equal(
            scene
              .cinderConf(0)
              .replace(/^\[iprod\]\n(?:(?!\[).*\n?)*/m, "")
              .trim(),
            before.trim(),
          );
        } finally {
          writeFileSync(
            controller.cinderConf,
            scene.cinderConf(0).replace(/\n\[idr\]\nnetapp_vserver = another\n/, "\n"),
          );
        }
      });

      it("activates iprod, and changes nothing of cinder.conf but its own", async () => {
        const odd =
          "\n# Kept for later\n[elsewhere]\nreplication_device=backend_id:a,x:1\n; as told\nreplication_device = backend_id:b\n";
        if (!scene.cinderConf(0).includes("[elsewhere]"))
          for (const { cinderConf } of scene.lab.controllers) appendFileSync(cinderConf, odd);
        const before = scene.lab.controllers.map((_, controller) => scene.cinderConf(controller));
        await scene.up();
        scene.lab.controllers.forEach((_, controller) => {
          const conf = scene.cinderConf(controller);
          assert.match(conf, /^enabled_backends\s*=\s*loweropenstack1,\s*iprod$/m);
          assert.equal(withoutOurs(conf), withoutOurs(before[controller] ?? ""));
        });
        const { status } = await scene.pulumi.outputs(scene.recovery);
        assert.equal(status, `active at iprod (${scene.lab.volumeHost}@iprod), protected`);
      });

      it("has instances with two data volumes each, which write", async () => {
        await scene.pulumi.set(scene.pulumi.testLabStack, "lab.dataVolumeSets", "2");
        await scene.up({ stack: scene.pulumi.testLabStack });
        await scene.format("vdb", "vdc");
        await scene.write("at-first");
        await scene.assertBytes();
      });
    });

    describe("planned", () => {
      it("moves production to idr without losing a byte", async () => {
        await scene.at("iprod");
        await scene.write("before-planned");
        const confs = scene.lab.controllers.map((_, controller) => scene.cinderConf(controller).split("\n"));
        scene.configure({ activeSite: "idr", promotion: "immediate" });
        const { output } = await scene.preview();
        const previewed = [...output.matchAll(/"(\d+)\. ([a-z-]+): ([^"\\]*(?:\\"[^"\\]*)*)"$/gm)].map(
          ([, , phase, sentence]) => ({
            phase,
            sentence: sentence?.replaceAll('\\"', '"'),
          }),
        );
        await scene.up();
        const report = scene.lastReport();
        assert.equal(report.verdict, "completed");
        assert.deepEqual(
          [report.from, report.to, report.mode, report.route, report.rpoSeconds],
          ["iprod", "idr", "planned", "failover-host", 0],
        );
        assert.deepEqual(
          report.steps.map(({ id, sentence }) => ({ phase: id.split("/")[0], sentence })),
          previewed,
        );
        const begins = report.steps.map((step) => Date.parse(step.startedAt ?? ""));
        assert.deepEqual(
          begins,
          [...begins].sort((a, b) => a - b),
        );
        await scene.assertNormal("idr");
        await scene.assertBytes();

        const { iprod, idr } = scene.lab.arrays;
        assert.equal(report.servers.length, 3);
        for (const server of report.servers) {
          assert.deepEqual(
            server.attachments.map(({ device }) => device),
            ["/dev/vdb", "/dev/vdc"],
          );
          for (const { before, after } of server.attachments) {
            assert.ok(
              iprod.iscsiAddresses.some((address) => before?.portal?.startsWith(`${address}:`)),
              JSON.stringify(before),
            );
            assert.ok(
              idr.iscsiAddresses.some((address) => after?.portal?.startsWith(`${address}:`)),
              JSON.stringify(after),
            );
            assert.notEqual(before?.iqn, after?.iqn);
          }
        }
        scene.lab.controllers.forEach((_, controller) => {
          const now = scene.cinderConf(controller).split("\n");
          const former = confs[controller] ?? [];
          const only = (lines: string[], others: string[]): string[] => lines.filter((line) => !others.includes(line));
          for (const line of [...only(now, former), ...only(former, now)])
            assert.match(line, /^(enabled_backends|replication_device)\s*=/);
          const kept = (lines: string[]) =>
            lines.filter((line) => !/^(enabled_backends|replication_device)\s*=/.test(line));
          assert.deepEqual(kept(now), kept(former));
        });
      });

      it("leaves nothing to do for up, with and without --refresh, and nothing is sent to the clusters", async () => {
        await scene.at("idr");
        await scene.assertNothingLeft();
      });
    });

    describe("with the former cinder.conf put back on a forgotten controller", () => {
      it("the driver that starts there doesn't overwrite the active site", async () => {
        await scene.at("idr");
        await scene.write("before-reverted-conf");
        const [, controller] = scene.lab.controllers;
        assert.ok(controller);
        const volume = controller.services.find(({ name }) => name === "cinder-volume");
        const right = readFileSync(controller.cinderConf, "utf8");
        const reverted = right
          .replace(/^(enabled_backends.*)idr/m, "$1iprod")
          .replace(/^(\[iprod\]\n)/m, "$1replication_device = backend_id:idr\n");
        const mirrors = await scene.mirrorsSeen();
        const sent = await scene.lastMutation();
        const logged = logOf(volume?.log).length;
        writeFileSync(controller.cinderConf, reverted);
        try {
          await service(controller.name, "start");
          await until(
            "both backends' drivers are initialised on controller-2",
            () => logOf(volume?.log).slice(logged).split("Driver post RPC initialization completed").length - 1,
            (times) => times === 2,
          );
          // Its housekeeping looks at the mirrors right after that; give it several rounds of its periodic tasks.
          await until("heartbeats of iprod go on", heartbeats("iprod"), (seen) => seen >= 6);
        } finally {
          await service(controller.name, "stop");
          writeFileSync(controller.cinderConf, right);
        }
        assert.deepEqual(await scene.mirrorsSeen(), mirrors);
        assert.deepEqual(
          (await scene.mutations(sent)).filter(({ path }) => path.includes("snapmirror")),
          [],
        );
        const fence = await scene.volumeService("iprod");
        assert.deepEqual(
          [fence?.status, fence?.replication_status, fence?.active_backend_id],
          ["disabled", "failed-over", "idr"],
        );
        await scene.assertBytes();
        await scene.assertNormal("idr");
        met({
          id: "D15",
          behaviour:
            "the services row decides: with the left site's row cleared, a driver started there overwrites the new site",
          produced:
            "the former cinder.conf put back on a controller, cinder-volume started there, several rounds of its tasks",
          handled: "promotion leaves that row as a fence: failed-over, disabled; nothing was sent to a mirror",
          lost: "0",
        });
      });
    });

    describe("failback", () => {
      it("takes along what was written until the last instance stopped, while other transfers run", async () => {
        await scene.at("idr");
        await scene.write("before-failback");
        const command = await scene.writeCommand("last-words");
        const hooks = [{ name: "last-words", when: "before:quiesce", command, timeoutSeconds: 300 }];
        scene.configure({ activeSite: "iprod", hooks });
        let started = 0;
        const pending: Promise<void>[] = [];
        await scene.up({
          onLine: (line) => {
            if (/ running .*(quiesce\/stop-instances|detach\/volumes): /.test(line))
              pending.push(startTransfers("iprod").then((count) => void (started += count)));
          },
        });
        await Promise.all(pending);
        assert.ok(started > 0, "no transfer of others ran meanwhile");
        assert.deepEqual(
          [scene.lastReport().verdict, scene.lastReport().to, scene.lastReport().rpoSeconds],
          ["completed", "iprod", 0],
        );
        await scene.assertSettled("iprod");
      });
    });

    describe("an approved plan", () => {
      it("binds: a volume that was attached since makes up refuse, name it, and change nothing", async () => {
        await scene.at("iprod");
        scene.configure({ activeSite: "idr", promotion: "deferred" });
        const { output } = await scene.preview();
        // The former plan comes first: what was => what would be.
        const digest = [...output.matchAll(/; plan ([0-9a-f]{32})/g)].at(-1)?.[1];
        assert.ok(digest);
        scene.configure({ approvedPlan: digest });
        const guest = (await scene.servers())[0]?.id ?? "";
        const stranger = await scene.createVolume("stranger", "netapp_iscsi");
        await scene.attach(guest, stranger);
        try {
          const before = await scene.everything();
          const said = await scene.refused();
          assert.match(said, new RegExp(`plan ${digest} was approved`));
          assert.match(said, /guest-01 \(vdb, vdc, vdd\)/);
          assert.deepEqual(await scene.everything(), before);
        } finally {
          await scene.detach(guest, stranger);
          await scene.deleteVolume(stranger);
        }
      });

      it("is carried out when it is the plan still, its promotion deferred", async () => {
        await scene.write("before-deferred");
        await scene.up();
        scene.configure({ approvedPlan: undefined });
        const { status } = await scene.pulumi.outputs(scene.recovery);
        assert.equal(status, "failed over to idr, not promoted, unprotected");
        await scene.assertInstancesRun();
        await scene.assertBytes();
      });
    });

    describe("a deferred promotion", () => {
      it("lets new volumes be made and attached at idr, and promotes them with the others", async () => {
        const { status } = await scene.pulumi.outputs(scene.recovery);
        if (status !== "failed over to idr, not promoted, unprotected") {
          await scene.at("iprod");
          await scene.flip("idr", { promotion: "deferred" });
        }
        await scene.pulumi.set(scene.pulumi.testLabStack, "lab.dataVolumeSets", "3");
        await scene.up({ stack: scene.pulumi.testLabStack });
        await scene.format("vdd");
        await scene.write("before-promotion");
        await scene.flip("idr", { promotion: "immediate" });
        assert.equal(scene.lastReport().kind, "promotion");
        await scene.assertSettled("idr");
        met({
          id: "D8",
          behaviour: "while failed over the service is disabled: nothing can be made or extended",
          produced: "a deferred promotion; volumes made and attached before it was caught up with",
          handled:
            "enabled again (freeze and thaw) at the end of a deferred switchover; promoted with the others later",
          lost: "0",
        });
      });
    });

    describe("bad input", () => {
      const key = (name: string): string => `cinder-cheesecake:${name}`;
      interface Case {
        readonly what: string;
        readonly change: (config: Record<string, unknown>) => void | Promise<void>;
        readonly says: readonly RegExp[];
      }
      const cases: Case[] = [
        {
          what: "an unknown site",
          change: (config) => void (config[key("activeSite")] = "mars"),
          says: [/activeSite: "mars" is not one of (iprod, idr|idr, iprod)/, /pulumi config set/],
        },
        {
          what: "both sites alike",
          change: (config) => {
            const { sites } = config[key("pair")] as { sites: Record<Site, object> };
            sites.idr = sites.iprod;
          },
          says: [/pair\.sites/, /iprod|same|differ/],
        },
        {
          what: "a missing credential",
          change: (config) => void delete config[key("openstackSecret")],
          says: [/openstackSecret: /, /--secret/],
        },
        {
          what: "an unreachable database",
          change: (config) => {
            flipped(config);
            (config[key("pair")] as { cinder: { database: { port: number } } }).cinder.database.port = 9;
          },
          says: [/the database at mysql:.* did not answer/, /Check server and network/],
        },
        {
          what: "a wrong ONTAP password",
          change: async (config) => {
            flipped(config);
            await scene.setSecret("ontapPasswords", {
              iprod: "wrong",
              idr: readSecret(scene.lab.arrays.idr.passwordFile),
            });
            Object.assign(config, { [key("ontapPasswords")]: scene.readConfiguration()[key("ontapPasswords")] });
          },
          says: [/iprod/, /401|not authorized|password/i],
        },
        {
          what: "several things wrong at once",
          change: (config) => {
            config[key("activeSite")] = "mars";
            config[key("promotion")] = "perhaps";
            config[key("activSite")] = "idr";
            delete config[key("databasePassword")];
          },
          says: [/\d faults/, /activSite: is no key/, /promotion: /, /databasePassword: /],
        },
      ];
      function flipped(config: Record<string, unknown>): void {
        config[key("activeSite")] = otherSite(config[key("activeSite")] as Site);
      }

      // From where production runs, so that the other site is a switchover.
      before(async () => scene.configure({ activeSite: (await scene.pulumi.outputs(scene.recovery))["activeSite"] }));

      for (const { what, change, says } of cases)
        it(`${what} is one clear error, and changes nothing`, async () => {
          const before = await scene.everything();
          const said = await scene.withConfiguration(change, () => scene.refused());
          for (const text of says) assert.match(said, text);
          assert.doesNotMatch(said, /\n\s+at .*\.ts:\d+/, "a stack trace");
          assert.deepEqual(await scene.everything(), before);
        });

      it("goes on with what is right, as if nothing had been", async () => {
        const before = await scene.everything();
        await scene.up();
        assert.deepEqual(await scene.everything(), before);
      });
    });

    describe("everything that was told", () => {
      it("tells no secret: not in the state, journals, reports, or anything printed", async () => {
        const { stdout: state } = await scene.pulumi.run(["stack", "export", "--stack", scene.recovery], {
          quiet: true,
        });
        const texts = new Map([...scene.reportTexts(), ["state", state], ["output", scene.printed]]);
        assert.ok(scene.secrets().size >= 10 && texts.size >= 4);
        for (const [what, secret] of scene.secrets())
          for (const [where, text] of texts) assert.ok(!text.includes(secret), `the secret ${what} is in ${where}`);
        // Output may name the option whose value differs, as the refused stanza's does; what is stored has no use for it.
        for (const [where, text] of texts)
          if (where !== "output") assert.doesNotMatch(text, /netapp_password|auth_password"?\s*[:=]/, where);
      });
    });

    describe("destroy", () => {
      it("is refused while there are volumes, and leaves it all as it is", async () => {
        const sites = ["iprod", "idr"];
        const before = await scene.everything();
        const mirrors = await scene.mirrorsSeen();
        const { code, output } = await scene.destroy({ anyCode: true });
        assert.notEqual(code, 0);
        // What depends goes first: the mirrors refuse, and the stanzas under them aren't reached.
        assert.match(
          output,
          /Delete the SnapMirror relationship of pool1: the FlexVol holds what it protects: \d+ LUNs/,
        );
        const { conf, ...others } = (await scene.everything()) as { conf: string[] };
        const { conf: formerly, ...othersBefore } = before as { conf: string[] };
        assert.deepEqual(others, othersBefore);
        assert.deepEqual(await scene.mirrorsSeen(), mirrors);
        const active = sites.find((site) => /^enabled_backends.*$/m.exec(formerly[0] ?? "")?.[0].includes(site)) ?? "";
        const stanzaOf = (text: string): string =>
          new RegExp(`^\\[${active}\\]\\n(?:(?!\\[).*\\n?)*`, "m").exec(text)?.[0] ?? "";
        conf.forEach((text, controller) => assert.equal(stanzaOf(text), stanzaOf(formerly[controller] ?? "")));
      });

      it("removes what the stacks created, and nothing else", async () => {
        await scene.destroy({ stack: scene.pulumi.testLabStack });
        assert.deepEqual([await scene.servers(), await scene.volumes()], [[], []]);
        for (const { cinderConf } of scene.lab.controllers)
          writeFileSync(
            cinderConf,
            readFileSync(cinderConf, "utf8").replace(/^(enabled_backends.*),\s*(iprod|idr)$/m, "$1"),
          );
        await scene.destroy();
        scene.lab.controllers.forEach((_, controller) => {
          const conf = scene.cinderConf(controller);
          assert.doesNotMatch(conf, /^\[(iprod|idr)\]/m);
          assert.match(conf, /^\[elsewhere\]\n/m);
          assert.match(conf, /^enabled_backends = loweropenstack1$/m);
        });
        assert.deepEqual(await scene.mirrorsSeen(), [[], []]);
        for (const site of ["iprod", "idr"] as const)
          assert.deepEqual(
            await scene.onArray(site, async (client) => [await client.listSvmPeers(), await client.listClusterPeers()]),
            [[], []],
          );
      });
    });
  });
}
