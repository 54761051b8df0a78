import { assert } from "../kernel/assert.ts";
import { FulaError } from "../kernel/errors.ts";
import type { TransactionClient } from "../postgres/transaction.ts";
import type { HeldAccount } from "./credits-accounts.ts";
import { formatUnits, parseUnits } from "./money.ts";

/** Beyond this, in units of 10⁻¹⁸, numeric(38,18) holds no amount. */
const UNITS_LIMIT = 10n ** 38n;

/** One entry that is to be written, and what it does to its account. Amounts in units of 10⁻¹⁸. */
export interface Posting {
  readonly account: HeldAccount;
  readonly type: "deposit" | "adjustment" | "referral_bonus";
  readonly amountUnits: bigint;
  /** Unique for its kind: the database refuses a second entry with it. */
  readonly reference: string;
}

/** A posting that is in the ledger. */
export interface Posted {
  readonly entryId: bigint;
  readonly posting: Posting;
  /** The account's balance after it. */
  readonly balanceUnits: bigint;
}

/** Adds to the balance in hand. @throws FulaError FULA_AMOUNT_INVALID */
function move({ account, amountUnits }: Posting): bigint {
  const balanceUnits = account.balanceUnits + amountUnits;
  if (balanceUnits > -UNITS_LIMIT && balanceUnits < UNITS_LIMIT) {
    account.balanceUnits = balanceUnits;
    return balanceUnits;
  }
  throw new FulaError(
    "FULA_AMOUNT_INVALID",
    `${formatUnits(amountUnits)} FULA would take the balance of ${account.userId} to ${formatUnits(balanceUnits)}, more than the ledger can hold.`,
    { hint: "no balance reaches 10^20 FULA in either direction; look at the amount again." },
  );
}

/** An entry of the ledger that has a reference already. */
interface LedgerEntry {
  readonly entryId: bigint;
  readonly userId: string | null;
  readonly amountUnits: bigint;
  readonly balanceUnits: bigint;
}

/** What became of a posting that was asked for. */
export interface PostOutcome {
  readonly entryId: bigint;
  /** The account's balance right after the entry. */
  readonly balanceUnits: bigint;
  /** False where the entry was there before, with the same user and amount; nothing was changed then. */
  readonly applied: boolean;
  /** What was posted because of it. */
  readonly dependents: readonly Posted[];
}

async function findEntries(
  client: TransactionClient,
  references: readonly string[],
): Promise<ReadonlyMap<string, LedgerEntry>> {
  // Each half repeats the predicate of the unique index that finds it (023, 032).
  const { rows } = await client.query<{
    id: string;
    user_id: string | null;
    reference: string;
    amount: string;
    balance_after: string;
  }>({
    name: "entries_find",
    text: `
      select id, user_id, lower(reference_id) as reference, amount_fula as amount, balance_after from credit_history
       where tx_type = 'deposit' and lower(reference_id) = any ($1::text[])
      union all
      select id, user_id, lower(reference_id), amount_fula, balance_after from credit_history
       where tx_type in ('adjustment', 'referral_bonus') and reference_id ~ '^(adjustment|bonus|reversal):'
         and lower(reference_id) = any ($1::text[])`,
    values: [references],
  });
  return new Map(
    rows.map((row) => [
      row.reference,
      {
        entryId: BigInt(row.id),
        userId: row.user_id,
        amountUnits: parseUnits(row.amount),
        balanceUnits: parseUnits(row.balance_after),
      },
    ]),
  );
}

/** What a reference is to stand for. */
interface Claim {
  readonly userId: string;
  readonly amountUnits: bigint;
  readonly reference: string;
}

function claimOf({ account, amountUnits, reference }: Posting): Claim {
  return { userId: account.userId, amountUnits, reference };
}

function assertRepetition({ userId, amountUnits, reference }: Claim, entry: LedgerEntry): void {
  if (entry.userId === userId && entry.amountUnits === amountUnits) return;
  throw new FulaError(
    "FULA_CREDIT_REFERENCE_TAKEN",
    `The reference ${reference} stands for ${formatUnits(entry.amountUnits)} FULA of user ${entry.userId ?? "nobody"} (entry ${entry.entryId}), not for ${formatUnits(amountUnits)} FULA of user ${userId}. Nothing was changed.`,
    {
      hint: "look at that entry (fula-master billing history); a correction of something else needs a key of its own.",
      details: { reference, entryId: entry.entryId.toString() },
    },
  );
}

/**
 * The entry that stands for the same already, or null where the reference is free.
 * @throws FulaError FULA_CREDIT_REFERENCE_TAKEN where it stands for something else
 */
export async function findRepetition(client: TransactionClient, claim: Claim): Promise<bigint | null> {
  const entry = (await findEntries(client, [claim.reference])).get(claim.reference);
  if (entry === undefined) return null;
  assertRepetition(claim, entry);
  return entry.entryId;
}

/** Writes entries, in their order. @throws FulaError FULA_CREDIT_REFERENCE_TAKEN, FULA_AMOUNT_INVALID */
async function enter(client: TransactionClient, postings: readonly Posting[]): Promise<readonly Posted[]> {
  if (postings.length === 0) return [];
  const balances = postings.map(move);
  // The time is taken under the accounts' locks, so that entries of one account are in the order of their balances.
  const { rows } = await client.query<{ id: string; reference_id: string }>({
    name: "entries_enter",
    text: `
      insert into credit_history (user_id, tx_type, amount_fula, balance_after, reference_id, created_at)
      select user_id, tx_type, amount, balance_after, reference_id, clock_timestamp()
        from unnest($1::text[], $2::text[], $3::numeric[], $4::numeric[], $5::text[])
             with ordinality as e (user_id, tx_type, amount, balance_after, reference_id, place)
       order by place
          on conflict do nothing
      returning id, reference_id`,
    values: [
      postings.map(({ account }) => account.userId),
      postings.map(({ type }) => type),
      postings.map(({ amountUnits }) => formatUnits(amountUnits)),
      balances.map(formatUnits),
      postings.map(({ reference }) => reference),
    ],
  });
  const ids = new Map(rows.map((row) => [row.reference_id, BigInt(row.id)]));
  if (ids.size < postings.length) {
    // Looked for under the accounts' locks a moment ago, so it is another account's, and the assertion throws.
    const taken = await findEntries(
      client,
      postings.map(({ reference }) => reference),
    );
    for (const posting of postings) {
      const entry = ids.has(posting.reference) ? undefined : taken.get(posting.reference);
      if (entry !== undefined) assertRepetition(claimOf(posting), entry);
    }
  }
  return postings.map((posting, index) => {
    const entryId = ids.get(posting.reference);
    const balanceUnits = balances[index];
    assert(entryId !== undefined && balanceUnits !== undefined, `the entry ${posting.reference} was inserted`);
    return { entryId, posting, balanceUnits };
  });
}

/**
 * Moves balances and totals, once an account; a total is the sum of the account's entries of its type. Whoever falls below zero is suspended, once; whoever is lifted above zero
 * no longer is. A credit that leaves the balance at or below zero changes nothing of that.
 */
async function moveBalances(client: TransactionClient, postings: readonly Posting[]): Promise<void> {
  const { rows } = await client.query<{ id: string; balance: string }>({
    name: "balances_move",
    text: `
      with moved as (
        select account_id,
               sum(amount) as amount,
               coalesce(sum(amount) filter (where tx_type = 'deposit'), 0) as deposited,
               coalesce(sum(amount) filter (where tx_type = 'referral_bonus'), 0) as bonus
          from unnest($1::bigint[], $2::text[], $3::numeric[]) as m (account_id, tx_type, amount)
         group by account_id
      ), judged as (
        select m.*, coalesce(a.balance_fula, 0) + m.amount as balance,
               case when m.amount > 0 and coalesce(a.balance_fula, 0) + m.amount > 0 then 0
                    when m.amount < 0 and coalesce(a.balance_fula, 0) + m.amount < 0 then 1
                    else a.is_suspended end as suspended
          from moved m join user_credits a on a.id = m.account_id
      )
      update user_credits a
         set balance_fula = j.balance,
             total_deposited_fula = coalesce(a.total_deposited_fula, 0) + j.deposited,
             total_bonus_received_fula = coalesce(a.total_bonus_received_fula, 0) + j.bonus,
             is_suspended = j.suspended,
             suspended_at = case when j.suspended is distinct from 1 then null
                                 when a.is_suspended = 1 then a.suspended_at
                                 else clock_timestamp() end
        from judged j
       where a.id = j.account_id
      returning a.id, a.balance_fula as balance`,
    values: [
      postings.map(({ account }) => account.accountId.toString()),
      postings.map(({ type }) => type),
      postings.map(({ amountUnits }) => formatUnits(amountUnits)),
    ],
  });
  const stored = new Map(rows.map(({ id, balance }) => [BigInt(id), parseUnits(balance)]));
  for (const { account } of postings) {
    assert(stored.get(account.accountId) === account.balanceUnits, "a balance is what its newest entry says");
  }
}

/**
 * Writes entries whose references are free, then what follows from each, and moves the balances of all of them. One whose
 * reference is taken by the same user and amount is done already, and nothing follows from it. Every account must be
 * held (`holdAccounts`), which also decides between two that write one entry at the same time.
 * @param dependentsOf gives the postings that follow from an entry; their accounts are held too
 * @returns one outcome a posting, in their order
 * @throws FulaError FULA_CREDIT_REFERENCE_TAKEN, FULA_AMOUNT_INVALID; roll back then
 */
export async function postEntries(
  client: TransactionClient,
  postings: readonly Posting[],
  dependentsOf: (entry: Posted) => readonly Posting[],
): Promise<readonly PostOutcome[]> {
  const before = await findEntries(
    client,
    postings.map(({ reference }) => reference),
  );
  const fresh = Map.groupBy(
    postings.filter(({ reference }) => !before.has(reference)),
    ({ reference }) => reference,
  );
  const entered = await enter(
    client,
    Array.from(fresh.values()).flatMap((same) => same.slice(0, 1)),
  );
  const due = entered.map((entry) => dependentsOf(entry));
  const dependents = await enter(client, due.flat());
  const written = [...entered, ...dependents].map(({ posting }) => posting);
  if (written.length > 0) await moveBalances(client, written);

  const done = new Map<string, PostOutcome & { readonly posting: Posting }>();
  let next = 0;
  for (const [index, entry] of entered.entries()) {
    const end = next + (due[index]?.length ?? 0);
    done.set(entry.posting.reference, { ...entry, applied: true, dependents: dependents.slice(next, end) });
    next = end;
  }
  return postings.map((posting) => {
    const own = done.get(posting.reference);
    if (own?.posting === posting) return own;
    const entry =
      before.get(posting.reference) ?? (own && { ...own, ...own.posting, userId: own.posting.account.userId });
    assert(entry !== undefined, `the entry ${posting.reference} is there`);
    assertRepetition(claimOf(posting), entry);
    return { entryId: entry.entryId, balanceUnits: entry.balanceUnits, applied: false, dependents: [] };
  });
}
