import assert from "node:assert/strict";
import { mock } from "node:test";
import { heartbeatMs, Screen } from "../../../cli/screen";

/** What a stream was given, and what a terminal of one width shows of it: escapes for column 0 and "erase line" only. */
class Fake {
  written = "";
  constructor(
    readonly isTTY: boolean,
    readonly columns = 40,
  ) {}

  write(chunk: string): void {
    this.written += chunk;
  }

  get shown(): string[] {
    const lines = [""];
    let column = 0;
    for (const token of this.written.match(/\r|\x1b\[2K|\n|[^\x1b\n\r]+/g) ?? []) {
      const at = lines.length - 1;
      if (token === "\r") column = 0;
      else if (token === "\x1b[2K") lines[at] = "";
      else if (token === "\n") {
        lines.push("");
        column = 0;
      } else {
        const line = (lines[at] ?? "").padEnd(column);
        lines[at] = line.slice(0, column) + token + line.slice(column + token.length);
        column += token.length;
      }
    }
    return lines;
  }
}

describe("the screen of a run", () => {
  beforeEach(() => mock.timers.enable({ apis: ["setInterval"] }));
  afterEach(() => mock.timers.reset());

  it("keeps one line below all others on a terminal, written over, and takes it away in the end", () => {
    const terminal = new Fake(true);
    const screen = new Screen(terminal, terminal);
    let n = 0;
    screen.out("before");
    const unwatch = screen.watch(() => `status ${++n} ${"x".repeat(60)}`);
    screen.out("first");
    screen.err("second");
    mock.timers.tick(5_000);
    const shown = terminal.shown;
    assert.deepEqual(shown.slice(0, -1), ["before", "first", "second"]);
    assert.match(shown.at(-1) ?? "", /^status 1\d x+$/);
    assert.equal(shown.at(-1)?.length, terminal.columns - 1, "it never wraps");
    unwatch();
    mock.timers.tick(5_000);
    screen.out("after");
    assert.deepEqual(terminal.shown, ["before", "first", "second", "after", ""]);
  });

  it("takes a terminal that doesn't know its width for one of 80", () => {
    const terminal = new Fake(true, 0);
    const unwatch = new Screen(terminal, terminal).watch(() => "x".repeat(200));
    assert.deepEqual(terminal.shown, ["x".repeat(79)]);
    unwatch();
  });

  it("prints the line from time to time where there's no terminal", () => {
    const [log, errors] = [new Fake(false), new Fake(false)];
    const screen = new Screen(log, errors);
    const unwatch = screen.watch(() => "so it stands");
    screen.out("first");
    assert.equal(log.written, "first\n");
    mock.timers.tick(10 * heartbeatMs);
    assert.equal(log.written, `first\n${"so it stands\n".repeat(10)}`);
    unwatch();
    mock.timers.tick(10 * heartbeatMs);
    screen.err("last");
    assert.equal(log.written, `first\n${"so it stands\n".repeat(10)}`);
    assert.equal(errors.written, "last\n");
  });
});
