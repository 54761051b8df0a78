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

/**
 * Writes the entry that decides whether all that belongs to it is done: its reference is taken, or it was before.
 * @returns null where the reference was taken; the balance in hand stays
 */
async function enterGate(client: TransactionClient, gate: Posting): Promise<Posted | null> {
  const before = gate.account.balanceUnits;
  const balanceUnits = move(gate);
  // The time is taken under the account's lock, so that entries of one account are in the order of their balances.
  const { rows } = await client.query<{ id: string }>({
    name: "entry_gate",
    text: `
      insert into credit_history (user_id, tx_type, amount_fula, balance_after, reference_id, created_at)
      values ($1, $2, $3, $4, $5, clock_timestamp())
          on conflict do nothing
      returning id`,
    values: [gate.account.userId, gate.type, formatUnits(gate.amountUnits), formatUnits(balanceUnits), gate.reference],
  });
  const row = rows[0];
  if (row !== undefined) return { entryId: BigInt(row.id), posting: gate, balanceUnits };
  gate.account.balanceUnits = before;
  return null;
}

async function enterDependents(client: TransactionClient, postings: readonly Posting[]): Promise<readonly Posted[]> {
  if (postings.length === 0) return [];
  const balances = postings.map(move);
  const { rows } = await client.query<{ id: string; reference_id: string }>({
    name: "entries_insert",
    text: `
      insert into credit_history (user_id, tx_type, amount_fula, balance_after, reference_id, created_at)
      select user_id, tx_type, amount, balance_after, reference_id, clock_timestamp()
        from unnest($1::text[], $2::text[], $3::numeric[], $4::numeric[], $5::text[])
             with ordinality as e (user_id, tx_type, amount, balance_after, reference_id, place)
       order by place
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
  return postings.map((posting, index) => {
    const entryId = ids.get(posting.reference);
    const balanceUnits = balances[index];
    assert(entryId !== undefined && balanceUnits !== undefined, "every entry that was inserted has an id");
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
 * Writes `gate` and, if its reference was free, what depends on it, and moves the balances of all of them. Every account
 * must be held (`holdAccounts`).
 * @returns the gate's entry and those that depend on it; null where the reference was taken, and then nothing is changed
 * @throws FulaError FULA_AMOUNT_INVALID
 */
export async function postEntries(
  client: TransactionClient,
  gate: Posting,
  dependentsOf: (entryId: bigint) => readonly Posting[],
): Promise<{ readonly gate: Posted; readonly dependents: readonly Posted[] } | null> {
  const entered = await enterGate(client, gate);
  if (entered === null) return null;
  const dependents = await enterDependents(client, dependentsOf(entered.entryId));
  await moveBalances(client, [gate, ...dependents.map(({ posting }) => posting)]);
  return { gate: entered, dependents };
}
