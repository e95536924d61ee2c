import { z } from "zod";
import { isLoopback } from "./loopback";
import { isSecretOption } from "./site-pair";

/** What the operator has run at the boundaries of phases. Plain data without a secret: it goes into plans and journals. */

/** Of a journey; `abort` is the whole way back from one. */
export const phases = [
  "activate",
  "hold",
  "pre-sync",
  "quiesce",
  "detach",
  "final-sync",
  "cutover",
  "attach",
  "start",
  "promote",
  "reprotect",
  "abort",
] as const;
/** One of {@link phases}. */
export type Phase = (typeof phases)[number];

/** `during:promote`: while Cinder's services are stopped. */
export type Moment = `before:${Phase}` | `after:${Phase}` | "during:promote";
const moments = ["during:promote", ...phases.flatMap((phase) => [`before:${phase}`, `after:${phase}`])];

/** What a hook is told of the run, in variables `CHEESECAKE_…`, as JSON, and in place of `{from}` in an HTTP call. */
export const factNames = [
  "pair",
  "switchoverId",
  "kind",
  "mode",
  "route",
  "from",
  "to",
  "when",
  "phase",
  "hook",
  "group",
] as const;
export type FactName = (typeof factNames)[number];

const placeholder = /\{([A-Za-z][A-Za-z0-9]*)(?::([A-Za-z0-9._-]+))?\}/g;

/** `{from}` and `{secret:<name>}` are replaced; any other text in braces is left alone. */
export function filledIn(text: string, factOf: (name: FactName) => string, secretOf: (name: string) => string): string {
  return text.replace(placeholder, (whole, word: string, name: string | undefined) => {
    if (name === undefined) return (factNames as readonly string[]).includes(word) ? factOf(word as FactName) : whole;
    return word === "secret" ? secretOf(name) : whole;
  });
}

/** A tree of JSON with each of its texts replaced. */
export function mapTexts(value: unknown, of: (text: string) => string): unknown {
  if (typeof value === "string") return of(value);
  if (Array.isArray(value)) return value.map((each) => mapTexts(each, of));
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, mapTexts(each, of)]));
}

function checkUrl(text: string, ctx: z.RefinementCtx): void {
  const fault = (message: string): void => ctx.addIssue({ code: "custom", message });
  // Where a placeholder stands for a part of the path, the rest has to be a URL with anything there.
  const filled = text.replace(placeholder, "x");
  if (!URL.canParse(filled)) return fault("isn't a URL");
  const { protocol, hostname, username, password } = new URL(filled);
  if (`${username}${password}` !== "") fault("it holds a user or a password; write {secret:<name>} in a header");
  if (protocol === "http:" && !isLoopback(hostname.replace(/^\[|\]$/g, "")))
    fault(`without TLS to "${hostname}", which isn't this host: begin it with https://, and name the CA in caFile`);
  else if (protocol !== "https:" && protocol !== "http:") fault("a URL that begins with https:// is needed");
}

/** It goes into the state in clear. */
function checkHeaders(headers: Readonly<Record<string, string>>, ctx: z.RefinementCtx): void {
  for (const [header, value] of Object.entries(headers)) {
    const refuse = (message: string): void => ctx.addIssue({ code: "custom", path: [header], message });
    if (!/^[A-Za-z0-9!#$%&'*+.^_`|~-]+$/.test(header)) refuse("isn't a header's name");
    if (/[\r\n]/.test(value)) refuse("holds a line break");
    if (
      (isSecretOption(header) || /^(proxy-)?authorization$|cookie|api-?key/i.test(header)) &&
      !/\{secret:/.test(value)
    )
      refuse("a secret would stand in the state in clear; write {secret:<name>}, and the value into hookSecrets");
  }
}

const httpSchema = z.strictObject({
  method: z
    .enum(["GET", "POST", "PUT", "PATCH", "DELETE"])
    .default("POST")
    .describe("With `POST`, `PUT` and `PATCH` a body is sent."),
  url: z.string().min(1).superRefine(checkUrl).meta({ title: "URL", description: "With TLS, but on this host." }),
  headers: z.record(z.string(), z.string()).superRefine(checkHeaders).default({}).meta({
    title: "texts by name",
    description: "What is a secret's header, such as `Authorization`, needs a `{secret:<name>}`.",
  }),
  body: z
    .record(z.string(), z.unknown())
    .exactOptional()
    .meta({ title: "object", description: "Sent as JSON; without it the facts of the run are." }),
  caFile: z
    .string()
    .min(1)
    .exactOptional()
    .meta({ title: "path", description: "PEM file of the server's CA; the system's CAs without it." }),
});

export const hookSchema = z
  .strictObject({
    name: z.string().min(1).describe("Unique among the hooks."),
    when: z
      .custom<Moment>((value) => moments.includes(value as string), `one of ${moments.join(", ")}`)
      .meta({
        title: "`before:<phase>`, `after:<phase>`, `during:promote`",
        description: `Phases: ${phases.map((phase) => `\`${phase}\``).join(", ")}. \`during:promote\` runs while Cinder is down.`,
      }),
    group: z.string().min(1).exactOptional().meta({
      title: "name of a group",
      description:
        "With `quiesce` and `start`: at the boundary of this [priority group](hooks.md#priority-groups) instead of the whole phase's.",
    }),
    command: z
      .array(z.string())
      .min(1)
      .exactOptional()
      .describe("Program and arguments, run on the machine that runs Pulumi, without a shell. Either this or `http`."),
    http: httpSchema
      .exactOptional()
      .describe("An HTTP call. Texts in it may hold `{from}`, `{to}`, … and `{secret:<name>}`."),
    timeoutSeconds: z
      .number()
      .int()
      .positive()
      .max(86_400)
      .default(300)
      .describe("After that it has failed: a command is killed with its process group."),
    onFailure: z
      .enum(["abort", "continue"])
      .default("abort")
      .describe("`abort` ends the run there, to be gone on with; `continue` is a warning in the report."),
  })
  .superRefine(({ command, http, group, when }, ctx) => {
    if ((command === undefined) === (http === undefined))
      ctx.addIssue({ code: "custom", message: "either a command or http is needed, and only one of them" });
    if (group !== undefined && !["quiesce", "start"].includes(when.split(":")[1] ?? ""))
      ctx.addIssue({
        code: "custom",
        path: ["group"],
        message: `groups are stopped and started one after another: only before or after quiesce and start, not ${when}`,
      });
  });

/** A command or an HTTP call of the operator's at a boundary of a phase. */
export type HookSpec = z.output<typeof hookSchema>;

/** Names of secrets that it needs. */
export function secretsOf({ http }: Pick<HookSpec, "http">): readonly string[] {
  const names = new Set<string>();
  mapTexts(http, (text) =>
    filledIn(
      text,
      () => "",
      (name) => (names.add(name), ""),
    ),
  );
  return [...names];
}

const phaseOf = ({ when }: Pick<HookSpec, "when">): Phase => when.split(":")[1] as Phase;
const partOf = ({ when }: Pick<HookSpec, "when">): string => when.split(":")[0] ?? "";

/** `before` or `after` or `during`, and of what. */
export const momentOf = (hook: Pick<HookSpec, "when">): { readonly part: string; readonly phase: Phase } => ({
  part: partOf(hook),
  phase: phaseOf(hook),
});

/** As an operator reads it: `run drain --all`, `POST https://…`. */
export function deedOf({ command, http }: Pick<HookSpec, "command" | "http">): string {
  if (http !== undefined) return `${http.method} ${http.url}`;
  return `run ${(command ?? []).map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : JSON.stringify(word))).join(" ")}`;
}
