import type { Clock } from "../kernel/clock.ts";
import { isFulaError, messageOf } from "../kernel/errors.ts";
import type { Log } from "../kernel/log.ts";
import type { Client, Decisions } from "./decisions.ts";
import type { IngestedBlock } from "./lease-table.ts";
import type { MasterAnswer, Masters } from "./masters.ts";
import { IngestRefusal } from "./refusal.ts";

/** Tells masters whose the blocks are that were taken in. */
export interface Attribution {
  /**
   * @returns until when the block is leased, milliseconds since 1970; null where no master answers and the quota is open:
   *   then one is told later
   * @throws IngestRefusal 401, 402, 403 where the account may not have it after all; 503 where no master answers
   */
  attribute(bearer: string, client: Client, block: IngestedBlock): Promise<number | null>;
  /** Tells what could not be told yet. @returns the blocks that are leased now, and those that their account may not have */
  tellLater(): Promise<{ readonly leased: readonly string[]; readonly refused: readonly string[] }>;
}

/** What attribution needs. */
export interface AttributionParts {
  readonly masters: Pick<Masters, "ask">;
  readonly decisions: Pick<Decisions, "learned">;
  readonly node: string;
  readonly mode: "strict" | "open";
  readonly clock: Clock;
  readonly log: Log;
  /** What an account may have stored here that no master knows of, in bytes. */
  readonly untoldBytesMax: number;
  /** How long a block waits to be told of. */
  readonly untoldMs: number;
}

/** What one question names at most: the API's own limit. */
const BLOCKS_AT_ONCE = 64;

/** Blocks that wait to be told of, of all clients together. */
const UNTOLD_MAX = 10_000;

interface Call {
  readonly block: IngestedBlock;
  readonly done: PromiseWithResolvers<MasterAnswer>;
}

interface Untold {
  readonly bearer: string;
  readonly countedAs: string;
  readonly block: IngestedBlock;
  readonly sinceMs: number;
}

function distinct(calls: readonly Call[]): readonly IngestedBlock[] {
  return [...new Map(calls.map(({ block }) => [block.cid, block])).values()];
}

class LeaseAttribution implements Attribution {
  readonly #parts: AttributionParts;
  /** What waits for the next question about a credential, while one is under way; by credential. */
  readonly #waiting = new Map<string, Call[]>();
  /** In memory alone: it needs the credential, which is never written down. By credential and CID. */
  readonly #untold = new Map<string, Untold>();

  constructor(parts: AttributionParts) {
    this.#parts = parts;
  }

  async attribute(bearer: string, client: Client, block: IngestedBlock): Promise<number | null> {
    let answer: MasterAnswer;
    try {
      answer = await this.#ask(bearer, client.digest, block);
    } catch (error) {
      if (!isFulaError(error, "FULA_INGEST_MASTERS_SILENT")) throw error;
      if (this.#parts.mode === "open") return this.#tellLaterOf(bearer, client, block);
      const why = "No master could be told whose the block is; please try again.";
      throw new IngestRefusal(503, why, { retryAfterSeconds: 2, cause: error });
    }
    if (answer.state === "refused") throw new IngestRefusal(answer.status, answer.because);
    return answer.leasedUntilMs;
  }

  async tellLater(): Promise<{ readonly leased: readonly string[]; readonly refused: readonly string[] }> {
    const { masters, node, clock, log, untoldMs } = this.#parts;
    const leased: string[] = [];
    const refused: string[] = [];
    for (const [key, { bearer, block, sinceMs }] of this.#untold) {
      if (clock.monotonicMs() - sinceMs > untoldMs) {
        this.#untold.delete(key);
        continue;
      }
      try {
        const answer = await masters.ask(bearer, { node, blocks: [block] });
        this.#untold.delete(key);
        (answer.state === "accepted" ? leased : refused).push(block.cid);
      } catch (error) {
        log.warn("ingest.not_attributed", { untold: this.#untold.size, message: messageOf(error) });
        break;
      }
    }
    return { leased, refused };
  }

  #tellLaterOf(bearer: string, client: Client, block: IngestedBlock): null {
    const { clock, untoldBytesMax } = this.#parts;
    const key = `${client.digest} ${block.cid}`;
    const others = [...this.#untold.entries()].filter(
      ([other, { countedAs }]) => other !== key && countedAs === client.countedAs,
    );
    const bytes = others.reduce((sum, [, untold]) => sum + untold.block.bytes, block.bytes);
    if (bytes > untoldBytesMax || this.#untold.size >= UNTOLD_MAX) {
      const why = "No master can be told of more that you store here; please try again later.";
      throw new IngestRefusal(503, why, { retryAfterSeconds: 30 });
    }
    this.#untold.set(key, { bearer, countedAs: client.countedAs, block, sinceMs: clock.monotonicMs() });
    return null;
  }

  /** Joins what comes for one credential while a question about it is under way into the next one. */
  async #ask(bearer: string, digest: string, block: IngestedBlock): Promise<MasterAnswer> {
    const call: Call = { block, done: Promise.withResolvers<MasterAnswer>() };
    const waiting = this.#waiting.get(digest);
    if (waiting === undefined) {
      const calls = [call];
      this.#waiting.set(digest, calls);
      void this.#runAll(bearer, digest, calls);
    } else waiting.push(call);
    return await call.done.promise;
  }

  async #runAll(bearer: string, digest: string, waiting: Call[]): Promise<void> {
    while (waiting.length > 0) await this.#runBatch(bearer, digest, waiting.splice(0, BLOCKS_AT_ONCE));
    this.#waiting.delete(digest);
  }

  async #runBatch(bearer: string, digest: string, batch: readonly Call[]): Promise<void> {
    const { masters, decisions, node, clock } = this.#parts;
    const askedMs = clock.monotonicMs();
    try {
      const answer = await masters.ask(bearer, { node, blocks: distinct(batch) });
      if (answer.state === "refused" && answer.status === 402 && batch.length > 1) {
        // There is no room for all of them; for some of them there may be.
        for (const call of batch) await this.#runBatch(bearer, digest, [call]);
        return;
      }
      decisions.learned(digest, answer, askedMs);
      for (const { done } of batch) done.resolve(answer);
    } catch (error) {
      for (const { done } of batch) done.reject(error);
    }
  }
}

/** Puts attribution together. */
export function createAttribution(parts: AttributionParts): Attribution {
  return new LeaseAttribution(parts);
}
