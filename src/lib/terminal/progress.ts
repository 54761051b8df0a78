import type { Writable } from "node:stream";
import { printableLine } from "./printable.ts";
import { cutTo } from "./table.ts";

/** Running display of a long piece of work, on stderr: one updated line on a terminal, plain lines on a pipe. */
export interface Progress {
  /** `total` null = unknown. */
  update(done: number, total: number | null): void;
  end(): void;
}

/** What a progress display writes to and says. */
export interface ProgressOptions {
  readonly stderr: Writable & { readonly isTTY?: boolean; readonly columns?: number };
  readonly label: string;
  /** What is counted, in the plural: "pins". */
  readonly unit: string;
  readonly monotonicMs: () => number;
}

const REDRAW_INTERVAL_MS = 100;
// A pipe is a log: nothing for what is done at once, then few lines, however long it takes.
const FIRST_LINE_AFTER_MS = 1_000;
const LINE_INTERVAL_MS = 5_000;
const ERASE_LINE = "\r\u001b[2K";
// For a terminal that does not know its size and says 0.
const FALLBACK_COLUMNS = 80;

/** A display that shows nothing, for `--quiet`. */
export const silentProgress: Progress = { update: () => {}, end: () => {} };

function render({ label, unit }: ProgressOptions, done: number, total: number | null): string {
  if (total === null || total <= 0) return `${label}: ${done} ${unit}`;
  return `${label}: ${done} of ${total} ${unit} (${Math.floor((Math.min(done, total) / total) * 100)} %)`;
}

/** Starts a display; the caller ends it, also when the work fails. */
export function startProgress(options: ProgressOptions): Progress {
  const { stderr, monotonicMs } = options;
  const live = stderr.isTTY === true;
  let dueMs = live ? Number.NEGATIVE_INFINITY : monotonicMs() + FIRST_LINE_AFTER_MS;
  let drawn = false;
  return {
    update: (done, total) => {
      const nowMs = monotonicMs();
      if (nowMs < dueMs) return;
      dueMs = nowMs + (live ? REDRAW_INTERVAL_MS : LINE_INTERVAL_MS);
      const text = printableLine(render(options, done, total));
      // A line that wraps could not be erased again.
      stderr.write(live ? ERASE_LINE + cutTo(text, (stderr.columns || FALLBACK_COLUMNS) - 1, "end") : `${text}\n`);
      drawn = true;
    },
    end: () => {
      if (live && drawn) stderr.write(ERASE_LINE);
    },
  };
}
