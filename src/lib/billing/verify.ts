import type { Pool } from "../postgres/pool.ts";
import { type TransactionClient, withTransaction } from "../postgres/transaction.ts";
import { BALANCES, RUNNING_BALANCES, TOTALS } from "./verify-balances.ts";
import { CREDITS } from "./verify-credits.ts";
import { DEPOSITS } from "./verify-deposits.ts";
import { DUPLICATES, GUARDS, INDEXES, ORPHANS } from "./verify-entries.ts";
import { FEES, WATERMARKS } from "./verify-fees.ts";
import { HOUR_RECORDS, HOURS, KEYS } from "./verify-hours.ts";
import type { LedgerLook, LedgerRule, VerifyScope } from "./verify-look.ts";
import { USAGE } from "./verify-usage.ts";

/** Everything that is looked at, in the order of the report. */
const LOOKS: readonly LedgerLook[] = [
  BALANCES,
  RUNNING_BALANCES,
  TOTALS,
  HOURS,
  HOUR_RECORDS,
  KEYS,
  FEES,
  WATERMARKS,
  DUPLICATES,
  INDEXES,
  ORPHANS,
  DEPOSITS,
  CREDITS,
  USAGE,
  GUARDS,
];

/** What `verifyLedger` may be told. */
export interface VerifyOptions {
  /** Looks at the newest hours alone, this many; null or undefined for all. */
  readonly hours?: number | null;
  /** Looks at hours from this one on, and at entries written since; RFC 3339. */
  readonly since?: string | null;
  /** Findings that are shown of each check; all are counted. Default 5. */
  readonly examples?: number;
  readonly signal?: AbortSignal;
}

/** One check, and what breaks it. */
export interface LedgerCheck extends LedgerRule {
  readonly ok: boolean;
  readonly count: number;
  /** The first of what was found, in order. */
  readonly examples: readonly string[];
}

/** What was left out, and why. */
export interface LeftOut {
  readonly name: string;
  readonly because: string;
}

/** What `billing verify --json` prints; docs/billing.md documents it. */
export interface LedgerVerdict {
  /** True where every check that was made found nothing. */
  readonly ok: boolean;
  /** When the ledger was as it was seen, by the database's clock: RFC 3339, UTC. */
  readonly at: string;
  /** The first hour that was looked at; null for all. */
  readonly since: string | null;
  readonly mode: VerifyScope["mode"];
  readonly looked: { readonly accounts: number; readonly entries: number; readonly hours: number };
  readonly checks: readonly LedgerCheck[];
  readonly notLookedAt: readonly LeftOut[];
}

const EXAMPLES = 5;

/** An hour that has been over for so long is settled, or something is wrong. */
const SETTLE_HOURS = 2;

/** One row; read once, so that every statement looks at the same hours and entries. */
interface ScopeRow {
  readonly at: string;
  readonly since: string | null;
  readonly after_id: string;
  readonly opened_at: string;
  readonly running_hour: string;
  readonly overdue: string;
  readonly mode: VerifyScope["mode"];
  readonly mode_since: string | null;
  readonly first_hour: string | null;
  readonly accounts: string;
  readonly entries: string;
  readonly hours: string;
  readonly older_entries: string;
  readonly untellable_hours: string;
}

const READ_SCOPE = `
  with chosen as (
    select date_trunc('hour', coalesce($1::timestamptz, now() - $2::integer * interval '1 hour'), 'UTC') as since
  ), bounds as (
    select chosen.since,
           case when chosen.since is null then 0
                -- An entry says when its transaction began, its number when it was written: one that took long stands
                -- behind entries that look newer.
                else coalesce((select id from credit_history where created_at < chosen.since - interval '1 hour'
                                order by id desc limit 1), 0) end as after_id,
           (select applied_at from schema_migrations where version = 29) as opened_at
      from chosen
  )
  select to_char(now() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') as at,
         to_char(since at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') as since,
         after_id, opened_at::text,
         date_trunc('hour', now(), 'UTC')::text as running_hour,
         (date_trunc('hour', now(), 'UTC') - $3::integer * interval '1 hour')::text as overdue,
         mode, changed_at::text as mode_since, first_hour::text,
         (select count(*) from user_credits) as accounts,
         (select count(*) from credit_history where id > after_id) as entries,
         (select count(*) from billing_hours where hour >= coalesce(since, '-infinity')) as hours,
         (select count(*) from credit_history where id > after_id and created_at < opened_at) as older_entries,
         (select count(*) from billing_hours where hour >= coalesce(since, '-infinity') and state = 'done'
                                               and (basis = 'current' or while_suspended = 'pause')) as untellable_hours
    from bounds left join billing_mode on true`;

const SCOPE = `
  scope as materialized (
    select coalesce($1::timestamptz, '-infinity') as since, $2::bigint as after_id, $3::timestamptz as opened_at,
           $4::timestamptz as running_hour, $5::timestamptz as overdue, $6::text as mode, $7::timestamptz as mode_since,
           $8::timestamptz as first_hour
  )`;

/** Counts what breaks each rule and shows the first of it; memory stays flat however much there is. */
async function look(client: TransactionClient, { rules, findings }: LedgerLook, row: ScopeRow, examples: number) {
  const { rows } = await client.query<{ rule: string; count: string; examples: readonly string[] }>({
    text: `
      with ${SCOPE}, found as materialized (${findings})
      select wanted.rule,
             (select count(*) from found where found.rule = wanted.rule) as count,
             array(select finding from found where found.rule = wanted.rule order by finding limit $10) as examples
        from unnest($9::text[]) as wanted (rule)`,
    values: [
      row.since,
      row.after_id,
      row.opened_at,
      row.running_hour,
      row.overdue,
      row.mode,
      row.mode_since,
      row.first_hour,
      rules.map(({ name }) => name),
      examples,
    ],
  });
  const seen = new Map(rows.map((each) => [each.rule, each]));
  return rules.map((rule): LedgerCheck => {
    const found = seen.get(rule.name);
    const count = Number(found?.count ?? 0);
    return { ...rule, ok: found !== undefined && count === 0, count, examples: found?.examples ?? [] };
  });
}

function limitsOf(row: ScopeRow): readonly LeftOut[] {
  const older = Number(row.older_entries);
  const untellable = Number(row.untellable_hours);
  return [
    ...(row.since === null
      ? []
      : [{ name: "history", because: `hours and entries before ${row.since} were left out` }]),
    ...(older === 0
      ? []
      : [
          {
            name: "older-entries",
            because: `${older} entries are older than the books: opening balances stand for them`,
          },
        ]),
    ...(untellable === 0
      ? []
      : [
          {
            name: "due",
            because: `${untellable} hours were charged while they ran, or not charged to the suspended: who had to pay for them cannot be told afterwards`,
          },
        ]),
  ];
}

async function verifyWithin(client: TransactionClient, options: VerifyOptions): Promise<LedgerVerdict> {
  const { hours = null, since = null, examples = EXAMPLES } = options;
  await client.query("set local statement_timeout = 0");
  // Sorts and joins of a big ledger go to the disk either way; with so much memory in fewer, longer pieces.
  await client.query("set local work_mem = '64MB'");
  const { rows } = await client.query<ScopeRow>({ text: READ_SCOPE, values: [since, hours, SETTLE_HOURS] });
  const [row] = rows;
  if (row === undefined) throw new Error("The ledger's scope has one row, always");
  const scope: VerifyScope = { mode: row.mode, isBounded: row.since !== null };
  const checks: LedgerCheck[] = [];
  const notLookedAt: LeftOut[] = [...limitsOf(row)];
  for (const each of LOOKS) {
    options.signal?.throwIfAborted();
    const because = each.leftOut?.(scope) ?? null;
    if (because === null) checks.push(...(await look(client, each, row, examples)));
    else notLookedAt.push(...each.rules.map(({ name }) => ({ name, because })));
  }
  return {
    ok: checks.every(({ ok }) => ok),
    at: row.at,
    since: row.since,
    mode: row.mode,
    looked: { accounts: Number(row.accounts), entries: Number(row.entries), hours: Number(row.hours) },
    checks,
    notLookedAt,
  };
}

/**
 * Proves that the books are right, or says what is not: everything in one snapshot of the ledger, without a lock that
 * anybody waits for, and without a write.
 * @throws FulaError FULA_DATABASE_UNREACHABLE, FULA_DATABASE_LOGIN; a DatabaseError where the ledger cannot be read
 */
export async function verifyLedger(pool: Pool, options: VerifyOptions = {}): Promise<LedgerVerdict> {
  return await withTransaction(pool, async (client) => await verifyWithin(client, options), {
    isolation: "repeatable read",
    readOnly: true,
    ...(options.signal === undefined ? {} : { signal: options.signal }),
  });
}
