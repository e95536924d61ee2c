import { createHash } from "node:crypto";
import { count } from "../plan";
import { Markup, markup, type Part } from "./markup";
import { instanceChart, ROWS_AT_MOST, shownServers, siteDrawing, stepChart, slowestFirst, waveChart, work, workFigures } from "./pictures"; // prettier-ignore
import type { Report, ReportedServer } from "./schema";
import { script, style } from "./style";
import {
  approvalsSaid,
  comparison,
  duration,
  mirrorGroups,
  moment,
  protection,
  stepName,
  titleOf,
  volumesOfInstances,
  where,
} from "./words";

/** So many volumes are shown at once; of more, each instance's are collapsed. */
const OPEN_AT_MOST = 200;

const hashOf = (content: string): string => `'sha256-${createHash("sha256").update(content).digest("base64")}'`;

/** Nothing is loaded, sent or framed; of styles and scripts only these two, by their content. */
const policy = [
  "default-src 'none'",
  `style-src ${hashOf(style)}`,
  `script-src ${hashOf(script)}`,
  "base-uri 'none'",
  "form-action 'none'",
].join("; ");

/** One file without anything beside it: to be read in ten years, offline, on paper, and by a keyboard alone. */
export function reportAsHtml(report: Report): string {
  const sections: readonly Section[] = [
    { id: "sites", title: "Sites before and after", body: sites(report) },
    { id: "timeline", title: "Timeline", body: timeline(report) },
    ...(report.servers.length > 0 ? [{ id: "instances", title: "Instances", body: instances(report) }] : []),
    ...(report.volumes.length > 0 ? [{ id: "volumes", title: "Volumes", body: volumes(report) }] : []),
    ...(report.database === undefined ? [] : [{ id: "database", title: "Database", body: database(report) }]),
    { id: "run", title: "The run", body: run(report) },
  ];
  const title = `${titleOf(report)}: ${report.verdict}`;
  return markup`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>${title} (${moment(report.startedAt)})</title>
<style>${new Markup(style)}</style>
</head>
<body>
<a class="skip" href="#content">To the content</a>
<header>
<p class="eyebrow">Pair ${report.pair} · ${moment(report.startedAt)}</p>
<h1>${heading(report)}</h1>
${verdict(report)}
${figures(report)}
<nav aria-label="Contents"><ul>${sections.map(({ id, title: name }) => markup`<li><a href="#${id}">${name}</a></li>`)}</ul></nav>
</header>
<main id="content" tabindex="-1">
${notices(report)}
${sections.map(
  ({ id, title: name, body }) => markup`<section aria-labelledby="${id}"><h2 id="${id}">${name}</h2>${body}</section>
`,
)}</main>
<footer>Made by cinder-cheesecake from the journal of ${report.switchoverId}. report.json beside it has the same as data, version ${report.version}.</footer>
<script>${new Markup(script)}</script>
</body>
</html>
`.text;
}

interface Section {
  readonly id: string;
  readonly title: string;
  readonly body: Part;
}

// ------------------------------------------------------------------------------------------------------- verdict first

function heading({ kind, mode, from, to }: Report): string {
  const way = kind === "switchover" || kind === "abort" ? `${from} → ${to}` : to;
  const how = kind === "switchover" ? (mode === "planned" ? "planned switchover" : "unplanned failover") : kind;
  return `${way}: ${how}`;
}

function verdict(report: Report): Markup {
  const { summary, after, lostVolumes, lostSnapshotIds } = report;
  const looks = { completed: ["ok", "✓"], aborted: ["warn", "↩"], open: ["warn", "…"], failed: ["bad", "✗"] } as const;
  // Done isn't yet well: it's left to be protected, or something was lost.
  const isWell = lostVolumes.length + lostSnapshotIds.length === 0 && after.protected !== false;
  const [look, sign] = report.verdict === "completed" && !isWell ? (["warn", "✓"] as const) : looks[report.verdict];
  const [said = "", ...rest] = summary.split(": ");
  return markup`<div class="verdict ${look}" id="verdict"><span class="sign" aria-hidden="true">${sign}</span><div><strong>${said}</strong>${rest.join(": ").replace(/^./, (first) => first.toUpperCase())}</div></div>`;
}

function figures(report: Report): Markup {
  const { servers, volumes: all } = report;
  const tile = (name: string, number: string, said: string): Markup =>
    markup`<div><dt>${name}</dt><dd class="number">${number}</dd><dd class="muted">${said}</dd></div>`;
  const measured = (name: string, seconds: number | undefined, forecast: number | undefined): Markup =>
    tile(name, duration(seconds), comparison(seconds, forecast));
  const { attached } = volumesOfInstances(report);
  return markup`<dl class="figures">${[
    measured("RTO: instances out of service", report.rtoSeconds, report.rtoForecastSeconds),
    measured("RPO: what was lost, in time", report.rpoSeconds, report.rpoForecastSeconds),
    measured("Duration of the whole", report.durationSeconds, report.forecastSeconds),
    tile(report.kind === "switchover" ? "Moved" : "Concerned", count(all.length, "volume"), `${attached} attached to ${count(servers.length, "instance")}`), // prettier-ignore
  ]}</dl>`;
}

const list = (lines: readonly Part[]): Markup => markup`<ul>${lines.map((line) => markup`<li>${line}</li>`)}</ul>`;

/** What a sentence has between backticks is typed as it stands. */
const withCode = (sentence: string): Part =>
  sentence.split("`").map((part, index) => (index % 2 === 1 ? markup`<code>${part}</code>` : part));

function notices({ remaining, warnings, lostVolumes, lostSnapshotIds }: Report): Part {
  const notice = (id: string, look: string, title: string, lines: readonly Part[]): Part =>
    lines.length > 0 &&
    markup`<section class="notice ${look}" aria-labelledby="${id}"><h2 id="${id}">${title}</h2>${list(lines)}</section>`;
  return [
    notice("lost", "bad", "✗ Lost", [
      ...lostVolumes.map(({ id, name }) => markup`volume ${name} <code>${id}</code>`),
      ...lostSnapshotIds.map((id) => markup`snapshot <code>${id}</code>`),
    ]),
    remaining.length === 0
      ? markup`<p id="remaining">Nothing is left to do.</p>`
      : notice("remaining", "warn", "→ What is left to do", remaining.map(withCode)),
    notice("warnings", "warn", "! Warnings", warnings),
  ];
}

// -------------------------------------------------------------------------------------------------------------- tables

interface Column {
  readonly name: string;
  /** Figures stand under each other. */
  readonly figures?: true;
}

function table(caption: string, columns: readonly Column[], rows: readonly (readonly Part[])[]): Markup {
  const look = (index: number): Part => columns[index]?.figures === true && markup` class="n"`;
  return markup`<div class="scroll" role="region" tabindex="0" aria-label="${caption}"><table><caption>${caption}</caption><thead><tr>${columns.map(({ name }, index) => markup`<th scope="col"${look(index)}>${name}</th>`)}</tr></thead><tbody>${rows.map(
    ([head, ...cells]) =>
      markup`<tr><th scope="row"${look(0)}>${head}</th>${cells.map((cell, index) => markup`<td${look(index + 1)}>${cell}</td>`)}</tr>
`,
  )}</tbody></table></div>`;
}

const text = (name: string): Column => ({ name });
const number = (name: string): Column => ({ name, figures: true });

// --------------------------------------------------------------------------------------------------------------- sites

function sites(report: Report): Part {
  const { before, after, recoveryPoints } = report;
  const flexVols = [...new Set([...before.mirrors, ...after.mirrors].map(({ flexVol }) => flexVol))].sort();
  const said = (picture: Report["before"], flexVol: string): string =>
    picture.mirrors
      .filter((mirror) => mirror.flexVol === flexVol)
      .map((mirror) =>
        mirrorGroups({ ...picture, mirrors: [mirror] })
          .map(
            (g) =>
              `${g.source} → ${g.destination} ${g.state}${mirror.lagSeconds === undefined ? "" : `, lag ${duration(mirror.lagSeconds)}`}`,
          ) // prettier-ignore
          .join(""),
      )
      .join("; ") || "none";
  return [
    markup`<div class="sites">${siteDrawing(report, "before")}${siteDrawing(report, "after")}</div>`,
    markup`<p>Protected before: ${protection(before)}; after: ${protection(after)}.</p>`,
    table(
      "Sites and what they offer to initiators",
      [text("Site"), text("Backend"), text("SVM"), text("IQN"), text("Portals")],
      Object.entries(report.sites).map(([name, site]) => [
        name,
        site.backend,
        site.svm,
        markup`<code>${site.iqn ?? "not known"}</code>`,
        markup`<code>${site.portals?.join(", ") ?? "not known"}</code>`,
      ]),
    ),
    flexVols.length > 0 &&
      table(
        "Mirrors",
        [text("FlexVol"), text("Before"), text("After"), text("Newest snapshot at cutover")],
        flexVols.map((flexVol) => {
          const point = recoveryPoints[flexVol];
          return [
            flexVol,
            said(before, flexVol),
            said(after, flexVol),
            point === undefined ? "–" : markup`<code>${point.snapshot}</code> of ${point.at}`,
          ];
        }),
      ),
  ];
}

// ------------------------------------------------------------------------------------------------------------ timeline

function timeline(report: Report): Part {
  const failures = report.steps.flatMap((step) => step.failures.map((failure) => [stepName(step), failure] as const));
  return [
    markup`<p class="key">Thick: as measured. Thin, below: as forecast; the forecast stands in brackets.${report.pauses.length > 0 && " A dashed box: no run was at it."}</p>`,
    markup`<div class="scroll" role="region" tabindex="0" aria-label="Timeline of the steps, as a picture">${stepChart(report)}</div>`,
    failures.length > 0 && [
      markup`<h3>What failed on the way</h3>`,
      list(failures.map(([step, failure]) => markup`<code>${step}</code> ${failure}`)),
    ],
    markup`<details><summary>All steps as a table</summary>${table(
      "Steps",
      [text("Step"), text("What"), text("Begun"), number("Took"), number("Forecast"), number("Items"), number("As it should be already"), number("Failures")], // prettier-ignore
      report.steps.map((step) => [
        markup`<code>${stepName(step)}</code>`,
        step.sentence,
        step.startedAt === undefined ? "–" : moment(step.startedAt),
        step.startedAt !== undefined && step.endedAt === undefined ? "not finished" : duration(step.durationSeconds),
        duration(step.forecastSeconds),
        step.items,
        step.alreadySatisfied,
        step.failures.length,
      ]),
    )}</details>`,
    report.hooks.length > 0 &&
      table(
        "Hooks",
        [text("Hook"), text("When"), text("Begun"), number("Took"), text("Outcome")],
        report.hooks.map((hook) => [
          hook.name,
          hook.step.replace("hook/", ""),
          hook.startedAt === undefined ? "–" : moment(hook.startedAt),
          duration(hook.durationSeconds),
          [
            hook.passed === undefined ? "not finished" : `${hook.passed ? "✓" : "✗"} ${hook.said ?? ""}`,
            hook.output !== undefined &&
              markup`<details><summary>The last of its output</summary><pre>${hook.output}</pre></details>`,
          ],
        ]),
      ),
  ];
}

function instances(report: Report): Part {
  const shown = shownServers(report);
  if (shown.length === 0) return markup`<p>No instance was touched.</p>`;
  const many = report.servers.length > ROWS_AT_MOST;
  const worked = report.servers.filter(({ timeline: spans }) => spans.length > 0).length;
  const inSlowness = slowestFirst(shown);
  const took = (server: ReportedServer, step: string): string => {
    const span = server.timeline.find((one) => one.step === step);
    if (span === undefined) return "–";
    if (span.endedAt === undefined) return "not finished";
    if (span.startedAt === undefined) return "nothing to do";
    return duration((Date.parse(span.endedAt) - Date.parse(span.startedAt)) / 1000);
  };
  const used = work.filter(({ step }) => shown.some((server) => server.timeline.some((one) => one.step === step)));
  return [
    many && [
      markup`<div class="scroll" role="region" tabindex="0" aria-label="Instances out of service, as a picture">${waveChart(report)}</div>`,
      markup`<p class="key">Each bar: from the first instance that was done to 95 % of them; the line goes on to the last, and the stroke is half of them.</p>`,
      table(
        `All ${worked} instances: when the work was done, from the first stop on, and what it took for one`,
        [text("Work"), number("Instances"), number("First done"), number("Half"), number("95 %"), number("All"), number("Median"), number("95 % within"), number("Slowest")], // prettier-ignore
        workFigures(report).map(({ word, instances: n, done, took: one }) => [
          word,
          n,
          ...[done.first, done.half, done.most, done.all, one.median, one.p95, one.slowest].map(duration),
        ]),
      ),
      markup`<h3>The ${shown.length} slowest of ${worked}</h3>`,
    ],
    markup`<div class="scroll" role="region" tabindex="0" aria-label="Timeline of the instances, as a picture">${instanceChart(report, shown)}</div>`,
    markup`<details><summary>${many ? `The ${shown.length} slowest` : "All instances"} as a table, slowest first</summary>${table(
      "Instances and how long each work took",
      [text("Instance"), number("Out of service"), ...used.map(({ word }) => number(word))],
      inSlowness.map((server) => [
        server.name,
        server.downSeconds === undefined ? (server.running ? "not back" : "wasn't running") : duration(server.downSeconds), // prettier-ignore
        ...used.map(({ step }) => took(server, step)),
      ]),
    )}</details>`,
  ];
}

// ------------------------------------------------------------------------------------------------------------- volumes

type Volume = Report["volumes"][number];

function volumes(report: Report): Part {
  const { servers, sites: known } = report;
  const { from, to } = report.begunAs;
  const byId = new Map(report.volumes.map((volume) => [volume.id, volume]));
  const lost = new Set(report.lostVolumes.map(({ id }) => id));
  const { attached, unattached } = volumesOfInstances(report);
  const open = report.volumes.length <= OPEN_AT_MOST && markup` open`;
  const iqns = new Set(Object.values(known).map(({ iqn }) => iqn));
  type Connection = ReportedServer["attachments"][number]["before"];
  // Of a site's own target the table of the sites tells the IQN.
  const target = (connection: Connection): Part => [
    where(connection),
    connection?.iqn !== undefined && !iqns.has(connection.iqn) && markup`<br>${connection.iqn}`,
  ];
  const identity = (name: string, id: string): Part => [
    name,
    markup`<br><span class="mono">${id}</span>`,
    lost.has(id) && markup`<br><strong>✗ lost</strong>`,
  ];
  const held = (volume: Volume | undefined, site: string): Part => volume?.luns[site]?.serial ?? "–";
  const paths = (volume: Volume | undefined): Part => {
    const all = [...new Set(Object.values(volume?.luns ?? {}).map(({ lunPath }) => lunPath))];
    return markup`<span class="mono">${all.length === 0 ? "–" : all.join(" ")}</span>`;
  };
  const size = (volume: Volume | undefined): Part => (volume === undefined ? "–" : `${volume.sizeGiB} GiB`);
  const row = (id: string, cells: readonly Part[]): Markup =>
    markup`<tr data-volume="${id}"><th scope="row">${cells[0]}</th>${cells.slice(1).map((cell) => markup`<td>${cell}</td>`)}</tr>
`;
  const head = (columns: readonly string[], look?: string): Markup =>
    markup`<table${look !== undefined && markup` class="${look}"`}><thead><tr>${columns.map((name) => markup`<th scope="col">${name}</th>`)}</tr></thead><tbody>`;
  const ofServer = head(
    ["Device", "Volume", "LUN path, size", "Target before, after", `Serial at ${from}, ${to}`],
    "held",
  );
  const two = (before: Part, after: Part): Part => markup`<span class="mono">${before}<br>${after}</span>`;
  const total = report.volumes.reduce((sum, { sizeGiB }) => sum + sizeGiB, 0);
  return [
    markup`<p>${count(report.volumes.length, "volume")} of ${total} GiB: ${attached} attached to ${count(servers.length, "instance")}, ${unattached.length} not attached. A mirrored LUN has the same path at both sites; its serial is another one.</p>`,
    markup`<div class="tools" hidden><label for="filter">Filter</label><input id="filter" type="search" placeholder="instance, volume, id, serial, LUN"><button type="button" id="open-all">Open all</button><button type="button" id="close-all">Close all</button><span id="shown" role="status"></span></div>`,
    servers.map(
      (server) =>
        markup`<details class="instance"${open}><summary><strong>${server.name}</strong> <span class="muted">${count(server.attachments.length, "volume")}${server.running ? "" : ", wasn't running"}${server.downSeconds !== undefined && `, out of service for ${duration(server.downSeconds)}`}</span></summary><div class="scroll">${ofServer}${server.attachments.map(
          (a) => {
            const volume = byId.get(a.volumeId);
            return row(a.volumeId, [
              a.device,
              identity(a.volumeName, a.volumeId),
              [paths(volume), markup`<br>`, size(volume)],
              two(target(a.before), target(a.after)),
              two(held(volume, from), held(volume, to)),
            ]);
          },
        )}</tbody></table></div></details>
`,
    ),
    unattached.length > 0 &&
      markup`<details class="instance"${open}><summary><strong>Not attached</strong> <span class="muted">${count(unattached.length, "volume")}</span></summary><div class="scroll">${head(["Volume", "LUN path, size", `Serial at ${from}, ${to}`])}${unattached.map(
        (volume) =>
          row(volume.id, [
            identity(volume.name, volume.id),
            [paths(volume), markup`<br>`, size(volume)],
            two(held(volume, from), held(volume, to)),
          ]),
      )}</tbody></table></div></details>`,
  ];
}

// ------------------------------------------------------------------------------------------------------------ the rest

function database({ database: changed, begunAs }: Report): Part {
  if (changed === undefined) return "";
  const { before, after, dump } = changed;
  const names = [...new Set([...Object.keys(before), ...Object.keys(after)])];
  return [
    table(
      "Rows that name the backend host of the site in charge",
      [text("Table"), number(`Before, of ${begunAs.from}`), number(`After, of ${begunAs.to}`)],
      names.map((name) => [markup`<code>${name}</code>`, before[name] ?? 0, after[name] ?? 0]),
    ),
    dump !== undefined &&
      markup`<p>Backed up before: <code>${dump.file}</code>, ${dump.bytes} bytes, ${dump.tables} tables, SHA-256 <code>${dump.sha256}</code>. It holds secrets.</p>`,
  ];
}

function run(report: Report): Part {
  return table(
    "How it was run",
    [text("What"), text("Value")],
    [
      ["Switchover", markup`<code>${report.switchoverId}</code>`],
      ["Mode", report.mode],
      ["Route", report.route],
      ["Promotion", report.promotion],
      ["Started", moment(report.startedAt)],
      [report.verdict === "open" || report.verdict === "failed" ? "Last entry" : "Ended", moment(report.endedAt)],
      ["Resumed", count(report.resumes, "time")],
      ...(report.approvals.length > 0 ? [["Approved", approvalsSaid(report)]] : []),
      ["Plan", markup`<code>${report.digest}</code>`],
    ],
  );
}
