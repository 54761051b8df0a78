import { assert } from "../kernel/assert.ts";
import { FulaError, isFulaError } from "../kernel/errors.ts";
import type { Pool } from "../postgres/pool.ts";
import { type TransactionClient, withTransaction } from "../postgres/transaction.ts";
import { type HeldAccount, holdAccounts } from "./credits-accounts.ts";
import { type Posted, type Posting, postEntries } from "./credits-post.ts";
import { formatUnits, parseUnits } from "./money.ts";
import { bonusUnits, readReferrers, type Referrer } from "./referrals.ts";

const ADJUSTMENT = "adjustment:";

/** Reference of an adjustment under its idempotency key. */
export function adjustmentReference(key: string): string {
  return `${ADJUSTMENT}${key}`;
}

/** What came in for a user. */
export interface DepositCredit {
  readonly type: "deposit";
  readonly userId: string;
  /** Above zero, in units of 10⁻¹⁸. */
  readonly amountUnits: bigint;
  /** `<chainId>:<txHash>:<logIndex>`; counts and is stored in lower case. */
  readonly reference: string;
  /** True pays those who brought the user (`billing.referralBonuses`). */
  readonly referralBonuses: boolean;
}

/** What an operator corrects. */
export interface AdjustmentCredit {
  readonly type: "adjustment";
  readonly userId: string;
  /** Above or below zero, in units of 10⁻¹⁸. */
  readonly amountUnits: bigint;
  /** `adjustmentReference(key)`: the database keeps references of that form unique, and no others. */
  readonly reference: string;
}

/** A bonus that was paid for a deposit. */
export interface PaidBonus {
  readonly entryId: bigint;
  readonly userId: string;
  readonly level: number;
  readonly amountUnits: bigint;
}

/** What became of a credit. */
export interface CreditOutcome {
  readonly entryId: bigint;
  /** The account's balance right after the entry. */
  readonly balanceUnits: bigint;
  /** The bonuses that this call paid. */
  readonly bonuses: readonly PaidBonus[];
  /** False where the entry was there before, with the same user and amount; nothing was changed then. */
  readonly applied: boolean;
}

function assertCredit({ type, amountUnits, userId, reference }: DepositCredit | AdjustmentCredit): void {
  assert(type === "deposit" || reference.startsWith(ADJUSTMENT), "an adjustment has a reference that is kept unique");
  if (type === "deposit" ? amountUnits > 0n : amountUnits !== 0n) return;
  throw new FulaError(
    "FULA_AMOUNT_INVALID",
    `${formatUnits(amountUnits)} FULA is no ${type} for ${userId}: ${type === "deposit" ? "it must be above zero" : "it would change nothing"}.`,
  );
}

/**
 * Runs a transaction whose entry has a unique reference, and once more where the connection was lost during its commit:
 * what is there by then is found by its reference, and not written again.
 * @throws FulaError FULA_COMMIT_UNKNOWN where that happens twice; what `withTransaction` and `use` throw
 */
export async function settleOnce<T>(pool: Pool, use: (client: TransactionClient) => Promise<T>): Promise<T> {
  try {
    return await withTransaction(pool, use);
  } catch (error) {
    if (!isFulaError(error, "FULA_COMMIT_UNKNOWN")) throw error;
    return await withTransaction(pool, use);
  }
}

interface EntryRow {
  readonly id: string;
  readonly user_id: string | null;
  readonly amount: string;
  readonly balance_after: string;
}

/** The entry that has the reference. Each text repeats the predicate of the unique index that finds it. */
async function findEntry(client: TransactionClient, type: Posting["type"], reference: string): Promise<EntryRow> {
  const { rows } = await client.query<EntryRow>(
    type === "deposit"
      ? {
          name: "entry_of_deposit",
          text: `
            select id, user_id, amount_fula as amount, balance_after from credit_history
             where tx_type = 'deposit' and lower(reference_id) = lower($1)`,
          values: [reference],
        }
      : {
          name: "entry_of_reference",
          text: `
            select id, user_id, amount_fula as amount, balance_after from credit_history
             where tx_type in ('adjustment', 'referral_bonus') and reference_id ~ '^(adjustment|bonus|reversal):'
               and reference_id = $1`,
          values: [reference],
        },
  );
  const row = rows[0];
  assert(row !== undefined, `the reference ${reference} that was in the way can be found`);
  return row;
}

/**
 * What an entry whose reference was taken means: the same one again, which is fine, or another one.
 * @throws FulaError FULA_CREDIT_REFERENCE_TAKEN
 */
export async function acceptRepetition(client: TransactionClient, posting: Posting): Promise<CreditOutcome> {
  const { account, amountUnits, reference } = posting;
  const entry = await findEntry(client, posting.type, reference);
  if (entry.user_id === account.userId && parseUnits(entry.amount) === amountUnits) {
    const balanceUnits = parseUnits(entry.balance_after);
    return { entryId: BigInt(entry.id), balanceUnits, bonuses: [], applied: false };
  }
  throw new FulaError(
    "FULA_CREDIT_REFERENCE_TAKEN",
    `The reference ${reference} stands for ${formatUnits(parseUnits(entry.amount))} FULA of user ${entry.user_id ?? "nobody"} (entry ${entry.id}), not for ${formatUnits(amountUnits)} FULA of user ${account.userId}. Nothing was changed.`,
    {
      hint: "look at that entry (fula-master billing history); a correction of something else needs a key of its own.",
      details: { reference, entryId: entry.id },
    },
  );
}

async function noteBonuses(
  client: TransactionClient,
  source: Posted,
  bonuses: readonly { readonly posted: Posted; readonly referrer: Referrer }[],
): Promise<void> {
  await client.query({
    name: "bonuses_note",
    text: `
      insert into referral_bonuses (
        credit_history_id, recipient_user_id, recipient_referral_code, source_credit_history_id, source_user_id,
        source_referral_code, level, bonus_amount_fula, source_amount_fula)
      select b.entry_id, b.user_id, b.code, $1, $2, b.source_code, b.level, b.amount, $3
        from unnest($4::bigint[], $5::text[], $6::text[], $7::text[], $8::integer[], $9::numeric[])
             as b (entry_id, user_id, code, source_code, level, amount)`,
    values: [
      source.entryId.toString(),
      source.posting.account.userId,
      formatUnits(source.posting.amountUnits),
      bonuses.map(({ posted }) => posted.entryId.toString()),
      bonuses.map(({ referrer }) => referrer.userId),
      bonuses.map(({ referrer }) => referrer.code),
      bonuses.map(({ referrer }) => referrer.sourceCode),
      bonuses.map(({ referrer }) => referrer.level),
      bonuses.map(({ posted }) => formatUnits(posted.posting.amountUnits)),
    ],
  });
}

interface Held {
  readonly accounts: ReadonlyMap<string, HeldAccount>;
  readonly referrers: ReadonlyMap<string, readonly Referrer[]>;
}

function accountOf({ accounts }: Held, userId: string): HeldAccount {
  const account = accounts.get(userId);
  assert(account !== undefined, "every account of a credit is held");
  return account;
}

/** Entries for those who brought the user, in order of their levels; what rounds to nothing is left out. */
function bonusPostings(
  credit: DepositCredit,
  held: Held,
  entryId: bigint,
): readonly { readonly posting: Posting; readonly referrer: Referrer }[] {
  const due = (held.referrers.get(credit.userId) ?? []).map((referrer) => ({
    referrer,
    amountUnits: bonusUnits(credit.amountUnits, referrer.level),
  }));
  return due
    .filter(({ amountUnits }) => amountUnits > 0n)
    .map(({ referrer, amountUnits }) => ({
      referrer,
      posting: {
        account: accountOf(held, referrer.userId),
        type: "referral_bonus",
        amountUnits,
        reference: `bonus:${entryId}:${referrer.level}`,
      },
    }));
}

async function postCredit(
  client: TransactionClient,
  credit: DepositCredit | AdjustmentCredit,
  held: Held,
): Promise<CreditOutcome> {
  const { type, amountUnits } = credit;
  const gate: Posting = {
    account: accountOf(held, credit.userId),
    type,
    amountUnits,
    reference: type === "deposit" ? credit.reference.toLowerCase() : credit.reference,
  };
  const bonusesOf = (entryId: bigint): ReturnType<typeof bonusPostings> =>
    type === "deposit" ? bonusPostings(credit, held, entryId) : [];
  const posted = await postEntries(client, gate, (entryId) => bonusesOf(entryId).map(({ posting }) => posting));
  if (posted === null) return await acceptRepetition(client, gate);
  const { entryId, balanceUnits } = posted.gate;
  const referrers = bonusesOf(entryId).map(({ referrer }) => referrer);
  const paid = posted.dependents.flatMap((dependent, index) => {
    const referrer = referrers[index];
    return referrer === undefined ? [] : [{ posted: dependent, referrer }];
  });
  if (paid.length > 0) await noteBonuses(client, posted.gate, paid);
  const bonuses = paid.map(({ posted: bonus, referrer }) => ({
    entryId: bonus.entryId,
    userId: referrer.userId,
    level: referrer.level,
    amountUnits: bonus.posting.amountUnits,
  }));
  return { entryId, balanceUnits, bonuses, applied: true };
}

/**
 * Writes credits into the ledger in the caller's transaction: each entry, the bonuses that a deposit brings, balances,
 * totals, and whether the accounts are suspended. Accounts that do not exist are made. All accounts of all credits are
 * locked before anything is read, in ascending order of their ids; so a transaction that credits several users hands
 * them over in one call. Runs at "read committed".
 * @returns one outcome a credit, in their order
 * @throws FulaError FULA_CREDIT_REFERENCE_TAKEN where an entry of another user or amount has the reference,
 *   FULA_AMOUNT_INVALID for an amount of the wrong sign or beyond 20 digits; roll back then
 */
export async function creditUsersTx(
  client: TransactionClient,
  credits: readonly (DepositCredit | AdjustmentCredit)[],
): Promise<readonly CreditOutcome[]> {
  credits.forEach(assertCredit);
  const rewarding = credits.filter((credit) => credit.type === "deposit" && credit.referralBonuses);
  const referrers =
    rewarding.length === 0
      ? new Map<string, readonly Referrer[]>()
      : await readReferrers(client, [...new Set(rewarding.map(({ userId }) => userId))]);
  const above = Array.from(referrers.values()).flatMap((chain) => chain.map(({ userId }) => userId));
  const userIds = new Set([...credits.map(({ userId }) => userId), ...above]);
  const held = { accounts: await holdAccounts(client, [...userIds]), referrers };
  const outcomes: CreditOutcome[] = [];
  for (const credit of credits) outcomes.push(await postCredit(client, credit, held));
  return outcomes;
}

/** `creditUsersTx` for one credit. @throws FulaError as that does */
export async function creditUserTx(
  client: TransactionClient,
  credit: DepositCredit | AdjustmentCredit,
): Promise<CreditOutcome> {
  const [outcome] = await creditUsersTx(client, [credit]);
  assert(outcome !== undefined, "one credit has one outcome");
  return outcome;
}

/** `creditUserTx` in a transaction of its own. @throws FulaError as that does, and as `withTransaction` does */
export async function creditUser(pool: Pool, credit: DepositCredit | AdjustmentCredit): Promise<CreditOutcome> {
  return await settleOnce(pool, async (client) => await creditUserTx(client, credit));
}
