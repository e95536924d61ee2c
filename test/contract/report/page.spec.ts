import assert from "node:assert/strict";
import axe from "axe-core";
import type { AxeResults } from "axe-core";
import type { Page } from "playwright-core";
import { durationOf } from "../../../lib/switchover";
import type { Report } from "../../../lib/switchover/report";
import { reportAsHtml } from "../../../lib/switchover/report";
import { browserOr, type OpenPages, startBrowser } from "../../support/browser";
import { reportFrom, widened } from "../../support/reports";
import { skipBecause } from "../../support/skip";
import { killAt, lost } from "../../unit/switchover/support";
import { intentTo, World } from "../../unit/switchover/world";

const INSTANCES = 2_500;
const VOLUMES_EACH = 4;
const MEBIBYTE = 2 ** 20;

describe("report.html in a browser", function () {
  this.timeout(120_000);
  let browser: OpenPages;
  let report: Report;

  before(async function () {
    const program = browserOr((reason) => skipBecause(this, reason));
    report = await reportFrom(new World(3, VOLUMES_EACH));
    browser = await startBrowser(program);
  });
  after(() => browser?.close());

  it("needs nothing but itself, and may load nothing else", async () => {
    const page = await browser.open(reportAsHtml(report));
    assert.deepEqual([page.seen.requests.length, page.seen.complaints], [1, []]);
    // What its policy is for: a picture from elsewhere isn't asked for.
    const refused = page.waitForEvent("requestfailed");
    await page.evaluate(`document.body.append(Object.assign(new Image(), { src: "http://127.0.0.1:9/picture.png" }))`);
    assert.equal((await refused).failure()?.errorText, "csp");
    await page.close();
  });

  it("tells the verdict first, the figures, and each volume once with both its sides", async () => {
    for (const javaScriptEnabled of [true, false]) {
      const page = await browser.open(reportAsHtml(report), { javaScriptEnabled });
      assert.deepEqual(page.seen.complaints, []);
      assert.match(await page.locator("#verdict").innerText(), /^✓\s+Completed\s+Production is at "idr", protected\.$/);
      const top = async (selector: string): Promise<number> => (await page.locator(selector).boundingBox())?.y ?? 0;
      assert.ok((await top("#verdict")) < (await top("#sites")), "the verdict comes first");
      const figures = (await page.locator(".figures").innerText()).replaceAll(/\s+/g, " ");
      assert.match(
        figures,
        new RegExp(`out of service ${durationOf(report.rtoSeconds ?? 0)} forecast .* lost, in time 0 s`),
      );
      assert.match(figures, /12 volumes 12 attached to 3 instances/);
      for (const { volumeId, volumeName, device, before, after } of report.servers.flatMap((s) => s.attachments)) {
        const rows = page.locator(`[data-volume="${volumeId}"]`);
        assert.equal(await rows.count(), 1, volumeId);
        const said = await rows.innerText();
        const luns = Object.values(report.volumes.find(({ id }) => id === volumeId)?.luns ?? {});
        const wanted = [
          device,
          volumeName,
          `${before?.portal ?? "?"} LUN ${before?.lun ?? "?"}`,
          `${after?.portal ?? "?"} LUN ${after?.lun ?? "?"}`,
          ...luns.flatMap(({ lunPath, serial }) => [lunPath, serial]),
        ];
        assert.equal(luns.length, 2);
        for (const word of wanted) assert.ok(said.includes(word), `${volumeId}: ${word} in ${said}`);
      }
      assert.equal(await page.locator("[data-volume]").count(), report.volumes.length);
      assert.equal(await page.locator(".tools").isVisible(), javaScriptEnabled);
      await page.close();
    }
  });

  it("is used by the keyboard alone", async () => {
    const page = await browser.open(reportAsHtml(report));
    const focused = (): Promise<string> =>
      page.evaluate(`(({ tagName, id, textContent, ariaLabel }) => [tagName, id || ariaLabel || textContent.trim()].join(" "))(document.activeElement)`); // prettier-ignore
    const path: string[] = [];
    for (let step = 0; step < 60; step++) {
      await page.keyboard.press("Tab");
      const here = await focused();
      if (here.startsWith("BODY")) break;
      path.push(here);
    }
    const links = [
      "To the content",
      "Sites before and after",
      "Timeline",
      "Instances",
      "Volumes",
      "Database",
      "The run",
    ];
    assert.deepEqual(
      path.slice(0, links.length),
      links.map((link) => `A ${link}`),
    );
    const at = (what: string): number => path.findIndex((one) => one.includes(what));
    const order = ["Timeline of the steps", "All steps", "Timeline of the instances", "INPUT filter", "BUTTON open-all", "BUTTON close-all", "SUMMARY server-0", "SUMMARY server-2", "Rows that name the backend"].map(at); // prettier-ignore
    assert.ok(
      order.every((place) => place > 0),
      `${JSON.stringify(order)} of ${path.join(", ")}`,
    );
    assert.deepEqual(
      order.toSorted((a, b) => a - b),
      order,
    );
    const first = page.locator("details.instance").first();
    assert.equal(await first.getAttribute("open"), "");
    await first.locator("summary").focus();
    await page.keyboard.press("Enter");
    assert.equal(await first.getAttribute("open"), null);
    await page.keyboard.press("Space");
    assert.equal(await first.getAttribute("open"), "");
    const outline = await page.evaluate("getComputedStyle(document.activeElement).outlineStyle");
    assert.equal(outline, "solid", "where the focus is can be seen");
    await page.close();
  });

  const looks = [
    { name: "light", options: { colorScheme: "light" }, media: "screen", background: "rgb(255, 255, 255)" },
    { name: "dark", options: { colorScheme: "dark" }, media: "screen", background: "rgb(13, 17, 23)" },
    { name: "on paper, from a dark screen", options: { colorScheme: "dark" }, media: "print", background: "rgb(255, 255, 255)" }, // prettier-ignore
    { name: "on a telephone", options: { colorScheme: "light", viewport: { width: 390, height: 800 } }, media: "screen", background: "rgb(255, 255, 255)" }, // prettier-ignore
  ] as const;
  for (const { name, options, media, background } of looks)
    it(`is accessible, whatever it has to tell: ${name}`, async () => {
      for (const one of await kinds(report)) {
        const page = await browser.open(reportAsHtml(one), options);
        await page.emulateMedia({ media });
        assert.equal(await page.evaluate("getComputedStyle(document.body).backgroundColor"), background);
        assert.deepEqual(await violationsOn(page), [], `${one.kind}, ${one.verdict}`);
        const wider = await page.evaluate("document.documentElement.scrollWidth - innerWidth");
        assert.ok(Number(wider) <= 0, `${one.kind}, ${one.verdict}: ${String(wider)} pixels wider than the page`);
        await page.close();
      }
    });

  it("prints on A4", async () => {
    const page = await browser.open(reportAsHtml(report));
    const pdf = (await page.pdf({ preferCSSPageSize: true })).toString("latin1");
    const pages = pdf.match(/\/Type \/Page\b(?!s)/g)?.length ?? 0;
    assert.ok(pages > 0 && pages < 10, `${pages} pages`);
    assert.match(pdf, /\/MediaBox \[0 0 59[45]\S* 84[12]\S*\]/);
    await page.close();
  });

  it(`stays small and usable with ${INSTANCES} instances`, async () => {
    const large = widened(report, INSTANCES);
    const html = reportAsHtml(large);
    assert.ok(html.length < 8 * MEBIBYTE, `${html.length} characters`);
    const began = Date.now();
    const page = await browser.open(html);
    assert.ok(Date.now() - began < 20_000, `it took ${Date.now() - began} ms to load`);
    assert.equal(await page.locator("[data-volume]").count(), INSTANCES * VOLUMES_EACH);
    assert.equal(await page.locator("details.instance[open]").count(), 0);
    assert.equal(
      await page.locator(`svg[aria-labelledby^="instances-chart"] line.waiting`).count(),
      50 + 1,
      "50 rows, and one in the legend",
    );
    assert.match(await page.locator("section", { has: page.locator("#instances") }).innerText(), /The 50 slowest of 2500/); // prettier-ignore
    await page.locator("#filter").fill("guest-1234 v01");
    assert.match(await page.locator("#shown").innerText(), /^[01] of 2500 shown$/);
    await page.locator("#filter").fill("guest-1234");
    assert.equal(await page.locator("#shown").innerText(), "1 of 2500 shown");
    assert.equal(await page.locator("details.instance:visible").count(), 1);
    await page.locator("#open-all").click();
    assert.equal(await page.locator("[data-volume]:visible").count(), VOLUMES_EACH);
    assert.deepEqual(page.seen.complaints, []);
    await page.close();
  });
});

/** One that was cut off, one with losses, one that was taken back. */
async function kinds(report: Report): Promise<readonly Report[]> {
  const unplanned = new World();
  unplanned.reachable.iprod = false;
  unplanned.luns.idr.delete("01");
  const failing = new World();
  failing.faults.attachFallsBack.set("01", 99);
  return [
    report,
    await reportFrom(unplanned, intentTo("idr", { unplanned: lost })),
    await reportFrom(failing),
    await reportFrom(new World(), intentTo("idr"), killAt("detach/volumes", "recorded")),
  ];
}

async function violationsOn(page: Page): Promise<unknown> {
  await page.evaluate(axe.source);
  const { violations, passes } = await page.evaluate<AxeResults>("axe.run()");
  assert.ok(passes.length > 15, "axe found what to look at");
  return violations.map(({ id, nodes }) => ({ id, where: nodes.slice(0, 3).map(({ html }) => html.slice(0, 160)) }));
}
