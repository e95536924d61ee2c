/** cinder.conf as oslo.config 10 reads it: sections, repeated options, values on indented lines, quotes. */
import { readFileSync } from "node:fs";

export type Section = ReadonlyMap<string, readonly string[]>;

export class CinderConf {
  private readonly sections = new Map<string, Map<string, string[]>>();

  /** Throws where oslo.config refuses the file: the service doesn't start then. */
  static read(file: string): CinderConf {
    return new CinderConf(readFileSync(file, "utf8"));
  }

  constructor(text: string) {
    let section: Map<string, string[]> | undefined;
    let values: string[] | undefined;
    text.split(/\r\n|\r|\n/).forEach((raw, index) => {
      const line = raw.trimEnd();
      const refuse = (what: string): never => {
        throw new Error(`cinder.conf, line ${index + 1}: ${what}`);
      };
      if (line === "") values = undefined;
      else if (/^[ \t]/.test(line)) {
        if (values === undefined) refuse("an indented line continues nothing");
        else values.push(`${values.pop() ?? ""}\n${line.trim()}`);
      } else if (line.startsWith("[")) {
        values = undefined;
        const name = line.slice(1, -1);
        if (!line.endsWith("]") || name === "") refuse("not a section's header");
        const known = name === "DEFAULT" ? name : name.toLowerCase();
        section = this.sections.get(known) ?? new Map<string, string[]>();
        this.sections.set(known, section);
      } else if (!/^[#;]/.test(line)) {
        const [, name, , value = ""] = /^([^:=]*)([:=])\s*(.*)$/.exec(line) ?? [];
        if (name === undefined || name.trim() === "") return refuse("not an assignment");
        if (section === undefined) return refuse("an option before the first section");
        values = section.get(name.trim()) ?? [];
        values.push(/^(["']).*\1$/.test(value) ? value.slice(1, -1) : value);
        section.set(name.trim(), values);
      } else values = undefined;
    });
  }

  has(section: string): boolean {
    return this.sections.has(section.toLowerCase());
  }

  /** The last value counts, as for every option that isn't multi-valued. */
  get(section: string, option: string): string | undefined {
    return this.sections
      .get(section === "DEFAULT" ? section : section.toLowerCase())
      ?.get(option)
      ?.at(-1);
  }

  all(section: string, option: string): readonly string[] {
    return this.sections.get(section.toLowerCase())?.get(option) ?? [];
  }

  number(section: string, option: string, otherwise: number): number {
    const text = this.get(section, option);
    const value = text === undefined ? otherwise : Number(text);
    if (Number.isNaN(value)) throw new Error(`cinder.conf: [${section}] ${option} is no number: ${text ?? ""}`);
    return value;
  }

  /** `host@backend` of an enabled backend's service. */
  hostOf(stanza: string, controller: string): string {
    return `${this.get(stanza, "backend_host") ?? this.get("DEFAULT", "host") ?? controller}@${stanza}`;
  }

  enabledBackends(): string[] {
    return (this.get("DEFAULT", "enabled_backends") ?? "")
      .split(",")
      .map((name) => name.trim())
      .filter((name) => name !== "");
  }
}
