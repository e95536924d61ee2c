/** How the guests of an embedded lab reach their LUNs, and what they format them with: by what this machine has. */
import { spawnSync } from "node:child_process";
import type { DataPath, FilesystemKind, StorageFacts } from "../description";
import { E2FSPROGS } from "../guest/ext4";
import { findProgram } from "../programs";

/** Program → what has it: Debian's package. */
const ISCSI_PROGRAMS = { tgtd: "tgt", "iscsi-inq": "libiscsi-bin", "qemu-img": "qemu-utils", "qemu-io": "qemu-utils" };

/** What is on the machine; another one in tests. */
export interface Machine {
  find: (program: string) => string | undefined;
  /** Whether QEMU's programs can open an iSCSI disk: Debian has that in a package of its own. */
  qemuHasIscsi: () => boolean;
}

const thisMachine: Machine = { find: findProgram, qemuHasIscsi };

/**
 * Real iSCSI where the machine has everything for it, else the LUNs' files; ext4 where it has e2fsprogs, else an archive.
 * `CHEESECAKE_DATA_PATH` and `CHEESECAKE_FILESYSTEM` decide instead.
 * @throws when they ask for what isn't there, or for what nobody knows
 */
export function chooseStorage(env: NodeJS.ProcessEnv = process.env, machine: Machine = thisMachine): StorageFacts {
  const wantedPath = wanted<DataPath>(env, "CHEESECAKE_DATA_PATH", ["iscsi", "files"]);
  const wantedFilesystem = wanted<FilesystemKind>(env, "CHEESECAKE_FILESYSTEM", ["ext4", "archive"]);
  const missing = wantedPath === "files" ? [] : missingForIscsi(machine);
  if (wantedPath === "iscsi" && missing.length > 0)
    throw new Error(
      `CHEESECAKE_DATA_PATH asks for iSCSI, but there is no ${missing.join(", ")} here: install what is missing, or leave the variable out to use the LUNs' files.`,
    );
  const missingTools = E2FSPROGS.filter((program) => machine.find(program) === undefined);
  if (wantedFilesystem === "ext4" && missingTools.length > 0)
    throw new Error(
      `CHEESECAKE_FILESYSTEM asks for ext4, but there is no ${missingTools.join(", ")} here: install e2fsprogs, or leave the variable out to use archives.`,
    );
  const filesystem = wantedFilesystem ?? (missingTools.length === 0 ? "ext4" : "archive");
  if (wantedPath === "files") return { dataPath: "files", dataPathReason: "CHEESECAKE_DATA_PATH says so", filesystem };
  if (missing.length > 0)
    return { dataPath: "files", dataPathReason: `there is no ${missing.join(", ")} here`, filesystem };
  return { dataPath: "iscsi", filesystem };
}

function missingForIscsi({ find, qemuHasIscsi: works }: Machine): string[] {
  const missing = Object.entries(ISCSI_PROGRAMS).flatMap(([program, debian]) =>
    find(program) === undefined ? [`${program} (Debian: ${debian})`] : [],
  );
  if (missing.length === 0 && !works()) missing.push("iSCSI driver of QEMU (Debian: qemu-block-extra)");
  return missing;
}

function wanted<T extends string>(env: NodeJS.ProcessEnv, name: string, known: readonly T[]): T | undefined {
  const value = env[name];
  if (value === undefined || value === "") return undefined;
  const found = known.find((each) => each === value);
  if (found === undefined) throw new Error(`${name} is "${value}": needed is one of ${known.join(", ")}.`);
  return found;
}

/** Seen from what it says about a disk at a port where nobody listens (QEMU 7.2, 9.2: "Unknown driver", or a module that is missing). */
function qemuHasIscsi(): boolean {
  const file = { driver: "iscsi", transport: "tcp", portal: "127.0.0.1:9", target: "iqn.none", lun: 1 };
  const { stderr } = spawnSync("qemu-img", ["info", `json:${JSON.stringify({ driver: "raw", file })}`], {
    encoding: "utf8",
    env: { ...process.env, LC_ALL: "C" },
    timeout: 10_000,
  });
  return /iSCSI: Failed/.test(stderr);
}
