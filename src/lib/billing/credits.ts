import { assert } from "../kernel/assert.ts";
import { FulaError, isFulaError } from "../kernel/errors.ts";
import type { Pool } from "../postgres/pool.ts";
import { REPLICATED } from "../postgres/sync-wait.ts";
import { type TransactionClient, withTransaction } from "../postgres/transaction.ts";
import { type HeldAccount, holdAccounts } from "./credits-accounts.ts";
import { type Posted, type Posting, postEntries, type PostOutcome } from "./credits-post.ts";
import { formatUnits } from "./money.ts";
import { bonusUnits, readReferrers, type Referrer } from "./referrals.ts";

const ADJUSTMENT = "adjustment:";

/** Reference of an adjustment under its idempotency key, which is the same in any case. */
export function adjustmentReference(key: string): string {
  return `${ADJUSTMENT}${key.toLowerCase()}`;
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
  /**
   * False where the entry was there before, with the same user and amount; nothing was changed then. Also where it is our
   * own, found after a commit whose answer was lost.
   */
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
    return await withTransaction(pool, async (client) => {
      // What is found and not written again must be on the standbys too before anybody is told of it.
      await client.query(`select ${REPLICATED}`);
      return await use(client);
    });
  }
}

/** A bonus that was posted, with the deposit that it came of. */
interface PostedBonus {
  readonly bonus: Posted;
  readonly referrer: Referrer;
  readonly source: Pick<PostOutcome, "entryId">;
  readonly deposit: DepositCredit;
}

async function noteBonuses(client: TransactionClient, paid: readonly PostedBonus[]): Promise<void> {
  await client.query({
    name: "bonuses_note",
    text: `
      insert into referral_bonuses (
        credit_history_id, recipient_user_id, recipient_referral_code, source_credit_history_id, source_user_id,
        source_referral_code, level, bonus_amount_fula, source_amount_fula)
      select * from unnest($1::bigint[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::text[], $7::integer[],
                           $8::numeric[], $9::numeric[])`,
    values: [
      paid.map(({ bonus }) => bonus.entryId.toString()),
      paid.map(({ referrer }) => referrer.userId),
      paid.map(({ referrer }) => referrer.code),
      paid.map(({ source }) => source.entryId.toString()),
      paid.map(({ deposit }) => deposit.userId),
      paid.map(({ referrer }) => referrer.sourceCode),
      paid.map(({ referrer }) => referrer.level),
      paid.map(({ bonus }) => formatUnits(bonus.posting.amountUnits)),
      paid.map(({ deposit }) => formatUnits(deposit.amountUnits)),
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

/** Who is paid for a deposit, in order of their levels; what rounds to nothing is left out. */
function bonusesOf(credit: DepositCredit | AdjustmentCredit, held: Held): readonly (readonly [Referrer, bigint])[] {
  if (credit.type !== "deposit" || !credit.referralBonuses) return [];
  return (held.referrers.get(credit.userId) ?? [])
    .map((referrer) => [referrer, bonusUnits(credit.amountUnits, referrer.level)] as const)
    .filter(([, amountUnits]) => amountUnits > 0n);
}

async function postCredits(
  client: TransactionClient,
  credits: readonly (DepositCredit | AdjustmentCredit)[],
  held: Held,
): Promise<readonly CreditOutcome[]> {
  const postings = credits.map((credit): Posting => {
    const { type, amountUnits, userId, reference } = credit;
    return { account: accountOf(held, userId), type, amountUnits, reference: reference.toLowerCase() };
  });
  const creditOf = new Map(postings.map((posting, index) => [posting, credits[index]]));
  const outcomes = await postEntries(client, postings, ({ posting, entryId }) => {
    const credit = creditOf.get(posting);
    if (credit === undefined) return [];
    return bonusesOf(credit, held).map(([{ userId, level }, amountUnits]) => ({
      account: accountOf(held, userId),
      type: "referral_bonus",
      amountUnits,
      reference: `bonus:${entryId}:${level}`,
    }));
  });
  const paid = outcomes.map((source, index): readonly PostedBonus[] => {
    const credit = credits[index];
    if (credit?.type !== "deposit") return [];
    const referrers = bonusesOf(credit, held);
    return source.dependents.flatMap((bonus, place) => {
      const referrer = referrers[place]?.[0];
      return referrer === undefined ? [] : [{ bonus, referrer, source, deposit: credit }];
    });
  });
  if (paid.flat().length > 0) await noteBonuses(client, paid.flat());
  return outcomes.map(({ entryId, balanceUnits, applied }, index) => ({
    entryId,
    balanceUnits,
    applied,
    bonuses: (paid[index] ?? []).map(({ bonus, referrer }) => ({
      entryId: bonus.entryId,
      userId: referrer.userId,
      level: referrer.level,
      amountUnits: bonus.posting.amountUnits,
    })),
  }));
}

/**
 * Writes credits into the ledger in the caller's transaction: each entry, the bonuses that a deposit brings, balances,
 * totals, and whether the accounts are suspended. Accounts that do not exist are made. All accounts of all credits are
 * locked before anything is read, in ascending order of their ids; so a transaction that credits several users hands
 * them over in one call, which also takes no more statements than one credit. Runs at "read committed".
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
  return await postCredits(client, credits, held);
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
