import { type FulaError, isFulaError } from "../../kernel/errors.ts";
import type { Pool } from "../../postgres/pool.ts";
import { runQuery } from "../../postgres/run-query.ts";
import { runAgainAfterDeadlock } from "./move-run.ts";
import type { BucketName, BucketState, Move, MoveOutcome } from "./root-pointer.ts";
import { type MaybeRootRow, rootColumns, type RootRow, stateOf } from "./root-row.ts";

/** A bucket as the arbiter has it, and what else a loser of a race must know. */
export interface FoundBucket {
  /** How the masters of this ledger save buckets; null where none has served yet. */
  readonly mode: string | null;
  /** Null where there is no such bucket. */
  readonly state: BucketState | null;
  /** Also of a bucket that was deleted; null where there never was one. */
  readonly version: bigint | null;
  /** The arbiter's time, milliseconds since the epoch. */
  readonly nowMs: number;
}

function isThere(row: MaybeRootRow | undefined): row is RootRow {
  return row !== undefined && row.version !== null;
}

/** A state, or the error that says why this bucket alone cannot be told. */
function stateOrError(row: MaybeRootRow | undefined): BucketState | FulaError | null {
  if (!isThere(row)) return null;
  try {
    return stateOf(row);
  } catch (error) {
    if (isFulaError(error)) return error;
    throw error;
  }
}

/** Several buckets as they are at one moment, in the order of their names here. @throws FulaError FULA_DATABASE_UNREACHABLE */
export async function readBuckets(
  pool: Pool,
  names: readonly BucketName[],
): Promise<readonly (BucketState | FulaError | null)[]> {
  if (names.length === 0) return [];
  const { rows } = await runQuery<MaybeRootRow>(pool, {
    name: "bucket_roots_read",
    text: `
      select ${rootColumns("b")}
        from unnest($1::text[], $2::text[]) with ordinality as asked (owner_id, bucket, place)
        left join bucket_roots b on b.owner_id = asked.owner_id and b.bucket = asked.bucket
       order by asked.place`,
    values: [names.map(({ ownerId }) => ownerId), names.map(({ bucket }) => bucket)],
  });
  return names.map((_, index) => stateOrError(rows[index]));
}

/** One bucket. @throws FulaError FULA_DATABASE_UNREACHABLE, FULA_BUCKET_NOT_IMPORTED, FULA_BUCKET_ROOT_CORRUPT */
export async function readBucket(pool: Pool, name: BucketName): Promise<BucketState | null> {
  return (await findBucket(pool, name)).state;
}

/** One bucket, with the mode and the version of what is there no more. @throws FulaError as `readBucket` */
export async function findBucket(pool: Pool, { ownerId, bucket }: BucketName): Promise<FoundBucket> {
  const { rows } = await runQuery<MaybeRootRow & { readonly mode: string | null; readonly now: Date }>(pool, {
    name: "bucket_root_find",
    text: `
      select (select mode from bucket_mode) as mode, clock_timestamp() as now, ${rootColumns("b")}
        from (values ($1::text, $2::text)) as asked (owner_id, bucket)
        left join bucket_roots b using (owner_id, bucket)`,
    values: [ownerId, bucket],
  });
  const [row] = rows;
  if (row === undefined) throw new Error("a look at a bucket gave no row");
  const found = { mode: row.mode, nowMs: row.now.getTime() };
  if (!isThere(row)) return { ...found, state: null, version: null };
  return { ...found, state: stateOf(row), version: BigInt(row.version) };
}

/** Why a move was not made, by what was found afterwards. */
export function whyNotMoved({ deadlineMs }: Move, { state, version, nowMs }: FoundBucket): MoveOutcome {
  if (deadlineMs !== null && nowMs > deadlineMs) return { kind: "late", nowMs };
  return { kind: "conflict", current: state, version };
}

/** All buckets of an owner, by the bytes of their names. @throws FulaError as `readBucket` */
export async function listBuckets(pool: Pool, ownerId: string): Promise<readonly BucketState[]> {
  const { rows } = await runQuery<RootRow>(pool, {
    name: "bucket_roots_list",
    text: `
      select ${rootColumns("b")} from bucket_roots b
       where b.owner_id = $1 and b.deleted_at is null order by b.bucket collate "C"`,
    values: [ownerId],
  });
  return rows.flatMap((row) => stateOf(row) ?? []);
}

/** Has a bucket that nobody pays for paid for by an account. @throws FulaError FULA_DATABASE_UNREACHABLE */
export async function claimBucket(pool: Pool, { ownerId, bucket }: BucketName, userId: string): Promise<void> {
  const query = {
    name: "bucket_claim",
    text: "update bucket_roots set user_id = $3 where owner_id = $1 and bucket = $2 and user_id is null",
    values: [ownerId, bucket, userId],
  };
  await runAgainAfterDeadlock(async () => await runQuery(pool, query));
}

/** Puts CIDs on the collector's queue, as of now. @returns as `announce` @throws FulaError FULA_DATABASE_UNREACHABLE */
export async function announceCids(pool: Pool, cids: readonly string[]): Promise<number | null> {
  if (cids.length === 0) return null;
  const query = {
    name: "bucket_garbage_announce",
    text: `
      with queued as (
        insert into bucket_garbage (cid)
        select distinct announced.cid collate "C" from unnest($1::text[]) as announced (cid) order by 1
            on conflict (cid) do update set queued_at = excluded.queued_at
        returning queued_at
      )
      select min(queued_at) as queued_at from queued`,
    values: [cids],
  };
  const { rows } = await runAgainAfterDeadlock(async () => await runQuery<{ queued_at: Date }>(pool, query));
  return rows[0]?.queued_at.getTime() ?? null;
}
