/** Runs the simulator as a process: `main.ts --config FILE` (JSON, SimulatorConfig, mode 0600). Ends on SIGTERM or SIGINT. */
import { readFileSync, statSync } from "node:fs";
import { checkConfig } from "./config";
import { startOntapSimulator } from "./index";

async function main(): Promise<void> {
  const at = process.argv.indexOf("--config");
  const file = at < 0 ? undefined : process.argv[at + 1];
  if (file === undefined) throw new Error("Usage: main.ts --config FILE");
  if ((statSync(file).mode & 0o077) !== 0)
    throw new Error(`${file} holds passwords: it must be readable by its owner only (chmod 600).`);
  const simulator = await startOntapSimulator(checkConfig(JSON.parse(readFileSync(file, "utf8"))), (line) =>
    console.error(line),
  );
  const end = (): void => {
    void simulator.close().then(
      () => process.exit(0),
      (cause: unknown) => {
        console.error(cause);
        process.exit(1);
      },
    );
  };
  process.on("SIGTERM", end);
  process.on("SIGINT", end);
  const places = simulator.clusters.map((c) => `${c.name} https://${c.address}:${c.port}`).join(", ");
  console.log(`ready: ${places}, control http://${simulator.control.address}:${simulator.control.port}`);
}

main().catch((cause: unknown) => {
  const error = cause as NodeJS.ErrnoException & { address?: string; port?: number };
  console.error(
    error.code === "EADDRINUSE"
      ? `ONTAP simulator: ${error.address ?? "?"}:${error.port ?? "?"} is taken by another process; end it or choose another address or port.`
      : `ONTAP simulator: ${error.message}`,
  );
  process.exit(1);
});
