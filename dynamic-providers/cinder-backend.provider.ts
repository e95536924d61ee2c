import { createHash } from "node:crypto";
import pLimit from "p-limit";
import { z } from "zod";
import { DrError, extend, messageOf } from "../lib/errors";
import * as ini from "../lib/oslo-config";
import type { ControllerPort } from "../lib/switchover/ports";
import { isSecretOption, siteNames } from "../lib/topology/site-pair";
import { configuredPair, configuredSecrets } from "./runtime/connection";
import * as lifecycle from "./runtime/lifecycle";
import { connection } from "./runtime/ports";

const inputsSchema = z.object({
  site: z.string().min(1),
  backend: z.string().min(1),
  options: z.record(z.string(), z.string()),
  /** Set by `check`; `read` says here what is wrong with the password in the file, so that a diff shows it. */
  credential: z.string().default("as configured"),
});
type Inputs = z.output<typeof inputsSchema>;

const outputsSchema = inputsSchema.extend({
  createdOn: z.array(z.string()),
  /** How often the password was replaced: part of the revision, as a digest of the password itself may not be. */
  passwordChanges: z.number(),
});
type Outputs = z.output<typeof outputsSchema>;

/** ActiveSite's, in both stanzas. */
const FOREIGN = "replication_device";
const PASSWORD = "netapp_password";

/** Two backends live in one file: one edit at a time, in this process. */
const oneAtATime = pLimit(1);

export const provider = lifecycle.defineProvider({
  check(_olds, news) {
    const failures = lifecycle.faultsOf(inputsSchema, news);
    const names = lifecycle.hasUnknown(news["options"]) ? [] : Object.keys(news["options"] ?? {});
    for (const option of names) {
      if (option === FOREIGN)
        failures.push({
          property: `options.${option}`,
          reason: "it belongs to ActiveSite, which turns it round; leave it out",
        });
      if (isSecretOption(option))
        failures.push({
          property: `options.${option}`,
          reason:
            "it would stand in the state in clear; the array's password comes from the secret configuration key ontapPasswords",
        });
    }
    return Promise.resolve({ inputs: { ...news, credential: "as configured" }, failures });
  },

  diff(_id, olds, news) {
    const changed = lifecycle.changedFields(olds, news, ["site", "backend", "options", "credential"]);
    return Promise.resolve({ changes: changed.length > 0, replaces: changed.filter((field) => field === "backend") });
  },

  async create(properties) {
    const inputs = lifecycle.decode(inputsSchema, properties);
    return oneAtATime(async () => {
      const wanted = stanza(inputs);
      const found = await inspect(inputs.backend);
      const others = found.filter(({ options }) => options.size > 0 && differences(options, wanted).length > 0);
      if (others.length > 0)
        throw new DrError({
          code: "precondition",
          attempted: `Adopt the stanza [${inputs.backend}] of cinder.conf`,
          seen: others
            .map(({ controller, options }) => `on ${controller.name} ${differences(options, wanted).join(", ")}`)
            .join("; "),
          state: "Nothing was changed",
          remedy: "Declare the values that the file has, or edit the file, and run again",
        });
      const outs = { ...inputs, createdOn: [] as string[], passwordChanges: 0 };
      for (const { controller, options } of found) {
        if (options.size > 0) continue;
        // Killed after the write, before the state is saved: the next create adopts an equal stanza as somebody else's,
        // so a destroy leaves it. That errs on the side of keeping.
        try {
          await write(controller, (content) => edited(content, inputs.backend, wanted, []));
        } catch (error) {
          if (outs.createdOn.length === 0) throw error;
          throw lifecycle.unfinished(inputs.backend, stored(outs), messageOf(error), error);
        }
        outs.createdOn.push(controller.name);
      }
      return { id: inputs.backend, outs: stored(outs) };
    });
  },

  async read(id, properties) {
    const known = lifecycle.decode(outputsSchema, properties);
    const found = await inspect(known.backend);
    if (found.every(({ options }) => options.size === 0)) return lifecycle.gone;
    const password = stanza(known).get(PASSWORD);
    const wrong = found
      .filter(({ options }) => options.get(PASSWORD) !== password)
      .map(({ controller }) => controller.name);
    const inputs: Inputs = {
      site: known.site,
      backend: known.backend,
      options: asFound(found),
      credential: wrong.length === 0 ? "as configured" : `not as configured on ${wrong.join(", ")}`,
    };
    return { id, props: { ...stored({ ...known, ...inputs }), revision: revision(known) }, inputs: { ...inputs } };
  },

  async update(_id, olds, news) {
    const before = lifecycle.decode(outputsSchema, olds);
    const inputs = lifecycle.decode(inputsSchema, news);
    return oneAtATime(async () => {
      const wanted = stanza(inputs);
      let rotated = false;
      for (const { controller, options } of await inspect(inputs.backend)) {
        rotated ||= options.get(PASSWORD) !== wanted.get(PASSWORD);
        await write(controller, (content) => edited(content, inputs.backend, wanted, Object.keys(before.options)));
      }
      const passwordChanges = before.passwordChanges + (rotated ? 1 : 0);
      return { outs: stored({ ...inputs, createdOn: before.createdOn, passwordChanges }) };
    });
  },

  async delete(_id, properties) {
    const known = lifecycle.decode(outputsSchema, properties);
    if (known.createdOn.length === 0) return; // adopted: it was there before this stack and stays
    await oneAtATime(async () => {
      const found = await inspect(known.backend);
      const uses = [
        ...found.flatMap((one) => usesIn(one.content, one.controller.name, known.backend)),
        ...(await volumesOn(known.backend)),
      ];
      if (uses.length > 0)
        throw new DrError({
          code: "precondition",
          attempted: `Delete the stanza [${known.backend}] of cinder.conf`,
          seen: `it is in use: ${uses.join("; ")}`,
          state: "The stanza stands as it was",
          remedy: "Take it out of service first, or let this stack forget it with `pulumi state delete`",
        });
      for (const { controller, options } of found)
        if (known.createdOn.includes(controller.name) && options.size > 0)
          await write(controller, (content) => ini.removeSection(content, known.backend));
    });
  },
});

// ---------------------------------------------------------------------------------------------------------------- stanza

/** The stanza in full, as the file should have it. */
function stanza(inputs: Inputs): Map<string, string> {
  const password = configuredSecrets().ontapPasswords[inputs.site];
  if (password === undefined)
    throw new DrError({
      code: "config",
      attempted: `Write the stanza [${inputs.backend}]`,
      seen: `the configuration has no password for the site "${inputs.site}"; the pair's sites are ${siteNames(configuredPair()).join(" and ")}`,
      state: "Nothing was changed",
      remedy: `Set it with \`pulumi config set --secret --path ontapPasswords.${inputs.site}\``,
    });
  return new Map([...Object.entries(inputs.options), [PASSWORD, ini.escapeSubstitution(password)]]);
}

/** The stanza's own options, the foreign one left out; a repeated option shows its values together. */
export function ownOptions(content: string, backend: string): Map<string, string> {
  const own = new Map<string, string>();
  for (const { option, value } of ini.options(content, backend)) {
    if (option === FOREIGN) continue;
    const before = own.get(option);
    own.set(option, before === undefined ? value : `${before} | ${value}`);
  }
  return own;
}

/** One phrase for each option that isn't as wanted; no secret's value is ever told. */
export function differences(found: ReadonlyMap<string, string>, wanted: ReadonlyMap<string, string>): string[] {
  const names = [...new Set([...wanted.keys(), ...found.keys()])].sort();
  return names
    .filter((name) => found.get(name) !== wanted.get(name))
    .map((name) => {
      if (isSecretOption(name))
        return `${name} ${!found.has(name) ? "is missing" : wanted.has(name) ? "is another one" : "isn't declared"}`;
      if (!wanted.has(name)) return `${name} = "${found.get(name)}" isn't declared`;
      return `${name} is ${found.has(name) ? `"${found.get(name)}"` : "missing"}, declared "${wanted.get(name)}"`;
    });
}

/** The file with the stanza as wanted; `former` options that are no longer wanted go. A repeat changes nothing. */
export function edited(
  content: string,
  backend: string,
  wanted: ReadonlyMap<string, string>,
  former: readonly string[],
): string {
  const dropped = former.filter((option) => !wanted.has(option));
  const without = dropped.reduce((text, option) => ini.remove(text, backend, option), content);
  return [...wanted].reduce((text, [option, value]) => ini.set(text, backend, option, value), without);
}

/** Why the stanza is needed in this file. */
export function usesIn(content: string, controller: string, backend: string): string[] {
  const enabled = ini.listItems(ini.get(content, "DEFAULT", "enabled_backends") ?? "");
  const uses = enabled.includes(backend) ? [`enabled_backends on ${controller} names it`] : [];
  for (const other of enabled)
    if (ini.getAll(content, other, FOREIGN).some((device) => device.split(",")[0]?.trim() === `backend_id:${backend}`))
      uses.push(`[${other}] on ${controller} replicates to it`);
  return uses;
}

/** What a refresh shows: the value where all controllers agree, else who has what. */
function asFound(found: readonly Found[]): Record<string, string> {
  const names = [...new Set(found.flatMap(({ options }) => [...options.keys()]))]
    .filter((name) => !isSecretOption(name))
    .sort();
  return Object.fromEntries(
    names.map((name) => {
      const values = found.map(({ options }) => options.get(name) ?? "absent");
      const [first = ""] = values;
      const agreed = values.every((value) => value === first);
      return [
        name,
        agreed ? first : found.map(({ controller }, at) => `${values[at]} on ${controller.name}`).join(", "),
      ];
    }),
  );
}

function revision(known: Pick<Outputs, "options" | "passwordChanges">): string {
  const entries = Object.entries(known.options).sort(([a], [b]) => (a < b ? -1 : 1));
  return createHash("sha256")
    .update(JSON.stringify([entries, known.passwordChanges]))
    .digest("hex")
    .slice(0, 16);
}

const stored = (outs: Outputs) => ({ ...outs, revision: revision(outs), stateVersion: lifecycle.STATE_VERSION });

// ----------------------------------------------------------------------------------------------------------- controllers

interface Found {
  readonly controller: ControllerPort;
  readonly content: string;
  readonly options: Map<string, string>;
}

/** @throws DrError what is wrong on every controller, not only on the first. */
async function inspect(backend: string): Promise<Found[]> {
  const { controllers } = connection();
  const looked = await Promise.allSettled(controllers.map((controller) => inspectOne(controller, backend)));
  const failures = looked.flatMap((one) => (one.status === "rejected" ? [one.reason as unknown] : []));
  if (failures.length > 1)
    throw new DrError({
      code: DrError.is(failures[0]) ? failures[0].code : "remote",
      attempted: `Read the stanza [${backend}] of cinder.conf`,
      seen: failures.map((failure) => `\n  ✗ ${messageOf(failure)}`).join(""),
      cause: new AggregateError(failures),
    });
  if (failures.length === 1) throw failures[0];
  return looked.flatMap((one) => (one.status === "fulfilled" ? [one.value] : []));
}

async function inspectOne(controller: ControllerPort, backend: string): Promise<Found> {
  const { content } = await controller.readFile(controller.cinderConf);
  try {
    return { controller, content, options: ownOptions(content, backend) };
  } catch (error) {
    const place = `${controller.cinderConf} on ${controller.name}`;
    throw DrError.is(error) ? extend(error, { attempted: `${error.attempted} (${place})` }) : error;
  }
}

/** Read, edit, write if still unchanged. Somebody else's edit in between is respected: read again, a few times. */
async function write(controller: ControllerPort, edit: (content: string) => string): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    const { content, sha256 } = await controller.readFile(controller.cinderConf);
    const next = edit(content);
    if (next === content) return;
    try {
      await controller.writeFile(controller.cinderConf, next, sha256);
      return;
    } catch (error) {
      if (attempt === 3 || !DrError.is(error, "conflict")) throw error;
    }
  }
}

async function volumesOn(backend: string): Promise<string[]> {
  const host = `${configuredPair().cinder.volumeHost}@${backend}`;
  const volumes = await connection().blockStorage.listVolumes(host);
  if (volumes.length === 0) return [];
  const named = volumes.slice(0, 10).map((volume) => `${volume.name || volume.id}`);
  return [`${volumes.length} volumes are on ${host}: ${named.join(", ")}${volumes.length > 10 ? ", …" : ""}`];
}
