import type { Clock } from "../kernel/clock.ts";
import { messageOf } from "../kernel/errors.ts";
import type { Log } from "../kernel/log.ts";
import type { CompactionOutcome } from "./compaction.ts";
import { nameText } from "./roots/bucket-name.ts";
import type { BucketName } from "./roots/root-pointer.ts";

/** What a runner needs. */
export interface CompactionRunnerParts {
  readonly compact: (name: BucketName, signal: AbortSignal) => Promise<CompactionOutcome>;
  readonly onCompaction: (outcome: CompactionOutcome | "failed", durationMs: number) => void;
  readonly clock: Clock;
  readonly log: Log;
}

/** Buckets that wait for their compaction; who comes beyond is asked for again by its next flush. */
const WAITING_MAX = 10_000;
/** After one that failed, whatever it needs may still be away; doubled each time. */
const PAUSE_MS = 1_000;
const PAUSE_MS_MAX = 60_000;

/** Compacts buckets in the background, one after the other, until it is disposed of. */
export class CompactionRunner implements AsyncDisposable {
  readonly #parts: CompactionRunnerParts;
  readonly #waiting = new Map<string, BucketName>();
  readonly #end = new AbortController();
  #running: Promise<void> | null = null;

  constructor(parts: CompactionRunnerParts) {
    this.#parts = parts;
  }

  /** Asks for a bucket to be compacted when its turn comes. */
  request(name: BucketName): void {
    if (this.#waiting.size >= WAITING_MAX || this.#end.signal.aborted) return;
    this.#waiting.set(nameText(name), name);
    this.#running ??= this.#run();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#end.abort();
    this.#waiting.clear();
    await this.#running;
  }

  async #run(): Promise<void> {
    let pauseMs = PAUSE_MS;
    // The caller is in the middle of a flush, and what it asks for can wait until that is done.
    await Promise.resolve();
    for (;;) {
      const [next] = this.#waiting;
      if (next === undefined) break;
      const [text, name] = next;
      // Before it begins: whoever asks meanwhile asks for what comes after the log that is taken in now.
      this.#waiting.delete(text);
      const isDone = await this.#compact(name);
      if (isDone) pauseMs = PAUSE_MS;
      else {
        await this.#parts.clock.sleep(pauseMs, this.#end.signal).catch(() => {});
        pauseMs = Math.min(2 * pauseMs, PAUSE_MS_MAX);
      }
    }
    this.#running = null;
  }

  /** @returns false where it failed */
  async #compact(name: BucketName): Promise<boolean> {
    const { compact, onCompaction, clock, log } = this.#parts;
    const beganMs = clock.monotonicMs();
    try {
      onCompaction(await compact(name, this.#end.signal), clock.monotonicMs() - beganMs);
      return true;
    } catch (error) {
      if (this.#end.signal.aborted) return true;
      onCompaction("failed", clock.monotonicMs() - beganMs);
      log.warn("buckets.compaction.failed", { bucket: name.bucket, message: messageOf(error) });
      return false;
    }
  }
}
