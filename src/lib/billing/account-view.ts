import type { Pool } from "../postgres/pool.ts";
import { runQuery } from "../postgres/run-query.ts";
import type { FeePolicy } from "./fee.ts";
import { parseUnits } from "./money.ts";

const BYTES_PER_GIB = 2n ** 30n;

/** What the ledger knows of an account. Amounts in units of 10⁻¹⁸ FULA. */
export interface AccountFacts {
  /** Null where nobody has paid, stored or received anything under this user yet: all else is nothing then. */
  readonly accountId: bigint | null;
  readonly userId: string;
  readonly storedBytes: bigint;
  readonly balanceUnits: bigint;
  /** The sums of its deposits, of its fees (as a positive number) and of its referral bonuses. */
  readonly totalDepositedUnits: bigint;
  readonly totalDeductedUnits: bigint;
  readonly totalBonusUnits: bigint;
  readonly isSuspended: boolean;
  /** Null where it is not suspended, or where nobody wrote down since when. */
  readonly suspendedAt: Date | null;
  readonly createdAt: Date | null;
}

/** An account as its user sees it. */
export interface AccountView extends AccountFacts {
  readonly freeTierBytes: bigint;
  /** How many bytes over the free tier the balance pays for a month; null = without end, where they cost nothing. */
  readonly paidBytes: bigint | null;
  /** Both together. */
  readonly availableBytes: bigint | null;
  /** What 720 hours cost at the present use, rounded down. */
  readonly monthlyBurnUnits: bigint;
  /** True where it stores more than the free tier. */
  readonly isConsuming: boolean;
  readonly canUpload: boolean;
}

/** Works out what an account may do and costs by what the ledger knows. */
export function viewAccount(facts: AccountFacts, { freeTierBytes, fulaPerGibMonth }: FeePolicy): AccountView {
  const { storedBytes, balanceUnits, isSuspended } = facts;
  const overBytes = storedBytes > freeTierBytes ? storedBytes - freeTierBytes : 0n;
  const spendable = balanceUnits > 0n ? balanceUnits : 0n;
  const paidBytes = fulaPerGibMonth === 0n ? null : (spendable * BYTES_PER_GIB) / fulaPerGibMonth;
  return {
    ...facts,
    freeTierBytes,
    paidBytes,
    availableBytes: paidBytes === null ? null : freeTierBytes + paidBytes,
    monthlyBurnUnits: (overBytes * fulaPerGibMonth) / BYTES_PER_GIB,
    isConsuming: overBytes > 0n,
    canUpload: !isSuspended && (storedBytes < freeTierBytes || balanceUnits > 0n),
  };
}

interface AccountRow {
  readonly id: string;
  readonly bytes: string;
  readonly balance: string;
  readonly deposited: string;
  readonly deducted: string;
  readonly bonus: string;
  readonly suspended: boolean;
  readonly suspended_at: Date | null;
  readonly created_at: Date | null;
}

/** What the ledger knows of a user's account; of one that nobody has met, nothing. */
async function readAccountFacts(pool: Pool, userId: string): Promise<AccountFacts> {
  const { rows } = await runQuery<AccountRow>(pool, {
    name: "account_read",
    text: `
      select a.id, coalesce(u.bytes, 0) as bytes, coalesce(a.balance_fula, 0) as balance,
             coalesce(a.total_deposited_fula, 0) as deposited, coalesce(a.total_deducted_fula, 0) as deducted,
             coalesce(a.total_bonus_received_fula, 0) as bonus,
             coalesce(a.is_suspended, 0) = 1 as suspended, a.suspended_at, a.created_at
        from user_credits a left join user_usage u on u.account_id = a.id
       where a.user_id = $1`,
    values: [userId],
  });
  const row = rows[0];
  return {
    accountId: row === undefined ? null : BigInt(row.id),
    userId,
    storedBytes: BigInt(row?.bytes ?? 0),
    balanceUnits: parseUnits(row?.balance ?? "0"),
    totalDepositedUnits: parseUnits(row?.deposited ?? "0"),
    totalDeductedUnits: parseUnits(row?.deducted ?? "0"),
    totalBonusUnits: parseUnits(row?.bonus ?? "0"),
    isSuspended: row?.suspended ?? false,
    suspendedAt: row?.suspended === true ? row.suspended_at : null,
    createdAt: row?.created_at ?? null,
  };
}

/** A user's account under a price and a free tier: all that the storage and credits routes tell. */
export async function readAccount(pool: Pool, userId: string, policy: FeePolicy): Promise<AccountView> {
  return viewAccount(await readAccountFacts(pool, userId), policy);
}
