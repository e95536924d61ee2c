import { DrError, messageOf } from "../errors";
import { HttpClient } from "../http/client";
import type { HookOutcome, HookPort } from "../switchover/ports";
import { factNames, filledIn, mapTexts } from "../topology/hooks";
import type { PairSecrets } from "../topology/site-pair";
import { runCommand } from "./command";
import { Tail } from "./tail";

type Run = Parameters<HookPort["run"]>[0];
type Facts = Run["facts"];

/** Runs the operator's hooks on this machine. The secrets go into HTTP calls that name them, and out of all that is told. */
export function hookRunner(secrets: PairSecrets): HookPort {
  const { ontapPasswords, databasePassword, messageQueuePassword, openstackSecret, hookSecrets = {} } = secrets;
  const known = [
    ...Object.values(ontapPasswords),
    databasePassword,
    messageQueuePassword,
    openstackSecret,
    ...Object.values(hookSecrets),
  ];
  return {
    run({ hook, facts, instances, signal }) {
      const { command, http, timeoutSeconds } = hook;
      const json = { ...facts, instances };
      if (http !== undefined) return call({ http, timeoutSeconds, facts, json, hookSecrets, known, signal });
      return runCommand({
        command: command ?? [],
        timeoutSeconds,
        env: variablesOf(facts),
        input: `${JSON.stringify(json)}\n`,
        secrets: known,
        signal,
      });
    },
  };
}

/** CHEESECAKE_FROM, …, CHEESECAKE_SWITCHOVER_ID; all of them, so that none is taken from elsewhere. */
function variablesOf(facts: Facts): Record<string, string> {
  return Object.fromEntries(
    factNames.map((name) => [`CHEESECAKE_${name.replace(/[A-Z]/g, "_$&").toUpperCase()}`, facts[name] ?? ""]),
  );
}

const everyStatus = Array.from({ length: 500 }, (_, index) => 100 + index);

async function call(o: {
  readonly http: NonNullable<Run["hook"]["http"]>;
  readonly timeoutSeconds: number;
  readonly facts: Facts;
  readonly json: unknown;
  readonly hookSecrets: Readonly<Record<string, string>>;
  readonly known: readonly string[];
  readonly signal: AbortSignal;
}): Promise<HookOutcome> {
  const { http, facts, hookSecrets } = o;
  const begunMs = performance.now();
  const tail = new Tail(o.known);
  const ended = (how: Pick<HookOutcome, "passed" | "said" | "status" | "timedOut" | "cutOff">): HookOutcome => {
    const output = tail.text();
    const durationSeconds = Math.round((performance.now() - begunMs) / 100) / 10;
    return { ...how, durationSeconds, ...(output === "" ? {} : { output }) };
  };
  const missing = new Set<string>();
  const filled = (text: string, asFact = (fact: string): string => fact): string =>
    filledIn(
      text,
      (name) => asFact(facts[name] ?? ""),
      (name) => hookSecrets[name] ?? (missing.add(name), ""),
    );
  const target = filled(http.url, encodeURIComponent);
  const headers = Object.fromEntries(
    Object.entries(http.headers).map(([name, value]) => [name.toLowerCase(), filled(value)]),
  );
  const body = http.body === undefined ? o.json : mapTexts(http.body, (text) => filled(text));
  if (missing.size > 0) return ended({ passed: false, said: `hookSecrets.${[...missing].join(", ")} isn't set` });
  if (!URL.canParse(target)) return ended({ passed: false, said: `${http.url} isn't a URL with its secrets in place` });
  const url = new URL(target);
  const client = new HttpClient({
    baseUrl: url.origin,
    timeoutMs: o.timeoutSeconds * 1000,
    ...(http.caFile === undefined ? {} : { caFile: http.caFile }),
  });
  try {
    const { status, body: answer } = await client.request<string>({
      method: http.method,
      signal: o.signal,
      path: `${url.pathname}${url.search}`,
      headers,
      ...(http.method === "GET" || http.method === "DELETE" ? {} : { body }),
      expected: everyStatus,
      as: "text",
    });
    tail.add(answer);
    return ended({ passed: status >= 200 && status < 300, said: `it answered ${status}`, status });
  } catch (error) {
    // An error's context has the URL, which may hold a secret.
    if (o.signal.aborted) return ended({ passed: false, said: "it was ended before its answer", cutOff: true });
    tail.add(DrError.is(error) ? error.seen : messageOf(error));
    const timedOut = DrError.is(error, "unreachable") && performance.now() - begunMs >= o.timeoutSeconds * 1000;
    return ended({ passed: false, said: "it wasn't answered", ...(timedOut ? { timedOut } : {}) });
  } finally {
    await client.close();
  }
}
