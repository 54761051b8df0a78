import { LRUCache } from "lru-cache";
import type { Clock } from "../../kernel/clock.ts";
import { coalesce } from "../../kernel/coalesce.ts";
import { FulaError, isFulaError } from "../../kernel/errors.ts";
import { nameText } from "./bucket-name.ts";
import type { BucketName, BucketState, Move, RootPointerStore } from "./root-pointer.ts";

/** What a reader of roots works with. */
export interface RootReaderOptions {
  readonly store: Pick<RootPointerStore, "getMany" | "list">;
  readonly clock: Clock;
  /** How long a call waits for the arbiter, in milliseconds. */
  readonly timeoutMs: number;
  /** How long, while the arbiter does not answer, what it said last is given, in milliseconds. */
  readonly staleMs: number;
  /** Told of every question to the arbiter, with how many buckets it asked for and how long it took, in seconds. */
  readonly onQuery: (outcome: "answered" | "failed", buckets: number, seconds: number) => void;
  /** Told of every call that was given what the arbiter had said before. */
  readonly onStale: () => void;
}

/** Names in one question to the arbiter. */
const BATCH_MAX = 500;
/** A state is a kilobyte at most, tags and all; an owner's list one of each of his buckets. */
const STATES_MAX = 20_000;
const LISTED_MAX = 20_000;

interface Asked {
  readonly name: BucketName;
  answer: BucketState | FulaError | null;
  /** Its caller has gone on without an answer. */
  isGivenUp: boolean;
}

interface Known<T> {
  readonly value: T;
  /** When the question was sent, by the monotonic clock: it was so at some time after that. */
  readonly sentMs: number;
}

function answerOf({ answer }: Asked): BucketState | null {
  if (answer instanceof FulaError) throw answer;
  return answer;
}

function silent(timeoutMs: number): FulaError {
  return new FulaError(
    "FULA_DATABASE_UNREACHABLE",
    `The ledger has not said within ${timeoutMs} ms where a bucket stands.`,
    {
      hint: "fula-master status tells whether the database answers; buckets.readTimeout says how long a read waits.",
    },
  );
}

/**
 * Reads where buckets stand. Every call asks the arbiter; calls that come while a question is on its way go with the next
 * one, all of them together, and never with one that was sent before they came. So each is given what was true at some
 * moment of the call, and however many there are, one question is on its way. While the arbiter does not answer, a call is
 * given what it said last, with its age.
 */
export class RootReader {
  readonly #options: RootReaderOptions;
  readonly #states = new LRUCache<string, Known<BucketState>>({ max: STATES_MAX });
  readonly #lists = new LRUCache<string, Known<readonly BucketState[]>>({
    maxSize: LISTED_MAX,
    sizeCalculation: ({ value }) => value.length + 1,
  });
  readonly #ask: (asked: readonly Asked[]) => Promise<void>;
  /** Since when the arbiter does not answer; null while it does. */
  #silentSinceMs: number | null = null;

  constructor(options: RootReaderOptions) {
    this.#options = options;
    this.#ask = coalesce({ batchMax: BATCH_MAX }, async (asked) => {
      await this.#query(asked);
    });
  }

  /**
   * Where a bucket stands now; null where there is none.
   * @throws FulaError FULA_DATABASE_UNREACHABLE, FULA_BUCKET_NOT_IMPORTED, FULA_BUCKET_ROOT_CORRUPT
   */
  async current(name: BucketName): Promise<BucketState | null> {
    const asked: Asked = { name, answer: null, isGivenUp: false };
    await this.#ask([asked]);
    return answerOf(asked);
  }

  /**
   * The same; while the arbiter does not answer, what it said last.
   * @throws FulaError as `current`, where it has said nothing of this bucket, or does not answer for too long
   */
  async read(name: BucketName): Promise<{ readonly state: BucketState | null; readonly staleMs: number | null }> {
    const asked: Asked = { name, answer: null, isGivenUp: false };
    try {
      await this.#inTime(this.#ask([asked]));
    } catch (error) {
      asked.isGivenUp = true;
      const { value, staleMs } = this.#lastKnown(this.#states.get(nameText(name)), error);
      return { state: value, staleMs };
    }
    return { state: answerOf(asked), staleMs: null };
  }

  /** All buckets of an owner, by name. @throws FulaError as `read` */
  async list(ownerId: string): Promise<{ readonly buckets: readonly BucketState[]; readonly staleMs: number | null }> {
    const { store, clock } = this.#options;
    const sentMs = clock.monotonicMs();
    try {
      const buckets = await this.#inTime(store.list(ownerId));
      this.#lists.set(ownerId, { value: buckets, sentMs });
      this.#silentSinceMs = null;
      return { buckets, staleMs: null };
    } catch (error) {
      const { value, staleMs } = this.#lastKnown(this.#lists.get(ownerId), error);
      return { buckets: value, staleMs };
    }
  }

  /** The store, with every move noted here, so that an arbiter that falls silent does not hide one's own last save. */
  noting(store: RootPointerStore): RootPointerStore {
    return {
      get: async (name) => await store.get(name),
      getMany: async (names) => await store.getMany(names),
      list: async (ownerId) => await store.list(ownerId),
      announce: async (cids) => await store.announce(cids),
      claim: async (name, userId) => {
        await store.claim(name, userId);
      },
      cas: async (name, move) => {
        const sentMs = this.#options.clock.monotonicMs();
        const outcome = await store.cas(name, move);
        if (outcome.kind === "late") return outcome;
        const state = outcome.kind === "won" ? this.#moved(name, move, outcome.version) : outcome.current;
        if (state === null) this.#states.delete(nameText(name));
        else this.#note(nameText(name), { value: state, sentMs });
        return outcome;
      },
    };
  }

  /** What a move has made of a bucket; null where it is gone, or was not known before. */
  #moved(name: BucketName, { expected, next }: Move, version: bigint): BucketState | null {
    if (next.kind === "deleted") return null;
    const movedAtMs = this.#options.clock.nowMs();
    if (expected.kind === "absent") {
      return { ...name, ...next.content, version, userId: next.userId, createdAtMs: movedAtMs, movedAtMs };
    }
    const before = this.#states.peek(nameText(name))?.value;
    return before === undefined ? null : { ...before, ...next.content, version, movedAtMs };
  }

  #note(key: string, known: Known<BucketState>): void {
    const before = this.#states.peek(key);
    // An answer may come after that to a later question, or after a move of one's own.
    if (before !== undefined && before.value.version > known.value.version) return;
    this.#states.set(key, known);
  }

  async #query(batch: readonly Asked[]): Promise<void> {
    const { store, clock, onQuery } = this.#options;
    const wanted = batch.filter(({ isGivenUp }) => !isGivenUp);
    const names = new Map(wanted.map(({ name }) => [nameText(name), name]));
    if (names.size === 0) return;
    const sentMs = clock.monotonicMs();
    const seconds = (): number => (clock.monotonicMs() - sentMs) / 1_000;
    let states: readonly (BucketState | FulaError | null)[];
    try {
      states = await store.getMany([...names.values()]);
    } catch (error) {
      onQuery("failed", names.size, seconds());
      throw error;
    }
    onQuery("answered", names.size, seconds());
    this.#silentSinceMs = null;
    const answers = new Map([...names.keys()].map((key, index) => [key, states[index] ?? null]));
    for (const [key, state] of answers) {
      if (state === null) this.#states.delete(key);
      else if (!(state instanceof FulaError)) this.#note(key, { value: state, sentMs });
    }
    for (const asked of wanted) asked.answer = answers.get(nameText(asked.name)) ?? null;
  }

  #lastKnown<T>(known: Known<T> | undefined, error: unknown): { readonly value: T; readonly staleMs: number } {
    const { clock, staleMs: longest, onStale } = this.#options;
    if (!isFulaError(error, "FULA_DATABASE_UNREACHABLE")) throw error;
    const nowMs = clock.monotonicMs();
    this.#silentSinceMs ??= nowMs;
    if (known === undefined || nowMs - this.#silentSinceMs > longest) throw error;
    onStale();
    return { value: known.value, staleMs: nowMs - known.sentMs };
  }

  /** Waits for the arbiter, but not for ever: a database that hangs must not hang its readers. */
  async #inTime<T>(answer: Promise<T>): Promise<T> {
    const { clock, timeoutMs } = this.#options;
    const done = new AbortController();
    const late = clock.sleep(timeoutMs, done.signal).then(
      () => {
        throw silent(timeoutMs);
      },
      // The answer came first.
      async () => await answer,
    );
    try {
      return await Promise.race([answer, late]);
    } finally {
      done.abort();
    }
  }
}
