import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs"; // prettier-ignore
import path from "node:path";
import { connectCinderDatabase, type PromotionChange } from "../../../lib/cinder-database";
import { DrError, type DrErrorCode } from "../../../lib/errors";
import { documentedGrants } from "../../support/documented-grants";
import { withLittleRoom } from "../../support/little-room";
import { idr, iprod, rows } from "../promotion/rows";
import { type PrivateMariadb, contentOf, createCinderSchema, startMariadb } from "./private-mariadb";
import { type Watched, watchStatements } from "./statements";

const password = `it's "quoted" # \\ %`;
const change: PromotionChange = {
  fromHost: iprod,
  toHost: idr,
  toBackendId: "idr",
  expected: { volumes: 4, groups: 1, consistencygroups: 1, image_volume_cache_entries: 1 },
  writeFence: false,
  takeInFlight: false,
};

describe("the backup and the way back, when things fail", function () {
  this.timeout(60_000);
  let server: PrivateMariadb;
  let folder: string;
  let unwatch: () => Promise<void>;
  /** Of a statement that is on its way to the server. */
  let onStatement: (statement: Watched) => Promise<void> = () => Promise.resolve();
  let client: ReturnType<typeof connectCinderDatabase>;
  const searchPath = process.env["PATH"] ?? "";

  before(async () => {
    // What was committed has to survive a kill.
    server = await startMariadb("127.71.0.9", 13309, ["--innodb-flush-log-at-trx-commit=1"]);
    await createCinderSchema(server, "cinder");
    await server.sql(rows, "cinder");
    await server.sql(
      `UPDATE volumes SET display_name = 'it''s (1),(2)\\n(3); \\\\ "ä"', provider_auth = 'CHAP user secret' WHERE id = 'v1'`,
      "cinder",
    );
    await server.sql(
      `CREATE USER dr@'127.%' IDENTIFIED BY '${password.replace(/['\\]/g, "\\$&")}'; ${documentedGrants("dr@'127.%'")}`,
    );
    const watched = { host: "127.71.0.10", port: 13309 };
    unwatch = await watchStatements(server, watched, (statement) => onStatement(statement));
    client = connectCinderDatabase({ ...watched, user: "dr", password, cinderSchema: "cinder", tls: false });
    await client.coordination.prepare();
  });
  after(async () => {
    await client?.close();
    await unwatch?.();
    await server?.stop();
  });
  beforeEach(() => {
    folder = mkdtempSync(path.join(server.folder, "dumps-"));
  });
  afterEach(() => {
    process.env["PATH"] = searchPath;
    onStatement = () => Promise.resolve();
  });

  const everything = async (): Promise<string> =>
    JSON.stringify([await contentOf(server, "cinder"), await contentOf(server, "cinder_cheesecake")]);
  const rejects = (work: Promise<unknown>, code: DrErrorCode, text: RegExp): Promise<void> =>
    assert.rejects(work, (error: Error) => {
      assert.ok(DrError.is(error, code), `${(error as { code?: string }).code}: ${error.message}`);
      assert.match(error.message, text);
      assert.ok(!JSON.stringify(error).includes(password), "the password is in the error");
      return true;
    });
  /** Into a schema of its own: every row of every table is what the source has now. */
  const assertRestores = async (file: string): Promise<void> => {
    await server.sql("DROP DATABASE IF EXISTS restored; CREATE DATABASE restored CHARACTER SET utf8mb3");
    const restored = spawnSync("mariadb", ["--no-defaults", "-uroot", `--socket=${server.socket}`, "restored"], {
      input: readFileSync(file),
    });
    assert.equal(restored.status, 0, restored.stderr.toString());
    assert.equal(await contentOf(server, "restored"), await contentOf(server, "cinder"));
  };
  /** A `mariadb-dump` that is found first; "$@" is what it was given, and `$REAL` the one that is installed. */
  const install = (script: string): void => {
    const bin = path.join(folder, "bin");
    mkdirSync(bin);
    const real = execFileSync("which", ["mariadb-dump"]).toString().trim();
    writeFileSync(path.join(bin, "mariadb-dump"), `#!/bin/sh\nREAL=${real}\n${script}\n`);
    chmodSync(path.join(bin, "mariadb-dump"), 0o755);
    process.env["PATH"] = `${bin}:${searchPath}`;
  };
  describe("the dump", () => {
    for (const way of ["by mariadb-dump", "where mariadb-dump isn't installed"]) {
      const dumpTo = (file: string): ReturnType<typeof client.database.dump> => {
        if (way !== "by mariadb-dump") process.env["PATH"] = path.join(folder, "nothing");
        return client.database.dump(file).finally(() => (process.env["PATH"] = searchPath));
      };
      it(`${way} restores every row`, async () => {
        const file = path.join(folder, "whole.sql");
        const dump = await dumpTo(file);
        assert.deepEqual(dump.rows, { volumes: 7, groups: 2, consistencygroups: 1, image_volume_cache_entries: 1, services: 6 }); // prettier-ignore
        await assertRestores(file);
      });

      it(`${way} says that the disk is full, leaves nothing under its name, and is whole once there is room`, async () => {
        const before = await everything();
        const how = await withLittleRoom(16_384, async (small) => {
          const file = path.join(small, "full.sql");
          await rejects(
            dumpTo(file),
            way === "by mariadb-dump" ? "remote" : "precondition",
            /(No space left on device|errno 28|no space|File too large|errno 27|ended with a signal).*The database wasn't changed/i,
          );
          assert.ok(!existsSync(file));
        });
        console.log(`        by ${how}`);
        assert.equal(await everything(), before);
        const file = path.join(folder, "full.sql");
        await dumpTo(file);
        await assertRestores(file);
      });

      it(`${way} fails when the server is killed under it, and is whole after its return`, async () => {
        const before = await everything();
        const file = path.join(folder, "cut.sql");
        let killed = false;
        onStatement = async ({ text }) => {
          if (killed || !/^(SELECT (\/\*!40001 SQL_NO_CACHE \*\/ )?.*FROM (`cinder`\.)?`volumes`)/.test(text)) return;
          killed = true;
          await server.kill();
        };
        await rejects(
          dumpTo(file),
          way === "by mariadb-dump" ? "remote" : "unreachable",
          /Lost connection|gone away|did not answer/i,
        );
        assert.ok(killed && !existsSync(file));
        assert.ok(statSync(`${file}.partial`).size > 0, "it was cut in the middle");
        await server.start();
        assert.equal(await everything(), before);
        await dumpTo(file);
        assert.deepEqual(readdirSync(folder), ["cut.sql"]);
        await assertRestores(file);
      });
    }

    it("where mariadb-dump isn't installed leaves nothing that keeps its process from ending", () => {
      // Not by the one that reads along: that is in this process, which waits.
      const options = { host: "127.71.0.9", port: 13309, user: "dr", password, cinderSchema: "cinder", tls: false };
      const script = `
        const client = require("./lib/cinder-database").connectCinderDatabase(${JSON.stringify(options)});
        client.database.dump(process.argv[1]).finally(() => client.close());`;
      const { error, status } = spawnSync(
        process.execPath,
        ["-r", "ts-node/register/transpile-only", "-e", script, path.join(folder, "alone.sql")],
        { env: { ...process.env, PATH: path.join(folder, "nothing") }, timeout: 40_000, stdio: "inherit" },
      );
      assert.deepEqual([error, status], [undefined, 0]);
      assert.ok(existsSync(path.join(folder, "alone.sql")));
    });

    const liars = [
      { what: "whose last bytes are missing", script: `"$REAL" "$@" | head -c 30000`, says: /it has no end/ },
      { what: "that is empty", script: "exit 0", says: /it has no end, it holds 0 of 36 tables/ },
      {
        what: "without a table",
        script: `"$REAL" "$@" --ignore-table=cinder.quotas`,
        says: /it holds 35 of 36 tables\. /,
      },
      {
        what: "without a row of a volume",
        script: `"$REAL" "$@" | grep -v "'${iprod}#pool2'"`,
        says: /it holds 6 of 7 rows of volumes\. /,
      },
      { what: "without any row", script: `"$REAL" "$@" --no-data`, says: /it holds 0 of 7 rows of volumes/ },
    ];
    for (const { what, script, says } of liars)
      it(`${what} isn't taken for one, though the program says that all is well`, async () => {
        install(script);
        const file = path.join(folder, "lie.sql");
        await rejects(client.database.dump(file), "remote", says);
        assert.ok(!existsSync(file));
        process.env["PATH"] = searchPath;
        await client.database.dump(file);
        await assertRestores(file);
      });

    it("of a program that fails, or is killed, is none", async () => {
      install(`[ -e ${folder}/second ] && kill -9 $$\ntouch ${folder}/second\n"$REAL" "$@"\necho sorry >&2\nexit 2`);
      const file = path.join(folder, "failed.sql");
      await rejects(client.database.dump(file), "remote", /mariadb-dump ended with 2: .*sorry/s);
      await rejects(client.database.dump(file), "remote", /mariadb-dump ended with a signal/);
      assert.ok(!existsSync(file));
    });

    it("gives the program its password by a file without a name: not by arguments, environment or anything that stays", async () => {
      install(
        `cat /dev/fd/3 > ${folder}/options\nls ${folder} > ${folder}/files\nenv > ${folder}/env\nprintf '%s\\n' "$@" > ${folder}/args\nexec "$REAL" "$@"`,
      );
      process.env["CHEESECAKE_DATABASE_PASSWORD"] = password;
      try {
        await client.database.dump(path.join(folder, "told.sql"));
      } finally {
        delete process.env["CHEESECAKE_DATABASE_PASSWORD"];
      }
      const told = (name: string): string => readFileSync(path.join(folder, name), "utf8");
      assert.equal(told("options"), `[client]\npassword="it's \\"quoted\\" # \\\\ %"\n`);
      assert.match(told("args"), /^--defaults-file=\/dev\/fd\/3\n/);
      assert.deepEqual(told("files").trim().split("\n"), ["bin", "files", "options", "told.sql.partial"]);
      for (const name of ["args", "env"]) assert.ok(!/it's|PASS|PWD=it/.test(told(name)), name);
    });
  });

  describe("the transaction", () => {
    /** Every statement from START TRANSACTION to COMMIT. */
    const statements: string[] = [];
    const within = (): ((text: string) => boolean) => {
      let began = false;
      return (text) => (began ||= text === "START TRANSACTION");
    };

    it("is undone by its rollback to the last row", async () => {
      const before = await contentOf(server, "cinder");
      const inTransaction = within();
      onStatement = ({ text }) => {
        if (inTransaction(text)) statements.push(text);
        return Promise.resolve();
      };
      const { rollbackSql } = await client.database.promote(change);
      assert.notEqual(await contentOf(server, "cinder"), before);
      assert.equal(statements.at(-1), "COMMIT");
      assert.ok(statements.length > 20 && statements.filter((text) => /^\s*UPDATE/.test(text)).length === 6);
      await server.sql(rollbackSql.join(";\n"));
      assert.equal(await contentOf(server, "cinder"), before);
      await server.sql("DELETE FROM cinder_cheesecake.promotion");
    });

    it("changes nothing at all when the server is killed before any of its statements", async () => {
      const before = await everything();
      assert.ok(statements.length > 20, "the transaction was read along");
      for (const [number] of statements.entries()) {
        const inTransaction = within();
        let at = -1;
        onStatement = async ({ text }) => {
          if (inTransaction(text)) at += 1;
          if (at === number) await server.kill();
        };
        await rejects(client.database.promote(change), "unreachable", /did not answer/);
        assert.equal(at, number);
        onStatement = () => Promise.resolve();
        await server.start();
        assert.equal(await everything(), before, `killed before: ${statements[number]}`);
      }
      console.log(`        killed ${statements.length} times`);
    });

    it("is whole when the answer to its COMMIT is lost; a repeat tells the same rollback, and that undoes it", async () => {
      const before = await contentOf(server, "cinder");
      onStatement = ({ text, swallowAnswer }) => {
        if (text === "COMMIT") swallowAnswer(() => server.kill());
        return Promise.resolve();
      };
      await rejects(client.database.promote(change), "unreachable", /outcome is unknown until it's read again/);
      onStatement = () => Promise.resolve();
      await server.start();
      const after = await everything();
      const { before: moved, after: there, rollbackSql } = await client.database.promote(change);
      assert.deepEqual([Object.values(moved), there], [[0, 0, 0, 0], change.expected]);
      assert.equal(await everything(), after, "a repeat changes nothing");

      // By a client that dies in its middle, with the server; then again.
      const half = rollbackSql.slice(0, Math.ceil(rollbackSql.length / 2));
      await server.sql([...half, "SELECT SLEEP(0)"].join(";\n"));
      await server.kill();
      await server.start();
      assert.equal(await everything(), after, "half a rollback is none");
      await server.sql(rollbackSql.join(";\n"));
      assert.equal(await contentOf(server, "cinder"), before);
    });
  });

  after(() => rmSync(folder, { recursive: true, force: true }));
});
