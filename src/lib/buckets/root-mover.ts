import type { CID } from "multiformats/cid";
import type { Clock } from "../kernel/clock.ts";
import { FulaError } from "../kernel/errors.ts";
import type { Random } from "../kernel/random.ts";
import type { Keeper } from "./keeping/keeper.ts";
import type { BucketName, BucketState, Next, RootPointerStore } from "./roots/root-pointer.ts";
import type { BucketIndex } from "./tree/bucket-index.ts";
import type { NewBlock } from "./tree/node-store.ts";
import type { Turns } from "./turns.ts";

/** A new state of a bucket that was worked out from a present one. */
export interface PlannedMove {
  readonly next: Next;
  /** Blocks of the new index that the old one has not. */
  readonly blocks: readonly NewBlock[];
  /** What else the new root comes to refer to; announced and kept already. */
  readonly claims: readonly CID[];
  /** What loses the reference that this move takes away. */
  readonly garbage: readonly CID[];
  /** The index at the new root; null where the bucket is gone. */
  readonly index: BucketIndex | null;
  /** When the first of `claims` was announced, by the arbiter's clock; null where none of them was. */
  readonly claimsSinceMs: number | null;
}

/** What is to become of a bucket as it is. Run again where the race was lost; so it must start from the beginning. */
export type Planner<T> = (
  state: BucketState,
  index: BucketIndex,
) => Promise<{ readonly result: T; readonly move: PlannedMove | null }>;

/** How a bucket came to be changed, or not. */
export type MoverOutcome<T> =
  /** There is no such bucket. */
  | { readonly kind: "absent" }
  /** Nothing had to change; judged on a root that was current during the call. */
  | { readonly kind: "unchanged"; readonly result: T }
  | { readonly kind: "moved"; readonly result: T; readonly index: BucketIndex | null; readonly version: bigint };

/** What moving roots needs. */
export interface RootMoverParts {
  readonly roots: RootPointerStore;
  /** The bucket as it is now. @throws FulaError where the arbiter does not answer */
  readonly current: (name: BucketName) => Promise<BucketState | null>;
  readonly openIndex: (root: CID) => Promise<BucketIndex>;
  readonly keeper: Keeper;
  readonly turns: Turns;
  readonly clock: Clock;
  readonly random: Random;
  /** Tries of one change before it is given up. */
  readonly attempts: number;
  /**
   * How long after it was announced something may still be claimed, in milliseconds by the arbiter's clock. The collector
   * waits longer by far before it looks at what was announced, so that it never takes a pin from under a move.
   */
  readonly claimAgeMaxMs: number;
  readonly onConflict: () => void;
}

/** A few small blocks are stored, held and pinned in milliseconds; a pinset that takes longer does not answer. */
const KEEP_MAX_MS = 30_000;
/** How long to wait for another flush's turn; it may have died in it. */
const TURN_WAIT_MS = 1_000;
/** Between two looks, up to. */
const TURN_POLL_MS = 15;
/** First pause without a turn is up to this; doubled with each one. */
const JITTER_MS = 20;

/** What to throw where every try lost its race. */
export function casExhausted({ bucket }: BucketName, attempts: number): FulaError {
  return new FulaError("FULA_CAS_EXHAUSTED", `Bucket ${bucket} was changed by others in each of ${attempts} tries.`, {
    hint: "try again: nothing was changed. buckets.casAttempts says how often it is tried at once.",
    details: { bucket, attempts },
  });
}

function tooSlow({ bucket }: BucketName): FulaError {
  return new FulaError("FULA_BUCKET_BUSY", `What bucket ${bucket} was to refer to could not be kept in time.`, {
    hint: "try again: nothing was changed. fula-master status shows whether ledger, blocks and pinset answer in time.",
    details: { bucket },
  });
}

/** A move came after its deadline. Says nothing about others, unlike a silence. */
export class LateMove extends FulaError {
  /** What was announced before this, by the arbiter's clock, cannot be referred to any more. */
  readonly announcedBeforeMs: number;

  constructor({ bucket }: BucketName, announcedBeforeMs: number) {
    super("FULA_BUCKET_BUSY", `What bucket ${bucket} was to refer to has waited too long to be referred to.`, {
      hint: "try again: nothing was changed. fula-master status shows whether ledger, blocks and pinset answer in time.",
      details: { bucket },
    });
    this.announcedBeforeMs = announcedBeforeMs;
  }
}

/** The earlier of two times; null = never. */
export function earliest(a: number | null, b: number | null): number | null {
  return a === null || b === null ? (a ?? b) : Math.min(a, b);
}

/** Keeps something, or gives it up. @throws FulaError FULA_BUCKET_BUSY where that takes longer than `ms`; what `keep` throws */
export async function keepInTime<T>(
  name: BucketName,
  ms: number,
  keep: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const timeout = AbortSignal.timeout(ms);
  try {
    return await keep(timeout);
  } catch (error) {
    throw timeout.aborted ? tooSlow(name) : error;
  }
}

/** The name of the pins of an index's blocks. */
export function indexPinName(bucket: string): string {
  return `index-node:${bucket}`;
}

/**
 * Moves roots: plans on the present state, keeps the new blocks, then swaps the root; where somebody else was faster,
 * plans again on what they made of it, and asks them to let it go first this time.
 */
export class RootMover {
  readonly #parts: RootMoverParts;

  constructor(parts: RootMoverParts) {
    this.#parts = parts;
  }

  /**
   * @throws FulaError FULA_CAS_EXHAUSTED, FULA_BUCKET_BUSY, FULA_COMMIT_UNKNOWN, and what the planner, the keeper and the
   *   arbiter throw; nothing was changed but perhaps with FULA_COMMIT_UNKNOWN
   */
  async move<T>(name: BucketName, plan: Planner<T>): Promise<MoverOutcome<T>> {
    const { random, attempts, onConflict } = this.#parts;
    const holder = random.uuid();
    let state = await this.#firstLook(name, holder);
    let hasTurn = false;
    try {
      for (let attempt = 1; ; attempt += 1) {
        const outcome = await this.#attempt(name, state, plan);
        if (outcome !== null) return outcome;
        onConflict();
        if (attempt === attempts) throw casExhausted(name, attempts);
        hasTurn = await this.#waitForTurn(name, holder, attempt);
        state = await this.#parts.current(name);
      }
    } finally {
      // A turn that cannot be given back ends by itself.
      if (hasTurn) await this.#parts.turns.give(name, holder).catch(() => {});
    }
  }

  /** @returns null where the race was lost */
  async #attempt<T>(name: BucketName, state: BucketState | null, plan: Planner<T>): Promise<MoverOutcome<T> | null> {
    const { roots, openIndex, random, claimAgeMaxMs } = this.#parts;
    if (state === null) return { kind: "absent" };
    const { result, move } = await plan(state, await openIndex(state.root));
    if (move === null) return { kind: "unchanged", result };
    const announcedMs = await this.#keep(name, move);
    const outcome = await roots.cas(name, {
      expected: { kind: "at", version: state.version, root: state.root },
      next: move.next,
      commitId: random.uuid(),
      deadlineMs: announcedMs === null ? null : announcedMs + claimAgeMaxMs,
      ...referencesOf(move),
    });
    if (outcome.kind === "late") throw new LateMove(name, outcome.nowMs - claimAgeMaxMs);
    if (outcome.kind === "conflict") return null;
    return { kind: "moved", result, index: move.index, version: outcome.version };
  }

  /** The bucket as it is now. Whoever lost a race before goes first: then only after it, or when it takes too long. */
  async #firstLook(name: BucketName, holder: string): Promise<BucketState | null> {
    const { current, turns, clock, random } = this.#parts;
    const [state, isTaken] = await Promise.all([current(name), turns.isTaken(name, holder)]);
    if (!isTaken) return state;
    const untilMs = clock.monotonicMs() + TURN_WAIT_MS;
    do await clock.sleep(1 + random.int(TURN_POLL_MS));
    while (clock.monotonicMs() < untilMs && (await turns.isTaken(name, holder)));
    return await current(name);
  }

  /** After a lost race: waits until it is this flush's turn, or so long that whoever has it must be gone. */
  async #waitForTurn(name: BucketName, holder: string, attempt: number): Promise<boolean> {
    const { turns, clock, random } = this.#parts;
    const untilMs = clock.monotonicMs() + TURN_WAIT_MS;
    while (!(await turns.take(name, holder))) {
      if (clock.monotonicMs() >= untilMs) {
        // Whoever lost to the same winner must not meet again.
        await clock.sleep(random.int(JITTER_MS * 2 ** attempt));
        return false;
      }
      await clock.sleep(1 + random.int(TURN_POLL_MS));
    }
    return true;
  }

  /** @returns when the first of what the new root is to refer to was announced, by the arbiter's clock */
  async #keep(name: BucketName, { blocks, claimsSinceMs }: PlannedMove): Promise<number | null> {
    const { keeper } = this.#parts;
    const announcedMs = await keepInTime(name, KEEP_MAX_MS, async (signal) =>
      keeper.keepBlocks(blocks, indexPinName(name.bucket), signal),
    );
    return earliest(announcedMs, claimsSinceMs);
  }
}

function referencesOf(move: PlannedMove): { readonly claims: readonly string[]; readonly garbage: readonly string[] } {
  const claims = new Set([...move.blocks.map(({ cid }) => cid.toString()), ...move.claims.map(String)]);
  const garbage = new Set(move.garbage.map(String));
  return { claims: [...claims].toSorted(), garbage: [...garbage].filter((cid) => !claims.has(cid)).toSorted() };
}
