/** So often, where nobody watches and what is printed is kept, as in a CI job's log. */
export const heartbeatMs = 30_000;
const redrawMs = 500;
/** To the line's beginning, and erase it. */
const ERASE = "\r\x1b[2K";

interface Output {
  write(text: string): unknown;
  readonly isTTY?: boolean;
  readonly columns?: number;
}

/**
 * What is printed stays. Below it, on a terminal, one line tells how things stand and is written over; elsewhere that line
 * is printed from time to time.
 */
export class Screen {
  private status: (() => string) | undefined;

  constructor(
    private readonly stdout: Output,
    private readonly stderr: Output,
    private readonly terminal = stdout.isTTY === true,
  ) {}

  readonly out = (line: string): void => this.print(this.stdout, line);
  readonly err = (line: string): void => this.print(this.stderr, line);

  /** Until what it gives back is called. */
  readonly watch = (status: () => string): (() => void) => {
    const tick = this.terminal ? () => this.draw() : () => this.out(status());
    const timer = setInterval(tick, this.terminal ? redrawMs : heartbeatMs);
    timer.unref();
    this.status = status;
    this.draw();
    return () => {
      clearInterval(timer);
      this.wipe();
      this.status = undefined;
    };
  };

  private print(stream: Output, line: string): void {
    this.wipe();
    stream.write(`${line}\n`);
    this.draw();
  }

  private wipe(): void {
    if (this.terminal && this.status !== undefined) this.stdout.write(ERASE);
  }

  /** Shorter than the terminal is wide, where that's known (0: it isn't): one that wraps can't be written over. */
  private draw(): void {
    if (!this.terminal || this.status === undefined) return;
    const { columns = 0 } = this.stdout;
    this.stdout.write(ERASE + this.status().slice(0, (columns > 0 ? columns : 80) - 1));
  }
}
