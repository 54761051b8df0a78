import type { Clock } from "../../kernel/clock.ts";
import { FulaError, isFulaError } from "../../kernel/errors.ts";
import type { Random } from "../../kernel/random.ts";
import { formatTarget, targetOf } from "../../postgres/database-errors.ts";
import type { Pool } from "../../postgres/pool.ts";
import { type NamedQuery, runQuery } from "../../postgres/run-query.ts";
import { REPLICATED } from "../../postgres/sync-wait.ts";
import type { BucketName, Move } from "./root-pointer.ts";

/**
 * What became of a move whose answer was lost. The server may still run its statement, or get to it later, when nobody
 * listens any more; "it is not there" decides nothing until it is made impossible. So the row is moved on, without another
 * change: a move expects a version, and none comes twice. A bucket that is made expects no version; its commit is voided,
 * which its statement looks for.
 */

/** A look at the bucket and at the commit of a move, both as they are at one time, and as the standbys have them too. */
interface LostLook {
  /** Null where there is no row of the bucket. */
  readonly version: string | null;
  /** The version that the move made; null where it has not, so far. */
  readonly won_version: string | null;
  readonly is_void: boolean;
}

const LOOK = `
  select (select version from bucket_roots where owner_id = $1 and bucket = $2) as version,
         (select version from bucket_commits where commit_id = $3 and owner_id = $1 and bucket = $2) as won_version,
         exists (select from bucket_commits where commit_id = 'void:' || $3::text) as is_void,
         ${REPLICATED}::text as seen_at`;

const NOTED = `, noted as (
    insert into bucket_commits (owner_id, bucket, version, root_cid, object_count, total_bytes, commit_id, node)
    select $1::text, $2::text, version, case when deleted_at is null then root_cid end, object_count, total_bytes, 'void:' || $3::text, $4::text
      from moved
  )
  select version from moved`;

const VOID_MOVE = `
  with moved as (
    update bucket_roots b
       set version = b.version + 1, updated_at = clock_timestamp(), commit_id = 'void:' || $3::text
     where b.owner_id = $1 and b.bucket = $2 and b.version = $5 and b.format = 1
       and (select mode from bucket_mode) = 'cas'
    returning b.version, b.root_cid, b.deleted_at, b.object_count, b.total_bytes
  )${NOTED}`;

const VOID_CREATE = `
  with moved as (
    insert into bucket_roots as b (owner_id, bucket, format, commit_id, root_cid, deleted_at)
    select $1::text, $2::text, 1, 'void:' || $3::text, $5::text, clock_timestamp()
     where (select mode from bucket_mode) = 'cas'
        on conflict (owner_id, bucket) do update
       set version = b.version + 1, updated_at = clock_timestamp(), commit_id = 'void:' || $3::text
     where b.format = 1 and b.commit_id is distinct from 'void:' || $3::text
    returning b.version, b.root_cid, b.deleted_at, b.object_count, b.total_bytes
  )${NOTED}`;

/** What to throw where nobody can tell whether a move was made. */
export function commitUnknown(
  { ownerId, bucket }: BucketName,
  { commitId }: Move,
  pool: Pool,
  cause: unknown,
): FulaError {
  return new FulaError(
    "FULA_COMMIT_UNKNOWN",
    `${formatTarget(targetOf(pool))} did not say whether bucket ${bucket} of ${ownerId} was changed; the change may or may not be there.`,
    {
      hint: "read the bucket again when the database answers.",
      cause,
      details: { ownerId, bucket, commitId },
    },
  );
}

/**
 * Makes it impossible that a move wins from now on; waits for its statement if the server runs it at this moment. May be
 * run any number of times.
 */
function voidQuery({ ownerId, bucket }: BucketName, move: Move, node: string): NamedQuery {
  const { expected, next, commitId } = move;
  const values = [ownerId, bucket, commitId, node];
  if (expected.kind === "at") {
    return { name: "bucket_void_move", text: VOID_MOVE, values: [...values, expected.version.toString()] };
  }
  // A row must name some root, also one that only says that nothing is there.
  const root = next.kind === "content" ? next.content.root.toString() : "";
  return { name: "bucket_void_create", text: VOID_CREATE, values: [...values, root] };
}

/** What a look says of the move: it won a version, it can't win any more, or neither is sure yet. */
function judge(look: LostLook | undefined, { expected }: Move): bigint | "lost" | "open" {
  if (look === undefined) return "open";
  if (look.won_version !== null) return BigInt(look.won_version);
  if (expected.kind === "absent") return look.is_void ? "lost" : "open";
  return look.version === null || BigInt(look.version) > expected.version ? "lost" : "open";
}

/** What looking for a lost answer needs. */
interface SettleDeps {
  readonly pool: Pool;
  readonly node: string;
  readonly clock: Clock;
  readonly random: Random;
  /** How long to look, in milliseconds. */
  readonly settleMs: number;
}

const PAUSE_MS = 50;
const PAUSE_MS_MAX = 1_000;

/**
 * Finds out what became of a move whose answer was lost, and sees to it that it stays so.
 * @param cause what the driver said when the answer was lost
 * @returns the version that it made; null where it has not moved the root, and never will
 * @throws FulaError FULA_COMMIT_UNKNOWN where that could not be found out in time
 */
export async function settleMove(
  name: BucketName,
  move: Move,
  cause: unknown,
  { pool, node, clock, random, settleMs }: SettleDeps,
): Promise<bigint | null> {
  const deadlineMs = clock.monotonicMs() + settleMs;
  for (let pauseMs = PAUSE_MS; ; pauseMs = Math.min(2 * pauseMs, PAUSE_MS_MAX)) {
    try {
      const { rows } = await runQuery<LostLook>(pool, {
        name: "bucket_lost_look",
        text: LOOK,
        values: [name.ownerId, name.bucket, move.commitId],
      });
      const outcome = judge(rows[0], move);
      if (outcome !== "open") return outcome === "lost" ? null : outcome;
      await runQuery(pool, voidQuery(name, move, node));
    } catch (error) {
      if (!isFulaError(error, "FULA_DATABASE_UNREACHABLE")) throw commitUnknown(name, move, pool, error);
    }
    if (clock.monotonicMs() >= deadlineMs) throw commitUnknown(name, move, pool, cause);
    await clock.sleep(pauseMs / 2 + random.int(pauseMs / 2 + 1));
  }
}
