import type { Markup, Part } from "./markup";
import { markup } from "./markup";
import type { Picture, Report, ReportedServer, ReportedStep } from "./schema";
import { duration, isRunning, mirrorGroups, stepName } from "./words";

/** SVG of a few rectangles: its colours are the page's, so that it follows light, dark and print. */

const round = (value: number): number => Math.round(value * 10) / 10;
const ms = (at: string): number => Date.parse(at);
const shortened = (text: string, length: number): string =>
  text.length > length ? `${text.slice(0, length - 1)}…` : text;

interface Box {
  readonly id: string;
  readonly title: string;
  readonly description: string;
  readonly width: number;
  readonly height: number;
}

function svg({ id, title, description, width, height }: Box, body: Part): Markup {
  return markup`<svg viewBox="0 0 ${width} ${round(height)}" role="img" aria-labelledby="${id}-title ${id}-description"><title id="${id}-title">${title}</title><desc id="${id}-description">${description}</desc>${body}</svg>`;
}

const text = (x: number, y: number, said: string, look = ""): Markup =>
  markup`<text x="${round(x)}" y="${round(y)}" class="${look}">${said}</text>`;

const rect = (x: number, y: number, width: number, height: number, look: string, title?: string): Markup =>
  markup`<rect x="${round(x)}" y="${round(y)}" width="${round(Math.max(width, 1.5))}" height="${height}" class="${look}">${title !== undefined && markup`<title>${title}</title>`}</rect>`;

const line = (x1: number, y1: number, x2: number, y2: number, look: string): Markup =>
  markup`<line x1="${round(x1)}" y1="${round(y1)}" x2="${round(x2)}" y2="${round(y2)}" class="${look}"/>`;

// --------------------------------------------------------------------------------------------------------------- sites

/** Who serves, and what is mirrored which way; both sites stay on their side. */
export function siteDrawing(report: Report, which: "before" | "after"): Markup {
  const picture = report[which];
  const { from, to } = report.begunAs;
  const title = which === "before" ? "Before" : "After";
  const groups = mirrorGroups(picture);
  const shown = groups.slice(0, 3);
  const height = Math.max(170, 70 + shown.length * 62);
  const said = [
    picture.servedBy === undefined
      ? "No site serves production for certain."
      : `${picture.servedBy} serves production.`,
    ...groups.map(
      (group) =>
        `${group.said} from ${group.source} to ${group.destination}${group.lag === "" ? "" : `, ${group.lag}`}.`,
    ),
  ].join(" ");
  return svg({ id: `sites-${which}`, title: `${title}: the sites`, description: said, width: 520, height }, [
    text(4, 16, title, "strong"),
    siteBox(report, picture, from, 4, height),
    siteBox(report, picture, to, 366, height),
    shown.map((group, index) => {
      const y = 62 + index * 62;
      const rightwards = group.source === from;
      const [start, end] = rightwards ? [160, 360] : [360, 160];
      const runs = isRunning(group.state);
      const tip = rightwards ? end - 9 : end + 9;
      return [
        text(260, y - 8, group.said, "middle small"),
        line(start, y, end, y, runs ? "arrow" : "arrow broken"),
        markup`<path d="M${end} ${y}L${tip} ${y - 5}V${y + 5}Z" class="head"/>`,
        runs ? "" : text(260, y + 5, "✕", "middle strong cross"),
        text(260, y + 18, group.lag, "middle small muted"),
      ];
    }),
    shown.length === 0 ? text(260, 80, "no mirrors", "middle small muted") : "",
    groups.length > shown.length
      ? text(260, height - 6, `and ${groups.length - shown.length} more`, "middle small")
      : "",
  ]);
}

function siteBox(report: Report, picture: Picture, site: string, x: number, height: number): Markup {
  const serves = picture.servedBy === site;
  const about = report.sites[site];
  const lines = [
    serves ? "● production" : picture.servedBy === undefined ? "? not settled" : "○ standby",
    ...(about === undefined ? [] : [`backend ${about.backend}`, `SVM ${about.svm}`]),
    `${picture.attachments[site] ?? 0} attachments`,
    ...(serves && picture.detached > 0 ? [`${picture.detached} detached`] : []),
  ];
  return markup`<rect x="${x}" y="28" width="150" height="${height - 34}" rx="6" class="${serves ? "site active" : "site"}"/>${text(x + 10, 50, shortened(site, 16), "strong")}${lines.map((said, row) => text(x + 10, 72 + row * 19, shortened(said, 22), row === 0 && serves ? "small strong" : "small"))}`;
}

// ---------------------------------------------------------------------------------------------------------------- time

interface Axis {
  readonly x: (at: string | number) => number;
  readonly right: number;
  readonly marks: (top: number, bottom: number) => Markup;
}

const BREAK_WIDTH = 16;
const steps = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400];

/** Of the time in which a run was at it: what lies between two runs may be days, and is a break. */
function axisOf(report: Pick<Report, "pauses">, from: number, to: number, left: number, right: number): Axis {
  const pauses = report.pauses
    .map((pause) => ({ from: Math.max(ms(pause.from), from), to: Math.min(ms(pause.to), to) }))
    .filter((pause) => pause.to > pause.from);
  const breakWidth = Math.min(BREAK_WIDTH, (right - left) / 3 / Math.max(1, pauses.length));
  const paused = pauses.reduce((sum, pause) => sum + pause.to - pause.from, 0);
  const workedMs = Math.max(1, to - from - paused);
  const scale = (right - left - breakWidth * pauses.length) / workedMs;
  const x = (at: string | number): number => {
    const time = Math.min(to, Math.max(from, typeof at === "string" ? ms(at) : at));
    let position = left + (time - from) * scale;
    for (const pause of pauses) {
      if (time <= pause.from) break;
      const within = Math.min(time, pause.to) - pause.from;
      position += (within / (pause.to - pause.from)) * breakWidth - within * scale;
    }
    return position;
  };
  const every = steps.find((step) => (step * 1000 * (right - left)) / (workedMs + 1) >= 84) ?? 86400 * 7;
  const ticks: { readonly at: number; readonly seconds: number }[] = [];
  let [cursor, worked] = [from, 0];
  for (const pause of [...pauses, { from: to, to }]) {
    const until = worked + pause.from - cursor;
    for (let tick = Math.ceil(worked / (every * 1000)); tick * every * 1000 <= until; tick++)
      ticks.push({ at: cursor + tick * every * 1000 - worked, seconds: tick * every });
    [cursor, worked] = [pause.to, until];
  }
  return {
    x,
    right,
    marks: (top, bottom) =>
      markup`${ticks.map(({ at, seconds }) => [line(x(at), top, x(at), bottom, "grid"), text(x(at), top - 5, duration(seconds), "middle small muted")])}${pauses.map((pause) => markup`<g><title>${`paused for ${duration((pause.to - pause.from) / 1000)}`}</title>${rect(x(pause.from), top, x(pause.to) - x(pause.from), round(bottom - top), "break")}</g>`)}`,
  };
}

// -------------------------------------------------------------------------------------------------------------- phases

const outageOf = (report: Report): readonly [begin: number, end: number] | undefined => {
  const stop = report.steps.find(({ id }) => id === "quiesce/stop-instances")?.startedAt;
  if (stop === undefined) return undefined;
  const start = report.steps.findLast(({ id }) => id === "start/instances");
  return [ms(stop), ms(start?.endedAt ?? report.endedAt)];
};

/** Each step that was begun, with what was forecast of it below. */
export function stepChart(report: Report): Markup {
  const begun = report.steps.filter(({ startedAt }) => startedAt !== undefined);
  const [top, row, left, right] = [34, 26, 200, 770];
  const height = top + begun.length * row + 8;
  const axis = axisOf(report, ms(report.startedAt), ms(report.endedAt), left, right);
  const outage = outageOf(report);
  const description = begun.map((step) => `${stepName(step)}: ${stepSaid(step)}`).join("; ");
  return svg({ id: "steps-chart", title: "Timeline of the steps", description, width: 960, height }, [
    outage !== undefined && outage[1] > outage[0]
      ? [
          rect(axis.x(outage[0]), top, axis.x(outage[1]) - axis.x(outage[0]), height - top - 4, "outage"),
          text(axis.x(outage[0]) + 4, 11, "instances are out of service", "small strong"),
        ]
      : "",
    axis.marks(top, height - 4),
    begun.map((step, index) => {
      const y = top + index * row;
      const x = axis.x(step.startedAt ?? report.startedAt);
      const over = step.endedAt !== undefined;
      const forecastEnd = axis.x(ms(step.startedAt ?? "") + step.forecastSeconds * 1000);
      return [
        text(4, y + 15, shortened(stepName(step), 30), "small"),
        rect(
          x,
          y + 4,
          axis.x(step.endedAt ?? report.endedAt) - x,
          11,
          over ? "bar" : "bar unfinished",
          `${step.sentence}: ${stepSaid(step)}`,
        ),
        rect(x, y + 17, forecastEnd - x, 3, "forecast"),
        text(right + 12, y + 15, stepSaid(step), over ? "small" : "small strong"),
      ];
    }),
  ]);
}

function stepSaid({ durationSeconds, forecastSeconds, failures }: ReportedStep): string {
  const failed = failures.length > 0 ? `, ✗ ${failures.length} failed` : "";
  return `${durationSeconds === undefined ? "not finished" : duration(durationSeconds)} (${duration(forecastSeconds)})${failed}`;
}

// ----------------------------------------------------------------------------------------------------------- instances

/** So many rows are drawn; beyond, the slowest of them. */
export const ROWS_AT_MOST = 50;

/** What is done to an instance, in its order, with how it's told apart without colours. */
export const work = [
  { step: "quiesce/stop-instances", word: "stop", look: "stop" },
  { step: "detach/volumes", word: "detach", look: "detach" },
  { step: "attach/volumes", word: "attach", look: "attach" },
  { step: "attach/renew-roots", word: "renew root", look: "renew" },
  { step: "start/instances", word: "start", look: "start" },
] as const;

const ends = (server: ReportedServer): readonly number[] =>
  server.timeline.flatMap(({ startedAt, endedAt }) =>
    [startedAt, endedAt].flatMap((at) => (at === undefined ? [] : [ms(at)])),
  );

function rangeOf(servers: readonly ReportedServer[]): readonly [number, number] | undefined {
  let range: [number, number] | undefined;
  for (const server of servers)
    for (const at of ends(server))
      range = range === undefined ? [at, at] : [Math.min(range[0], at), Math.max(range[1], at)];
  return range;
}

/** How long it was worked on: of one that didn't run there is no outage. */
export function tookSeconds(server: ReportedServer): number {
  const all = ends(server);
  return server.downSeconds ?? (all.length < 2 ? 0 : (Math.max(...all) - Math.min(...all)) / 1000);
}

/** One that isn't back comes before all, one that had no outage after all. */
function slowness(server: ReportedServer): number {
  if (!server.running) return tookSeconds(server) - 1e9;
  return server.downSeconds ?? Number.MAX_VALUE;
}

export const slowestFirst = (servers: readonly ReportedServer[]): readonly ReportedServer[] =>
  servers.toSorted((a, b) => slowness(b) - slowness(a));

/** All of them in their order, or the slowest. */
export function shownServers(report: Report): readonly ReportedServer[] {
  const worked = report.servers.filter(({ timeline }) => timeline.length > 0);
  if (worked.length <= ROWS_AT_MOST) return worked;
  return slowestFirst(worked).slice(0, ROWS_AT_MOST);
}

export function instanceChart(report: Report, servers: readonly ReportedServer[]): Markup {
  const range = rangeOf(servers) ?? [ms(report.startedAt), ms(report.endedAt)];
  const [top, row, left, right] = [52, 20, 200, 840];
  const height = top + servers.length * row + 8;
  const axis = axisOf(report, range[0], range[1], left, right);
  const used = work.filter(({ step }) => servers.some(({ timeline }) => timeline.some((one) => one.step === step)));
  const description = `From the first stop on. ${servers.map((server) => `${server.name}: ${duration(tookSeconds(server))}`).join("; ")}`;
  return svg({ id: "instances-chart", title: "Timeline of the instances", description, width: 960, height }, [
    patterns,
    legend(used, left),
    axis.marks(top, height - 4),
    servers.map((server, index) => {
      const y = top + index * row;
      const all = ends(server);
      return [
        text(4, y + 14, shortened(server.name, 27), "small"),
        all.length > 0 ? line(axis.x(Math.min(...all)), y + 10, axis.x(Math.max(...all)), y + 10, "waiting") : "",
        used.flatMap(({ step, word, look }) => {
          const span = server.timeline.find((one) => one.step === step);
          const [startedAt = span?.endedAt, endedAt] = [span?.startedAt, span?.endedAt ?? report.endedAt];
          if (span === undefined || startedAt === undefined) return [];
          const [x, end] = [axis.x(startedAt), axis.x(endedAt)];
          const took = (ms(endedAt) - ms(startedAt)) / 1000;
          const finished = span.endedAt === undefined ? ", not finished" : "";
          return [rect(x, y + 3, end - x, 14, `work ${look}`, `${server.name}: ${word}, ${duration(took)}${finished}`)];
        }),
        text(
          right + 12,
          y + 14,
          server.downSeconds === undefined
            ? server.running
              ? "not back"
              : "wasn't running"
            : duration(server.downSeconds),
          server.running && server.downSeconds === undefined ? "small strong" : "small",
        ),
      ];
    }),
  ]);
}

const patterns = markup`<defs><pattern id="hatch" width="5" height="5" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect width="5" height="5" class="fill-detach"/><line x1="0" y1="0" x2="0" y2="5" class="stripe"/></pattern><pattern id="dots" width="5" height="5" patternUnits="userSpaceOnUse"><rect width="5" height="5" class="fill-start"/><circle cx="2.5" cy="2.5" r="1.1" class="dot"/></pattern></defs>`;

function legend(used: readonly (typeof work)[number][], left: number): Markup {
  let x = left;
  const parts = used.map(({ word, look }) => {
    const here = x;
    x += 40 + word.length * 7;
    return [rect(here, 6, 16, 12, `work ${look}`), text(here + 21, 16, word, "small")];
  });
  return markup`${parts}${line(x, 12, x + 16, 12, "waiting")}${text(x + 21, 16, "waits, out of service", "small")}`;
}

// ------------------------------------------------------------------------------------------------------ many instances

export interface WorkFigures {
  readonly word: string;
  readonly instances: number;
  /** Since the first instance's first step, in seconds: when so much of it was done. */
  readonly done: Readonly<Record<"first" | "half" | "most" | "all", number>>;
  /** For one instance. */
  readonly took: Readonly<Record<"median" | "p95" | "slowest", number>>;
}

const at = (sorted: readonly number[], share: number): number =>
  sorted[Math.min(sorted.length - 1, Math.max(0, Math.ceil(sorted.length * share) - 1))] ?? 0;

/** What a row for each instance can't tell any more. */
export function workFigures(report: Report): readonly WorkFigures[] {
  const origin = rangeOf(report.servers)?.[0] ?? 0;
  return work.flatMap(({ step, word }) => {
    const spans = report.servers.flatMap(({ timeline }) =>
      timeline.filter((one) => one.step === step && one.endedAt !== undefined),
    );
    if (spans.length === 0) return [];
    const done = spans.map(({ endedAt = "" }) => (ms(endedAt) - origin) / 1000).sort((a, b) => a - b);
    const took = spans
      .map(({ startedAt, endedAt = "" }) => (startedAt === undefined ? 0 : (ms(endedAt) - ms(startedAt)) / 1000))
      .sort((a, b) => a - b);
    return [
      {
        word,
        instances: spans.length,
        done: { first: at(done, 0), half: at(done, 0.5), most: at(done, 0.95), all: at(done, 1) },
        took: { median: at(took, 0.5), p95: at(took, 0.95), slowest: at(took, 1) },
      },
    ];
  });
}

const SAMPLES = 200;

/** How many instances were out of service, and when each kind of work was done to them: the waves in which they go. */
export function waveChart(report: Report): Markup {
  const range = rangeOf(report.servers) ?? [ms(report.startedAt), ms(report.endedAt)];
  const [left, right, top, plot, row] = [200, 840, 34, 120, 24];
  const axis = axisOf(report, range[0], range[1], left, right);
  const figures = workFigures(report);
  const height = top + plot + 34 + figures.length * row;
  const running = report.servers.filter((server) => server.running);
  type Span = ReportedServer["timeline"][number];
  const timesOf = (step: string, of: (span: Span) => string | undefined): readonly number[] =>
    running
      .flatMap(({ timeline }) => timeline.flatMap((one) => (one.step === step ? (of(one) ?? []) : [])))
      .map(ms)
      .sort((a, b) => a - b);
  const stops = timesOf("quiesce/stop-instances", ({ startedAt, endedAt }) => startedAt ?? endedAt);
  const starts = timesOf("start/instances", ({ endedAt }) => endedAt);
  const [stopped, started] = [reader(stops), reader(starts)];
  const samples = Array.from(
    { length: SAMPLES + 1 },
    (_, index) => range[0] + ((range[1] - range[0]) * index) / SAMPLES,
  );
  const down = samples.map((time) => stopped(time) - started(time));
  const most = Math.max(1, ...down);
  const y = (count: number): number => top + plot - (count / most) * plot;
  const points = samples.map((time, index) => `${round(axis.x(time))} ${round(y(down[index] ?? 0))}`);
  const bottom = top + plot;
  return svg(
    {
      id: "waves-chart",
      title: "Instances out of service, and when each kind of work was done",
      description: `At most ${most} of ${running.length} running instances were out of service at a time. ${figures.map((f) => `${f.word}: half done after ${duration(f.done.half)}, all after ${duration(f.done.all)}`).join("; ")}`,
      width: 960,
      height,
    },
    [
      patterns,
      text(4, top + 12, "out of service", "small strong"),
      text(4, top + 29, `at most ${most} of ${running.length}`, "small muted"),
      axis.marks(top, height - 6),
      markup`<path d="M${round(axis.x(range[0]))} ${bottom}L${points.join("L")}L${round(axis.x(range[1]))} ${bottom}Z" class="area"/>`,
      line(left, bottom, right, bottom, "base"),
      text(right + 12, top + 8, String(most), "small"),
      text(right + 12, bottom, "0", "small"),
      figures.map((figure, index) => {
        const look = work.find(({ word }) => word === figure.word)?.look ?? "";
        const place = bottom + 22 + index * row;
        const xs = (seconds: number): number => axis.x(range[0] + seconds * 1000);
        const [first, last] = [xs(figure.done.first), xs(figure.done.all)];
        return [
          text(4, place + 12, `${figure.word} done`, "small"),
          line(first, place + 8, last, place + 8, "waiting"),
          rect(
            first,
            place + 1,
            xs(figure.done.most) - first,
            14,
            `work ${look}`,
            `${figure.word}: 95 % of ${figure.instances} done after ${duration(figure.done.most)}`,
          ),
          line(xs(figure.done.half), place - 2, xs(figure.done.half), place + 18, "half"),
          text(right + 12, place + 12, duration(figure.done.all), "small"),
        ];
      }),
    ],
  );
}

/** How many of these times have come; asked for in their order. */
function reader(sorted: readonly number[]): (time: number) => number {
  let index = 0;
  return (time) => {
    while (index < sorted.length && (sorted[index] ?? 0) <= time) index += 1;
    return index;
  };
}
