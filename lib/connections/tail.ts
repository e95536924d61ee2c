/** The last of what a program or a server said, for journal and report: bounded, and without secrets. */

const tailLength = 4_000;
/** Anything shorter would be found in every sentence. */
const shortestSecret = 4;

export class Tail {
  private kept = "";
  private cut = false;
  private readonly secrets: readonly string[];
  private readonly longest: number;

  constructor(secrets: readonly string[]) {
    this.secrets = [...new Set(secrets.flatMap((secret) => [secret, encodeURIComponent(secret)]))]
      .filter((secret) => secret.length >= shortestSecret)
      .sort((a, b) => b.length - a.length);
    this.longest = this.secrets[0]?.length ?? 0;
  }

  add(text: string): void {
    const all = this.kept + text;
    this.kept = all.slice(-(tailLength + this.longest));
    this.cut ||= this.kept.length < all.length;
  }

  text(): string {
    let text = redacted(this.kept, this.secrets);
    // The rest of a secret that was cut is no secret to be found: what it may stand in is left out, with its line.
    if (this.cut) {
      text = text.slice(this.longest);
      text = text.slice(text.indexOf("\n") + 1);
    }
    return text.slice(-tailLength).trim();
  }
}

/** Known secrets, and what is called one by the word before it. */
export function redacted(text: string, secrets: readonly string[]): string {
  return secrets
    .filter((secret) => secret.length >= shortestSecret)
    .reduce((shown, secret) => shown.replaceAll(secret, "…"), text)
    .replace(/(:\/\/)[^\s/@]+@/g, "$1…@")
    .replace(
      /((?:password|passphrase|passwd|secret|token|api[-_]?key|authorization)\w*["']?\s*[:=]\s*["']?)(?:(?:basic|bearer)\s+)?[^\s"',;&]+/gi,
      "$1…",
    );
}
