import { LRUCache } from "lru-cache";
import type { Clock } from "../../kernel/clock.ts";
import type { FulaError } from "../../kernel/errors.ts";
import { isConnectionLoss } from "../../postgres/database-errors.ts";
import type { Pool } from "../../postgres/pool.ts";
import { isAsExpected } from "./expectation.ts";
import { commitUnknown } from "./lost-answer.ts";
import { runMove } from "./move-run.ts";
import { overwriteQuery } from "./move-sql.ts";
import { nameText } from "./bucket-name.ts";
import type { BucketName, BucketState, Move, MoveOutcome, RootPointerStore } from "./root-pointer.ts";
import {
  announceCids,
  claimBucket,
  findBucket,
  listBuckets,
  readBucket,
  readBuckets,
  whyNotMoved,
} from "./root-queries.ts";
import { assertSavedBy } from "./saving-mode.ts";

/** What a master alone works with. */
export interface SingleMasterRootsOptions {
  readonly pool: Pool;
  readonly node: string;
  readonly clock: Clock;
}

const STATES_MAX = 20_000;

/**
 * The roots of a master that is alone: it believes what it knows, and writes over whatever stands in the ledger. Two of
 * them lose one another's saves; that is what `buckets.cas` is there for, and what a drill with it off has to show.
 */
export class SingleMasterRoots implements RootPointerStore {
  readonly #options: SingleMasterRootsOptions;
  readonly #known = new LRUCache<string, BucketState>({ max: STATES_MAX });

  constructor(options: SingleMasterRootsOptions) {
    this.#options = options;
  }

  async get(name: BucketName): Promise<BucketState | null> {
    const known = this.#known.get(nameText(name));
    if (known !== undefined) return known;
    return this.#believe(await readBucket(this.#options.pool, name));
  }

  async getMany(names: readonly BucketName[]): Promise<readonly (BucketState | FulaError | null)[]> {
    const asked = names.filter((name) => !this.#known.has(nameText(name)));
    const states = await readBuckets(this.#options.pool, asked);
    const read = new Map(asked.map((name, index) => [nameText(name), states[index] ?? null]));
    return names.map((name) => {
      const key = nameText(name);
      const state = this.#known.get(key) ?? read.get(key) ?? null;
      return state === null || !("version" in state) ? state : this.#believe(state);
    });
  }

  async list(ownerId: string): Promise<readonly BucketState[]> {
    const listed = await listBuckets(this.#options.pool, ownerId);
    return listed.map((state) => this.#known.get(nameText(state)) ?? state);
  }

  async cas(name: BucketName, move: Move): Promise<MoveOutcome> {
    const { pool, node } = this.#options;
    const state = await this.get(name);
    if (!isAsExpected(state, move)) return { kind: "conflict", current: state, version: state?.version ?? null };
    const version = await this.#overwrite(name, move, node);
    if (version === null) {
      this.#known.delete(nameText(name));
      const found = await findBucket(pool, name);
      assertSavedBy(found.mode, "single");
      return whyNotMoved(move, found);
    }
    this.#note(name, move, state, version);
    return { kind: "won", version };
  }

  async announce(cids: readonly string[]): Promise<number | null> {
    return await announceCids(this.#options.pool, cids);
  }

  async claim(name: BucketName, userId: string): Promise<void> {
    await claimBucket(this.#options.pool, name, userId);
    const known = this.#known.get(nameText(name));
    if (known !== undefined) this.#believe({ ...known, userId: known.userId ?? userId });
  }

  #believe<State extends BucketState | null>(state: State): State {
    if (state !== null) this.#known.set(nameText(state), state);
    return state;
  }

  async #overwrite(name: BucketName, move: Move, node: string): Promise<bigint | null> {
    try {
      return await runMove(this.#options.pool, overwriteQuery(name, move, node));
    } catch (error) {
      if (!isConnectionLoss(error)) throw error;
      this.#known.delete(nameText(name));
      throw commitUnknown(name, move, this.#options.pool, error);
    }
  }

  #note(name: BucketName, { next }: Move, before: BucketState | null, version: bigint): void {
    if (next.kind === "deleted") {
      this.#known.delete(nameText(name));
      return;
    }
    const movedAtMs = this.#options.clock.nowMs();
    const made = before ?? { ...name, userId: next.userId, createdAtMs: movedAtMs };
    this.#believe({ ...made, ...next.content, version, movedAtMs });
  }
}
