import type { Clock } from "../../kernel/clock.ts";
import { FulaError } from "../../kernel/errors.ts";
import type { Random } from "../../kernel/random.ts";
import { isConnectionLoss } from "../../postgres/database-errors.ts";
import type { Pool } from "../../postgres/pool.ts";
import { settleMove } from "./lost-answer.ts";
import { runMove } from "./move-run.ts";
import { moveQuery } from "./move-sql.ts";
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

/** What the arbiter works with. */
export interface PostgresRootsOptions {
  /** Its own. A statement that gets no answer in time must fail (`queryTimeoutMs`): what is waited for is its outcome. */
  readonly pool: Pool;
  /** Name of this master, as it stands beside each commit. */
  readonly node: string;
  readonly clock: Clock;
  readonly random: Random;
  /** How long to look for the outcome of a move whose answer was lost, in milliseconds. Default 10,000. */
  readonly settleMs?: number;
}

const SETTLE_MS = 10_000;

/** The roots in PostgreSQL, which arbitrates between all masters of the ledger. */
export class PostgresRoots implements RootPointerStore {
  readonly #options: PostgresRootsOptions;

  constructor(options: PostgresRootsOptions) {
    this.#options = options;
  }

  async get(name: BucketName): Promise<BucketState | null> {
    return await readBucket(this.#options.pool, name);
  }

  async getMany(names: readonly BucketName[]): Promise<readonly (BucketState | FulaError | null)[]> {
    return await readBuckets(this.#options.pool, names);
  }

  async list(ownerId: string): Promise<readonly BucketState[]> {
    return await listBuckets(this.#options.pool, ownerId);
  }

  async cas(name: BucketName, move: Move): Promise<MoveOutcome> {
    const { pool, node } = this.#options;
    let version: bigint | null;
    try {
      version = await runMove(pool, moveQuery(name, move, node));
    } catch (error) {
      if (!isConnectionLoss(error)) throw error;
      version = await settleMove(name, move, error, { settleMs: SETTLE_MS, ...this.#options });
    }
    return version === null ? await this.#notMoved(name, move) : { kind: "won", version };
  }

  async announce(cids: readonly string[]): Promise<number | null> {
    return await announceCids(this.#options.pool, cids);
  }

  async claim(name: BucketName, userId: string): Promise<void> {
    await claimBucket(this.#options.pool, name, userId);
  }

  /** What stands there instead; read anew, because the statement that lost still saw what was there when it began. */
  async #notMoved(name: BucketName, move: Move): Promise<MoveOutcome> {
    const found = await findBucket(this.#options.pool, name);
    assertSavedBy(found.mode, "cas");
    return whyNotMoved(move, found);
  }
}
