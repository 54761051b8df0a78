import { FulaError } from "../kernel/errors.ts";
import type { Pool } from "../postgres/pool.ts";
import { runQuery } from "../postgres/run-query.ts";
import { parseUnits } from "./money.ts";

/** Entries on one page at most. */
export const HISTORY_LIMIT_MAX = 100;

/** One entry of the ledger. Amounts in units of 10⁻¹⁸ FULA. */
export interface HistoryEntry {
  readonly entryId: bigint;
  /** `deposit`, `hourly_deduction`, `adjustment` or `referral_bonus`; null in entries of old writers. */
  readonly type: string | null;
  readonly amountUnits: bigint;
  readonly balanceAfterUnits: bigint;
  readonly reference: string | null;
  /** Null in entries whose writer set no time. */
  readonly createdAt: Date | null;
  /** What a fee was reckoned from; null in all other entries. */
  readonly usageBytes: bigint | null;
  /** Why and by whom; of what an operator did alone. */
  readonly note: { readonly operator: string; readonly reason: string } | null;
}

/** Which part of a history is asked for. */
export interface HistoryQuestion {
  /** From 1 on; counted from the entry after `cursor` where one is given. */
  readonly page: number;
  /** 1 to `HISTORY_LIMIT_MAX`. */
  readonly limit: number;
  /** `nextCursor` of an earlier page: entries that have come since then move nothing. */
  readonly cursor?: string | null;
}

/** A page of an account's history, the newest first. */
export interface HistoryPage {
  readonly entries: readonly HistoryEntry[];
  readonly page: number;
  readonly limit: number;
  /** All entries of the account. */
  readonly total: number;
  /** Where the next page begins; null on the last one. */
  readonly nextCursor: string | null;
}

interface EntryRow {
  readonly id: string;
  readonly tx_type: string | null;
  readonly amount: string;
  readonly balance_after: string;
  readonly reference_id: string | null;
  readonly created_at: Date | null;
  readonly usage_bytes: string | null;
  readonly operator: string | null;
  readonly reason: string | null;
}

function entryOf(row: EntryRow): HistoryEntry {
  return {
    entryId: BigInt(row.id),
    type: row.tx_type,
    amountUnits: parseUnits(row.amount),
    balanceAfterUnits: parseUnits(row.balance_after),
    reference: row.reference_id,
    createdAt: row.created_at,
    usageBytes: row.usage_bytes === null ? null : BigInt(row.usage_bytes),
    note: row.operator === null || row.reason === null ? null : { operator: row.operator, reason: row.reason },
  };
}

/** A cursor is the id of the last entry on a page. */
function parseCursor(cursor: string): string {
  if (/^\d{1,18}$/.test(cursor)) return cursor;
  throw new FulaError("FULA_HISTORY_PAGE", `${JSON.stringify(cursor.slice(0, 100))} is no place in a history.`, {
    hint: "use the nextCursor of an earlier page as it is, or none.",
  });
}

function isWithin(value: number, max: number): boolean {
  return Number.isSafeInteger(value) && value >= 1 && value <= max;
}

function assertPage({ page, limit }: HistoryQuestion): void {
  if (isWithin(page, 1_000_000) && isWithin(limit, HISTORY_LIMIT_MAX)) return;
  throw new FulaError("FULA_HISTORY_PAGE", `There is no page ${page} of ${limit} entries each.`, {
    hint: `pages count from 1 and have 1 to ${HISTORY_LIMIT_MAX} entries.`,
  });
}

/**
 * A page of a user's entries. They are in order of their ids, which are drawn under the account's lock: each balance then
 * follows from the entry below it. Times do not tell that: one that waited for the lock has the time at which it came.
 * @throws FulaError FULA_HISTORY_PAGE
 */
export async function readCreditHistory(pool: Pool, userId: string, question: HistoryQuestion): Promise<HistoryPage> {
  assertPage(question);
  const { page, limit, cursor = null } = question;
  const { rows } = await runQuery<{ readonly total: string } & (EntryRow | { readonly id: null })>(pool, {
    name: "credit_history_page",
    text: `
      with entries as materialized (
        select * from credit_history where user_id = $1
      ), page as (
        select * from entries
         where $2::bigint is null or id < $2::bigint
         order by id desc
        offset $3::bigint limit $4::integer
      )
      select t.total, p.id, p.tx_type, p.amount_fula as amount, p.balance_after, p.reference_id, p.created_at,
             p.usage_bytes, n.operator, n.reason
        from (select count(*) as total from entries) t
        left join page p on true
        left join credit_notes n on n.entry_id = p.id
       order by p.id desc`,
    // One more than the page, which tells whether there is a next one.
    values: [userId, cursor === null ? null : parseCursor(cursor), ((page - 1) * limit).toString(), limit + 1],
  });
  const found = rows.filter((row) => row.id !== null);
  const shown = found.slice(0, limit);
  return {
    entries: shown.map(entryOf),
    page,
    limit,
    total: Number(rows[0]?.total ?? 0),
    nextCursor: found.length > limit ? (shown.at(-1)?.id ?? null) : null,
  };
}
