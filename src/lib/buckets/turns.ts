import type { Pool } from "../postgres/pool.ts";
import { runQuery } from "../postgres/run-query.ts";
import type { BucketName } from "./roots/root-pointer.ts";

/**
 * Who goes first where several gateways fight for one root. Nothing depends on it but fairness: without it, the one that
 * comes a moment later loses again and again to one that never pauses.
 */
export interface Turns {
  /** True while another flush has the turn. */
  isTaken(name: BucketName, holder: string): Promise<boolean>;
  /** Takes or keeps the turn, which ends by itself. False where another flush has it. */
  take(name: BucketName, holder: string): Promise<boolean>;
  /** Gives the turn back. */
  give(name: BucketName, holder: string): Promise<void>;
}

/** Longer than a flush, and no longer than others may be held up by a gateway that dies in its turn. */
const TURN_MS = 3_000;

/** Turns in the ledger, by its clock. */
export class PostgresTurns implements Turns {
  readonly #pool: Pool;

  constructor(pool: Pool) {
    this.#pool = pool;
  }

  async isTaken({ ownerId, bucket }: BucketName, holder: string): Promise<boolean> {
    const { rowCount } = await runQuery(this.#pool, {
      name: "bucket_turn_look",
      text: `
        select from bucket_turns
         where owner_id = $1 and bucket = $2 and holder <> $3 and until > clock_timestamp()`,
      values: [ownerId, bucket, holder],
    });
    return rowCount > 0;
  }

  async take({ ownerId, bucket }: BucketName, holder: string): Promise<boolean> {
    const { rowCount } = await runQuery(this.#pool, {
      name: "bucket_turn_take",
      text: `
        insert into bucket_turns as t (owner_id, bucket, holder, until)
        values ($1, $2, $3, clock_timestamp() + $4 * interval '1 millisecond')
        on conflict (owner_id, bucket) do update set holder = excluded.holder, until = excluded.until
         where t.holder = excluded.holder or t.until <= clock_timestamp()`,
      values: [ownerId, bucket, holder, TURN_MS],
    });
    return rowCount === 1;
  }

  async give({ ownerId, bucket }: BucketName, holder: string): Promise<void> {
    await runQuery(this.#pool, {
      name: "bucket_turn_give",
      text: "delete from bucket_turns where owner_id = $1 and bucket = $2 and holder = $3",
      values: [ownerId, bucket, holder],
    });
  }
}
