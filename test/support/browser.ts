import { mkdtemp, rm, writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { type BrowserContextOptions, chromium, type Page } from "playwright-core";

/** The part `browser` of the set-up (tools/setup.mjs), or why there is none. */
export function browserOr(skip: (reason: string) => never): string {
  const toolchain = JSON.parse(process.env["CINDER_CHEESECAKE_TOOLCHAIN"] ?? "{}") as { readonly browser?: string };
  return toolchain.browser ?? skip("no Chromium is here: `node tools/setup.mjs --need browser` gets one, or says how");
}

/** What a page did that one without anything beside it must not do. */
export interface Seen {
  readonly requests: string[];
  readonly complaints: string[];
}

export interface OpenPages {
  open(html: string, options?: BrowserContextOptions): Promise<Page & { readonly seen: Seen }>;
  close(): Promise<void>;
}

/** Pages from files, as an operator opens them. */
export async function startBrowser(executablePath: string): Promise<OpenPages> {
  const directory = await mkdtemp(path.join(os.tmpdir(), "cheesecake-pages-"));
  // Chromium refuses its sandbox to root.
  const args = process.getuid?.() === 0 ? ["--no-sandbox"] : [];
  const browser = await chromium.launch({ executablePath, args });
  let pages = 0;
  return {
    async open(html, options = {}) {
      const file = path.join(directory, `${++pages}.html`);
      await writeFile(file, html);
      const page = await browser.newPage(options);
      const seen: Seen = { requests: [], complaints: [] };
      page.on("request", (request) => seen.requests.push(request.url()));
      page.on("console", (message) => seen.complaints.push(message.text()));
      page.on("pageerror", (error) => seen.complaints.push(error.message));
      await page.goto(`file://${file}`);
      return Object.assign(page, { seen });
    },
    async close() {
      await browser.close();
      await rm(directory, { recursive: true });
    },
  };
}
