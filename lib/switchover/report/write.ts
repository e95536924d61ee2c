import { chmod, mkdir, readFile } from "node:fs/promises";
import path from "node:path";
import writeFileAtomic from "write-file-atomic";
import { reportAsHtml } from "./html";
import { reportAsMarkdown } from "./markdown";
import type { Report } from "./schema";

/** `<time>-<from>-<to>`, of the direction in which it was begun: an abort goes on in the same folder. */
async function folderOf(
  directory: string,
  report: Report,
): Promise<{ readonly folder: string; readonly written: boolean }> {
  const { switchoverId, begunAs } = report;
  const [time = ""] = switchoverId.split("-");
  const folder = path.join(directory, `${time}-${begunAs.from}-${begunAs.to}`);
  const there = await idIn(folder);
  if (there === undefined || there === switchoverId) return { folder, written: there !== undefined };
  // Another pair's, begun in the same second, is left alone.
  const own = path.join(directory, switchoverId);
  return { folder: own, written: (await idIn(own)) === switchoverId };
}

/** Whose report a folder holds. */
async function idIn(folder: string): Promise<unknown> {
  try {
    return (JSON.parse(await readFile(path.join(folder, "report.json"), "utf8")) as Partial<Report>).switchoverId;
  } catch {
    return undefined;
  }
}

/** Where this report was written to, if it was. */
export async function folderWith(directory: string, report: Report): Promise<string | undefined> {
  const { folder, written } = await folderOf(directory, report);
  return written ? folder : undefined;
}

/** Writes report.{html,md,json}, for their owner alone, as the journal; a repeat replaces them. Resolves to the folder. */
export async function writeReport(directory: string, report: Report): Promise<string> {
  const { folder } = await folderOf(directory, report);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  await chmod(folder, 0o700);
  const write = (name: string, text: string) => writeFileAtomic(path.join(folder, name), text, { mode: 0o600 });
  await write("report.json", `${JSON.stringify(report, null, 2)}\n`);
  await write("report.md", reportAsMarkdown(report));
  await write("report.html", reportAsHtml(report));
  return folder;
}
