/** The initiators the tests use: QEMU's and libiscsi's own programs, none of ours. */
import { execFile } from "node:child_process";

export interface Outcome {
  ok: boolean;
  output: string;
}

export function run(program: string, args: readonly string[], timeoutMs = 10_000): Promise<Outcome> {
  return new Promise((resolve) => {
    execFile(program, args, { timeout: timeoutMs, killSignal: "SIGKILL" }, (error, stdout, stderr) =>
      resolve({ ok: error === null, output: stdout + stderr }),
    );
  });
}

/** qemu-io exits with 0 even if a command failed: what it prints decides. */
export async function qemuIo(
  disk: { portal: string; iqn: string; lun: number; initiator: string },
  ...commands: string[]
): Promise<Outcome> {
  const file = {
    driver: "iscsi",
    transport: "tcp",
    portal: disk.portal,
    target: disk.iqn,
    lun: disk.lun,
    "initiator-name": disk.initiator,
  };
  const options = ["-f", "raw", ...commands.flatMap((command) => ["-c", command])];
  const result = await run("qemu-io", [...options, `json:${JSON.stringify({ driver: "raw", file })}`]);
  return { ok: result.ok && !/failed|error|can't open/i.test(result.output), output: result.output };
}
