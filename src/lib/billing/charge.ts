import { FulaError } from "../kernel/errors.ts";
import { sqlStateOf } from "../postgres/database-errors.ts";
import { assertFenced, fenceCte, fenceValues } from "../postgres/fence.ts";
import type { Pool } from "../postgres/pool.ts";
import { runQuery } from "../postgres/run-query.ts";
import { formatHour, type Hour, hourKey } from "./hour.ts";
import type { Writer } from "./hours.ts";
import { usageAtSql } from "./usage-sql.ts";

/** A range of accounts of an hour. */
export interface Shard {
  readonly shard: number;
  readonly idFrom: bigint;
  /** Below this one; null = all that follow. */
  readonly idTo: bigint | null;
}

const BIGINT_MAX = 2n ** 63n - 1n;

/** The shards of an hour that are not charged yet, and how many it has. */
export async function openShards(
  pool: Pool,
  hour: Hour,
): Promise<{ readonly shards: readonly Shard[]; readonly count: number }> {
  const { rows } = await runQuery<{ shard: number; id_from: string; id_to: string | null; is_done: boolean }>(pool, {
    name: "billing_shards_open",
    text: `
      select shard, id_from, id_to, done_at is not null as is_done from billing_shards where hour = $1 order by shard`,
    values: [formatHour(hour)],
  });
  return {
    count: rows.length,
    shards: rows
      .filter((row) => !row.is_done)
      .map((row) => ({
        shard: row.shard,
        idFrom: BigInt(row.id_from),
        idTo: row.id_to === null ? null : BigInt(row.id_to),
      })),
  };
}

/**
 * Everything that happens to a shard, in one statement: a client that dies or sleeps leaves either all of it or nothing,
 * and never a lock. `shard` has no row where others have the shard, or its hour is over and done.
 *
 * `due` locks the accounts in the order of their ids, in the mode that lets pins of theirs change meanwhile; whoever was
 * charged by others in the meantime is looked at anew then and drops out by the watermark. Entries go into the ledger
 * in the order of its indexes, which costs half of what the order of ids would. Their ids are drawn beforehand, so that
 * `paid` finds what the ledger took in by a number and in a hash, whatever plan the rest gets: how many rows a
 * common table expression has the planner cannot know, and would else compare each with each.
 */
const CHARGE_SHARD = `
  with ${fenceCte(1)}, shard as materialized (
    select h.basis, h.late, h.free_tier_bytes, h.fula_per_gib_month, h.while_suspended
      from billing_shards s join billing_hours h using (hour)
     where s.hour = $3::timestamptz and s.shard = $4::integer and s.done_at is null and h.state = 'open'
       and exists (select from fence)
       for no key update of s skip locked
  ), stored as (
    select u.account_id,
           case when (select basis from shard) = 'current' then u.bytes else ${usageAtSql("u", "$3::timestamptz")} end as bytes
      from user_usage u
     where u.account_id >= $5::bigint and u.account_id < $6::bigint
    offset 0
  ), due as materialized (
    select nextval('credit_history_id_seq') as entry_id, a.id, a.user_id, coalesce(a.balance_fula, 0) as balance_fula,
           stored.bytes,
           hourly_fee(stored.bytes, (select free_tier_bytes from shard), (select fula_per_gib_month from shard)) as fee
      from user_credits a join stored on stored.account_id = a.id
     where exists (select from shard)
       and a.id >= $5::bigint and a.id < $6::bigint
       and a.user_id is not null
       and stored.bytes > (select free_tier_bytes from shard)
       and (a.billed_hour is null or a.billed_hour < $3::timestamptz or (select late from shard))
       and (a.is_suspended is distinct from 1 or (select while_suspended from shard) = 'accrue')
     order by a.id
       for no key update of a
  ), charged as (
    insert into credit_history (id, user_id, tx_type, amount_fula, balance_after, reference_id, usage_bytes)
    select entry_id, user_id, 'hourly_deduction', -fee, balance_fula - fee, $7::text, bytes from due order by user_id
        on conflict (user_id, reference_id) where tx_type = 'hourly_deduction' do nothing
    returning id, amount_fula
  ), paid as (
    update user_credits a
       set balance_fula = coalesce(a.balance_fula, 0) - due.fee,
           total_deducted_fula = coalesce(a.total_deducted_fula, 0) + due.fee,
           last_deduction_at = now(),
           billed_hour = greatest(a.billed_hour, $3::timestamptz),
           is_suspended = case when coalesce(a.balance_fula, 0) - due.fee < 0 then 1 else a.is_suspended end,
           suspended_at = case when coalesce(a.balance_fula, 0) - due.fee < 0 and a.is_suspended is distinct from 1 then now()
                               else a.suspended_at end
      from due
     where a.id = due.id and (due.entry_id in (select id from charged)) is true
  ), sums as (
    select count(*) as users, coalesce(-sum(amount_fula), 0) as sum_fula from charged
  ), done as (
    update billing_shards s
       set done_at = clock_timestamp(), done_by = $8::text, done_epoch = $2::bigint, users = sums.users,
           sum_fula = sums.sum_fula, conflicts = (select count(*) from due) - sums.users
      from sums
     where s.hour = $3::timestamptz and s.shard = $4::integer and exists (select from shard)
    returning s.users
  )
  select exists (select from fence) as fenced, (select users from done) as charged`;

/**
 * Charges a shard of an open hour. @returns how many accounts; null where somebody else has it, or has had it
 * @throws FulaError FULA_LEASE_LOST, FULA_BILLING_INDEX
 */
export async function chargeShard(
  pool: Pool,
  hour: Hour,
  shard: Shard,
  { node, fence }: Writer,
): Promise<number | null> {
  const values = [
    ...fenceValues(fence),
    formatHour(hour),
    shard.shard,
    shard.idFrom.toString(),
    (shard.idTo ?? BIGINT_MAX).toString(),
    hourKey(hour),
    node,
  ];
  try {
    const { rows } = await runQuery<{ fenced: boolean; charged: string | null }>(pool, {
      name: "billing_shard_charge",
      text: CHARGE_SHARD,
      values,
    });
    assertFenced(rows[0]?.fenced, fence);
    const charged = rows[0]?.charged ?? null;
    return charged === null ? null : Number(charged);
  } catch (error) {
    // invalid_column_reference: nothing that is unique, valid and of these columns.
    throw sqlStateOf(error) === "42P10" ? indexMissing(error) : error;
  }
}

function indexMissing(cause: unknown): FulaError {
  return new FulaError(
    "FULA_BILLING_INDEX",
    "Nobody was charged: the ledger's unique index idx_credit_history_hourly_dedup is missing or INVALID.",
    { hint: "fula-master migrate status tells which; fula-master migrate up builds it again.", cause },
  );
}
