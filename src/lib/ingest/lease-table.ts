import type { Pool } from "../postgres/pool.ts";
import { runQuery } from "../postgres/run-query.ts";
import { type TransactionClient, withTransaction } from "../postgres/transaction.ts";

/** A block that a storage node took in. */
export interface IngestedBlock {
  /** CIDv1, as text. */
  readonly cid: string;
  readonly bytes: number;
}

/** What is to be leased, and to whom. */
export interface LeaseWish {
  /** The account that pays, 64 hex digits. */
  readonly userId: string;
  /** Name of the storage node that has the bytes. */
  readonly node: string;
  /** Each CID once. */
  readonly blocks: readonly IngestedBlock[];
  readonly leaseMs: number;
  /** Bytes that the account may still store, its leases left out of account; null = without end. */
  readonly roomBytes: bigint | null;
}

/** What became of a wish. `refused` = the account has no room for all of it, and nothing was leased. */
export type LeaseOutcome =
  | { readonly state: "refused"; readonly leftBytes: bigint }
  | {
      readonly state: "leased";
      /** What is left after it; null = without end. */
      readonly leftBytes: bigint | null;
      /** Null where nothing was to be leased. */
      readonly leasedUntil: Date | null;
    };

/** Locks of the ledger's leases; the second number is a hash of the account. */
const LOCK_SPACE = 815_560;

const HELD_SQL = `
  select coalesce(sum(bytes), 0) as bytes from ingest_leases
   where user_id = $1 and mapped_at is null and expires_at > clock_timestamp()`;

async function heldBytes(client: TransactionClient, { userId, blocks }: LeaseWish): Promise<bigint> {
  // What is leased again counts once.
  const { rows } = await client.query<{ bytes: string }>({
    name: "ingest_leases_held_beside",
    text: `${HELD_SQL} and cid <> all($2)`,
    values: [userId, blocks.map(({ cid }) => cid)],
  });
  return BigInt(rows[0]?.bytes ?? 0);
}

async function writeLeases(
  client: TransactionClient,
  { userId, node, blocks, leaseMs }: LeaseWish,
): Promise<Date | null> {
  const { rows } = await client.query<{ expires_at: Date }>({
    name: "ingest_leases_take",
    text: `
      insert into ingest_leases (user_id, cid, bytes, node, expires_at)
      select $1, cid, bytes, $2, clock_timestamp() + $3 * interval '1 millisecond'
        from unnest($4::text[], $5::bigint[]) as wanted (cid, bytes)
      on conflict (user_id, cid) do update
        set bytes = excluded.bytes, node = excluded.node, leased_at = excluded.leased_at,
            expires_at = excluded.expires_at, mapped_at = null
      returning expires_at`,
    values: [userId, node, leaseMs, blocks.map(({ cid }) => cid), blocks.map(({ bytes }) => bytes)],
  });
  return rows.reduce<Date | null>((least, { expires_at: end }) => (least === null || end < least ? end : least), null);
}

/**
 * Leases blocks to an account, all of them or none. An account's wishes go one after the other, so that two nodes never
 * give away the same room.
 */
export async function takeLeases(pool: Pool, wish: LeaseWish): Promise<LeaseOutcome> {
  return await withTransaction(pool, async (client) => {
    await client.query({
      name: "ingest_leases_lock",
      text: "select pg_advisory_xact_lock($1, hashtext($2))",
      values: [LOCK_SPACE, wish.userId],
    });
    const { roomBytes, blocks } = wish;
    const wantedBytes = blocks.reduce((sum, { bytes }) => sum + BigInt(bytes), 0n);
    const leftBytes = roomBytes === null ? null : roomBytes - (await heldBytes(client, wish)) - wantedBytes;
    if (leftBytes !== null && leftBytes < 0n) return { state: "refused", leftBytes: leftBytes + wantedBytes };
    const leasedUntil = blocks.length === 0 ? null : await writeLeases(client, wish);
    return { state: "leased", leftBytes, leasedUntil };
  });
}

/** Bytes that an account has leased and that count against its quota: no object refers to them yet. */
export async function leasedBytes(pool: Pool, userId: string): Promise<bigint> {
  const { rows } = await runQuery<{ bytes: string }>(pool, {
    name: "ingest_leases_held",
    text: HELD_SQL,
    values: [userId],
  });
  return BigInt(rows[0]?.bytes ?? 0);
}

/** A lease in force. */
export interface Lease {
  readonly bytes: number;
  /** True once an object refers to the block: it no longer counts against the quota. */
  readonly isMapped: boolean;
}

/** The lease that an account has on a block; null where it has none in force. */
export async function findLease(pool: Pool, userId: string, cid: string): Promise<Lease | null> {
  const { rows } = await runQuery<{ bytes: string; is_mapped: boolean }>(pool, {
    name: "ingest_leases_find",
    text: `
      select bytes, mapped_at is not null as is_mapped from ingest_leases
       where user_id = $1 and cid = $2 and expires_at > clock_timestamp()`,
    values: [userId, cid],
  });
  const [row] = rows;
  return row === undefined ? null : { bytes: Number(row.bytes), isMapped: row.is_mapped };
}

/** Notes that an object refers to a leased block: it no longer counts as leased. The lease still proves who sent it. */
export async function releaseLease(pool: Pool, userId: string, cid: string): Promise<void> {
  await runQuery(pool, {
    name: "ingest_leases_release",
    text: "update ingest_leases set mapped_at = clock_timestamp() where user_id = $1 and cid = $2 and mapped_at is null",
    values: [userId, cid],
  });
}

/** Deletes what is over, a batch. @returns how many rows */
export async function pruneLeases(pool: Pool, limit: number): Promise<number> {
  const { rowCount } = await runQuery(pool, {
    name: "ingest_leases_prune",
    text: `
      delete from ingest_leases
       where ctid = any(array(select ctid from ingest_leases
                               where expires_at <= clock_timestamp() limit $1 for update skip locked))`,
    values: [limit],
  });
  return rowCount;
}
