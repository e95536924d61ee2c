import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { format, resolveConfig } from "prettier";
import { connectCinderDatabase, type PromotionChange } from "../../../lib/cinder-database";
import { hostColumns, releasesOf } from "../../../lib/cinder-database/schema";
import { DrError } from "../../../lib/errors";
import { type PrivateMariadb, startMariadb } from "../cinder-database/private-mariadb";
import { CinderManage } from "./cinder-manage";
import { changesOf, commands, contentOf, idr, iprod, rows } from "./rows";

/**
 * Each with the last migration it comes with. 22 and 23 are there for their schemas; the others' commands are compared:
 * the oldest, the last without a failback of NetApp's driver, one in between, and the newest.
 */
const releases = [
  { release: "21.3.2", head: "c92a3e68beed", compared: true },
  { release: "22.3.0", head: "daa98075b90d", compared: false },
  { release: "23.5.0", head: "89aa6f9639f9", compared: false },
  { release: "24.0.0", head: "9c74c1c6971f", compared: true },
  { release: "26.0.0", head: "9c74c1c6971f", compared: true },
  { release: "29.0.0", head: "9c74c1c6971f", compared: true },
] as const;

type Verdict = "the same" | "ours only" | "theirs only" | "different";
interface Judgement {
  readonly verdict: Verdict;
  readonly reason: string;
}

const noUpdateService: Judgement = {
  verdict: "ours only",
  reason: "no such command yet: they name the service of the site that was left",
};

/** Columns in which either writes something. Whatever isn't the same has its reason; a column that isn't here fails. */
const judgements: Readonly<Record<string, Judgement & { readonly in?: Readonly<Record<string, Judgement>> }>> = {
  "volumes.host": { verdict: "the same", reason: "`update_host` takes the new host literally: pools one by one" },
  "volumes.service_uuid": {
    verdict: "the same",
    reason: "`update_service`",
    in: { "21.3.2": noUpdateService, "24.0.0": noUpdateService },
  },
  "volumes.replication_status": {
    verdict: "ours only",
    reason: "no command; `failed-over` on a site that is the primary again. What isn't replicated stays so",
  },
  "groups.host": {
    verdict: "ours only",
    reason: "no command for generic groups; they would name a backend that's gone",
  },
  "consistencygroups.host": { verdict: "the same", reason: "`update_cg_host`" },
  "image_volume_cache_entries.host": {
    verdict: "ours only",
    reason: "no command; the cache would miss, and its volumes would never be evicted",
  },
  "services.replication_status": { verdict: "the same", reason: "`reset_active_backend`, of the new site's row alone" },
  "services.active_backend_id": { verdict: "the same", reason: "`reset_active_backend`" },
  "services.disabled": { verdict: "the same", reason: "`reset_active_backend`" },
  "services.disabled_reason": {
    verdict: "different",
    reason: "NULL is what Cinder itself gives a service that was never disabled",
  },
  "services.frozen": {
    verdict: "ours only",
    reason: "`reset_active_backend` demands a frozen backend and leaves it so, until somebody thaws it",
  },
};

const document = path.join(__dirname, "../../../docs/promotion.md");
const update = process.env["UPDATE_PROMOTION_TABLE"] !== undefined;

describe("promotion on the schemas of Cinder's releases, compared with cinder-manage", function () {
  this.timeout(600_000); // a start of cinder-manage takes 3 s, or 15 on a busy machine; there are some 30
  let server: PrivateMariadb;
  const compared: { column: string; release: string; theirs: string; ours: string; judgement: Judgement }[] = [];

  before(async () => {
    server = await startMariadb("127.71.0.3", 13307);
    await server.sql(
      "CREATE USER dr@'127.%' IDENTIFIED BY 'dr'; GRANT ALL ON `c%`.* TO dr@'127.%'; GRANT ALL ON cinder_cheesecake.* TO dr@'127.%'",
    );
  });
  after(() => server.stop());

  for (const { release, head, compared: isCompared } of releases)
    describe(`Cinder ${release}`, () => {
      const base = `c${release.replaceAll(".", "_")}`;
      const cinderManage = () => new CinderManage(server, release);
      let number = 0;

      before(async () => {
        await server.sql(`CREATE DATABASE ${base} CHARACTER SET utf8mb3`);
        await cinderManage().do(base, "db", "sync");
        await server.sql(rows, base);
      });

      /** The same rows in a schema of its own. */
      const copy = async (): Promise<string> => {
        const schema = `${base}_${++number}`;
        await server.sql(`CREATE DATABASE ${schema} CHARACTER SET utf8mb3; DROP DATABASE IF EXISTS cinder_cheesecake`);
        const as = ["--no-defaults", "-uroot", `--socket=${server.socket}`];
        const dump = spawnSync("mariadb-dump", [...as, "--hex-blob", base], { maxBuffer: 1 << 26 });
        assert.equal(dump.status, 0, dump.stderr.toString());
        const restored = spawnSync("mariadb", [...as, schema], { input: dump.stdout });
        assert.equal(restored.status, 0, restored.stderr.toString());
        return schema;
      };
      const using = async <T>(
        schema: string,
        work: (database: ReturnType<typeof connectCinderDatabase>["database"]) => Promise<T>,
      ): Promise<T> => {
        const { host, port } = server;
        const client = connectCinderDatabase({
          host,
          port,
          user: "dr",
          password: "dr",
          cinderSchema: schema,
          tls: false,
        });
        try {
          return await work(client.database);
        } finally {
          await client.close();
        }
      };
      const expected = { volumes: 4, groups: 1, consistencygroups: 1, image_volume_cache_entries: 1 };
      const promote = (schema: string, more: Partial<PromotionChange> = {}) =>
        using(schema, (database) =>
          database.promote({
            fromHost: iprod,
            toHost: idr,
            toBackendId: "idr",
            expected,
            writeFence: false,
            takeInFlight: false,
            ...more,
          }),
        );
      const refused = async (schema: string, code: string, text: RegExp, more: Partial<PromotionChange> = {}) => {
        const before = await contentOf(server, schema);
        await assert.rejects(
          promote(schema, more),
          (error: Error) => DrError.is(error) && error.code === code && text.test(error.message),
        );
        assert.deepEqual(await contentOf(server, schema), before, "a refused promotion changes nothing");
      };

      it(`is recognised by ${head}, and has no column that may name a host and nobody decided about`, async () => {
        const seen = await using(base, (database) => database.describe());
        assert.equal(seen.schemaHead, head);
        const [first = 0, last = first] = (seen.schemaReleases ?? "").match(/\d+/g)?.map(Number) ?? [];
        const major = Number.parseInt(release, 10);
        assert.ok(first <= major && major <= last, `${release} is of ${seen.schemaReleases}`);
        assert.deepEqual(seen.undecidedColumns, []);
        const found = await server.sql(
          `SELECT CONCAT(table_name, '.', column_name) AS name FROM information_schema.columns WHERE table_schema = '${base}'`,
        );
        const names = new Set(found.map(({ name }) => String(name)));
        assert.deepEqual(
          Object.keys(hostColumns).filter((column) => !names.has(column)),
          [],
          "every column that was decided about exists",
        );
      });

      if (isCompared)
        it("gets from the promotion what cinder-manage does, or there is a reason", async () => {
          const before = await contentOf(server, base);
          const byTool = await copy();
          for (const command of commands)
            if (["21.3.2", "24.0.0"].includes(release) && command[1] === "update_service")
              await assert.rejects(cinderManage().do(byTool, ...command), /invalid choice: 'update_service'/);
            else await cinderManage().do(byTool, ...command);
          const byPromotion = await copy();
          await promote(byPromotion);

          const theirs = changesOf(before, await contentOf(server, byTool));
          const ours = changesOf(before, await contentOf(server, byPromotion));
          assert.deepEqual(
            [...ours.keys()].sort(),
            Object.keys(hostColumns)
              .filter((column) => hostColumns[column] === true)
              .sort(),
            "the promotion writes the columns that it says, each in some row here, and no other",
          );
          for (const column of new Set([...theirs.keys(), ...ours.keys()])) {
            const [tool, promotion] = [theirs.get(column), ours.get(column)];
            const verdict: Verdict =
              tool === promotion
                ? "the same"
                : tool === undefined
                  ? "ours only"
                  : promotion === undefined
                    ? "theirs only"
                    : "different";
            const entry = judgements[column];
            assert.ok(entry, `${column}: cinder-manage ${tool ?? "nothing"}, promotion ${promotion ?? "nothing"}`);
            const judgement: Judgement = entry.in?.[release] ?? { verdict: entry.verdict, reason: entry.reason };
            assert.equal(verdict, judgement.verdict, `${column}: ${tool ?? "nothing"} / ${promotion ?? "nothing"}`);
            compared.push({ column, release, theirs: tool ?? "–", ours: promotion ?? "–", judgement });
          }
        });

      it("keeps the fence, moves everything, and is rolled back to the last byte", async () => {
        const schema = await copy();
        const before = await contentOf(server, schema);
        const { before: moved, after, rollbackSql } = await promote(schema);
        assert.deepEqual({ moved, after }, { moved: expected, after: expected });
        const now = await contentOf(server, schema);
        assert.deepEqual(now.get("services")?.get("1"), before.get("services")?.get("1"), "the fence row");
        assert.equal(now.get("services")?.get("1")?.["active_backend_id"], "idr");
        for (const table of Object.keys(expected))
          for (const row of now.get(table)?.values() ?? [])
            if (row["deleted"] !== 1) assert.doesNotMatch(String(row["host"]), /@iprod(#|$)/, table);
        const again = await promote(schema);
        assert.deepEqual(again.rollbackSql, rollbackSql);
        assert.deepEqual(await contentOf(server, schema), now, "a repeat changes nothing");
        await server.sql(rollbackSql.join(";\n"));
        assert.deepEqual(await contentOf(server, schema), before);
      });

      it("writes the fence by itself on the direct route", async () => {
        const schema = await copy();
        await server.sql(
          "UPDATE services SET replication_status = 'enabled', active_backend_id = NULL, disabled = 0, disabled_reason = NULL WHERE id = 1",
          schema,
        );
        await refused(schema, "precondition", /would overwrite the new site/);
        await promote(schema, { writeFence: true });
        const { replication_status, active_backend_id, disabled } =
          (await contentOf(server, schema)).get("services")?.get("1") ?? {};
        assert.deepEqual({ replication_status, active_backend_id, disabled }, { replication_status: "failed-over", active_backend_id: "idr", disabled: 1 }); // prettier-ignore
      });

      it("refuses other counts, volumes in flight, clusters, and a schema of another version", async () => {
        const schema = await copy();
        await refused(schema, "stale-plan", /volumes 4/, { expected: { ...expected, volumes: 5 } });
        await server.sql("UPDATE volumes SET status = 'extending' WHERE id = 'v2'", schema);
        await refused(schema, "precondition", /v2 \(extending\)/);
        await server.sql("UPDATE volumes SET status = 'available', cluster_name = 'c@iprod' WHERE id = 'v2'", schema);
        await refused(schema, "precondition", /cluster/);
        await server.sql(
          "UPDATE volumes SET cluster_name = NULL WHERE id = 'v2'; UPDATE alembic_version SET version_num = 'feedbeef0001'; ALTER TABLE volumes ADD COLUMN new_host VARCHAR(255)",
          schema,
        );
        const seen = await using(schema, (database) => database.describe());
        assert.deepEqual(
          { ...seen, version: "" },
          { version: "", schemaHead: "feedbeef0001", schemaReleases: undefined, undecidedColumns: ["volumes.new_host"], wsrepOn: false, readOnly: false, missingRights: [] },
        ); // prettier-ignore
        await refused(schema, "precondition", /version feedbeef0001, which the promotion isn't tested on/);
        await refused(schema, "precondition", /acceptSchema names feedbeef0002/, { acceptSchema: "feedbeef0002" });
        await promote(schema, { acceptSchema: "feedbeef0001" });
      });
    });

  // In a suite of its own, as mocha runs a suite's own tests before those of the suites inside it.
  describe("docs/promotion.md", () => {
    it("tells what was seen (UPDATE_PROMOTION_TABLE=1 writes it)", async () => {
      const text = readFileSync(document, "utf8");
      const [start, end] = ["<!-- seen by the test -->\n", "<!-- end -->\n"];
      const from = text.indexOf(start) + start.length;
      const to = text.indexOf(end);
      assert.ok(from >= start.length && to >= from, "the section has its two marks");
      const table = `\n${sectionOf(compared)}\n`;
      const wanted = await format(text.slice(0, from) + table + text.slice(to), {
        ...(await resolveConfig(document)),
        filepath: document,
      });
      if (update) writeFileSync(document, wanted);
      assert.equal(readFileSync(document, "utf8"), wanted);
    });
  });

  /** Releases in which a row would read the same share it. */
  function sectionOf(seen: typeof compared): string {
    const merged = new Map<string, { releases: string[]; cells: readonly string[] }>();
    for (const { column, release, theirs, ours, judgement } of seen) {
      const cells = [`\`${column}\``, theirs, ours, judgement.verdict, judgement.reason];
      const entry = merged.get(cells.join("|")) ?? { releases: [], cells };
      merged.set(cells.join("|"), entry);
      entry.releases.push(release);
    }
    const order = Object.keys(judgements);
    const lines = [...merged.values()]
      .sort((a, b) => order.indexOf(a.cells[0]?.slice(1, -1) ?? "") - order.indexOf(b.cells[0]?.slice(1, -1) ?? ""))
      .map(({ releases: of, cells: [column, ...rest] }) => [column, of.join(", "), ...rest]);
    const left = Object.entries(hostColumns).filter(([, reason]) => reason !== true);
    const reasons = new Map<string, string[]>();
    for (const [column, reason] of left) reasons.set(String(reason), [...(reasons.get(String(reason)) ?? []), column]);
    const schemas = new Map(releases.map(({ release, head }) => [head as string, release as string]));
    return [
      tableOf(["Column", "Cinder", "cinder-manage", "Promotion", "Verdict", "Reason"], lines),
      tableOf(
        ["Left alone by the promotion", "Because"],
        [...reasons].map(([reason, columns]) => [columns.map((column) => `\`${column}\``).join(", "), reason]),
      ),
      tableOf(
        ["Version of the schema", "Releases", "Tested on the schema of"],
        [...schemas.keys()].map((head) => [
          `\`${head}\``,
          releasesOf(head),
          releases.flatMap((one) => (one.head === head ? [one.release] : [])).join(", "),
        ]),
      ),
    ].join("\n\n");
  }

  const tableOf = (head: readonly string[], lines: readonly (readonly (string | undefined)[])[]): string =>
    [head, head.map(() => "---"), ...lines].map((cells) => `| ${cells.join(" | ")} |`).join("\n");
});
