import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { promisify } from "node:util";
import type { PrivateMariadb } from "../cinder-database/private-mariadb";

interface Toolchain {
  readonly python: string;
  readonly olderPython: string;
  readonly olderCinder: Readonly<Record<string, string>>;
}

const run = promisify(execFile);

/** `cinder-manage` of one release, on any schema of a database server. */
export class CinderManage {
  constructor(
    private readonly server: PrivateMariadb,
    readonly release: string,
  ) {}

  /** Fails with the program's own words. */
  async do(schema: string, ...command: string[]): Promise<void> {
    const state = path.join(this.server.folder, "cinder");
    mkdirSync(state, { recursive: true });
    const file = path.join(state, `${schema}.conf`);
    const connection = `mysql+pymysql://root@/${schema}?unix_socket=${this.server.socket}&charset=utf8mb4`;
    writeFileSync(
      file,
      `[DEFAULT]\nstate_path = ${state}\n[database]\nconnection = ${connection}\n[oslo_concurrency]\nlock_path = ${state}\n`,
    );
    const { program, environment } = interpreterOf(this.release);
    await run(program[0], [...program.slice(1), "--config-file", file, ...command], {
      env: { ...process.env, ...environment, PYTHONWARNINGS: "ignore" },
      maxBuffer: 16 * 1024 * 1024,
    });
  }
}

/** The newest release is that of the environment that the lab runs; the others have one of their own. */
function interpreterOf(release: string): {
  program: [string, ...string[]];
  environment: Readonly<Record<string, string>>;
} {
  const text = process.env["CINDER_CHEESECAKE_TOOLCHAIN"];
  assert.ok(text, "run by tools/test.mjs, or with the variables of tools/run.mjs");
  const toolchain = JSON.parse(text) as Toolchain;
  assert.ok(toolchain.python && toolchain.olderCinder, "needs the parts python and python-older of tools/setup.mjs");
  const folder = toolchain.olderCinder[release];
  if (folder === undefined)
    return {
      program: [toolchain.python, path.join(path.dirname(toolchain.python), "cinder-manage")],
      environment: {},
    };
  return {
    program: [toolchain.olderPython, path.join(folder, "bin", "cinder-manage")],
    environment: { PYTHONPATH: folder },
  };
}
