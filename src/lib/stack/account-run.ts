import { type AccountView, readAccount } from "../billing/account-view.ts";
import { type HistoryQuestion, readCreditHistory } from "../billing/credit-history.ts";
import { hourlyFee } from "../billing/fee.ts";
import { formatUnits } from "../billing/money.ts";
import { policyOf } from "../billing/policy.ts";
import { listSuspended, unsuspendUser } from "../billing/suspended.ts";
import { type BillingContext, withBillingLedger } from "./billing-ledger.ts";
import { operatorOf, type OperatorWords } from "./credit-run.ts";
import { requireKnownUser } from "./credit-user.ts";

/** An account, as the commands print it; amounts are decimal strings, bytes are numbers. */
export interface AccountReport {
  readonly balance: string;
  readonly storedBytes: number;
  readonly freeTierBytes: number;
  readonly monthlyBurn: string;
  readonly totalDeposited: string;
  readonly totalDeducted: string;
  readonly totalBonus: string;
  readonly canUpload: boolean;
  readonly isSuspended: boolean;
  readonly suspendedAt: string | null;
}

function accountReport(view: AccountView): AccountReport {
  return {
    balance: formatUnits(view.balanceUnits),
    storedBytes: Number(view.storedBytes),
    freeTierBytes: Number(view.freeTierBytes),
    monthlyBurn: formatUnits(view.monthlyBurnUnits),
    totalDeposited: formatUnits(view.totalDepositedUnits),
    totalDeducted: formatUnits(view.totalDeductedUnits),
    totalBonus: formatUnits(view.totalBonusUnits),
    canUpload: view.canUpload,
    isSuspended: view.isSuspended,
    suspendedAt: view.suspendedAt?.toISOString() ?? null,
  };
}

/** What `billing history --json` prints; amounts are decimal strings. */
export interface HistoryReport {
  readonly userId: string;
  readonly account: AccountReport;
  readonly entries: readonly {
    readonly id: string;
    readonly type: string | null;
    readonly amount: string;
    readonly balanceAfter: string;
    readonly reference: string | null;
    readonly createdAt: string | null;
    readonly usageBytes: number | null;
    readonly operator: string | null;
    readonly reason: string | null;
  }[];
  readonly page: number;
  readonly limit: number;
  readonly total: number;
  readonly nextCursor: string | null;
}

/** A page of a user's entries. @throws FulaError FULA_HISTORY_PAGE, FULA_ACCOUNT_UNKNOWN, and what `withBillingLedger` throws */
export async function runHistory(
  context: BillingContext,
  user: string,
  question: HistoryQuestion,
): Promise<HistoryReport> {
  return await withBillingLedger(context, async (pool, { config }) => {
    const userId = await requireKnownUser(pool, user);
    const { entries, page, limit, total, nextCursor } = await readCreditHistory(pool, userId, question);
    return {
      userId,
      account: accountReport(await readAccount(pool, userId, policyOf(config.billing))),
      entries: entries.map((entry) => ({
        id: entry.entryId.toString(),
        type: entry.type,
        amount: formatUnits(entry.amountUnits),
        balanceAfter: formatUnits(entry.balanceAfterUnits),
        reference: entry.reference,
        createdAt: entry.createdAt?.toISOString() ?? null,
        usageBytes: entry.usageBytes === null ? null : Number(entry.usageBytes),
        operator: entry.note?.operator ?? null,
        reason: entry.note?.reason ?? null,
      })),
      page,
      limit,
      total,
      nextCursor,
    };
  });
}

/** What `billing suspended --json` prints; balances are decimal strings. */
export interface SuspendedReport {
  readonly accounts: readonly {
    readonly userId: string;
    readonly balance: string;
    readonly storedBytes: number;
    readonly suspendedAt: string | null;
  }[];
  /** All that are suspended, also those beyond the limit. */
  readonly total: number;
}

/** The suspended accounts. @throws FulaError what `withBillingLedger` throws */
export async function runSuspended(context: BillingContext, limit: number): Promise<SuspendedReport> {
  return await withBillingLedger(context, async (pool) => {
    const { accounts, total } = await listSuspended(pool, limit);
    return {
      accounts: accounts.map((account) => ({
        userId: account.userId,
        balance: formatUnits(account.balanceUnits),
        storedBytes: Number(account.storedBytes),
        suspendedAt: account.suspendedAt?.toISOString() ?? null,
      })),
      total,
    };
  });
}

/** What `billing unsuspend --json` prints. */
export interface UnsuspendReport {
  readonly dryRun: boolean;
  readonly userId: string;
  /** True where it was suspended before this run. */
  readonly wasSuspended: boolean;
  /** True where this run has lifted the suspension. */
  readonly unsuspended: boolean;
  readonly balance: string;
  /** True where the next fee, at the present use and price, takes or leaves the balance below zero. */
  readonly willSuspendAgain: boolean;
}

/** Lifts a suspension by hand. @throws FulaError FULA_USAGE, FULA_ACCOUNT_UNKNOWN, and what `withBillingLedger` throws */
export async function runUnsuspend(
  context: BillingContext,
  options: OperatorWords & { readonly user: string; readonly dryRun: boolean },
): Promise<UnsuspendReport> {
  return await withBillingLedger(context, async (pool, loaded) => {
    const { config } = loaded;
    const words = operatorOf("billing unsuspend", options, context, loaded);
    const userId = await requireKnownUser(pool, options.user);
    const policy = policyOf(config.billing);
    const { storedBytes, balanceUnits, isSuspended } = await readAccount(pool, userId, policy);
    const feeUnits = hourlyFee(storedBytes, policy);
    return {
      dryRun: options.dryRun,
      userId,
      wasSuspended: isSuspended,
      unsuspended: !options.dryRun && (await unsuspendUser(pool, { userId, ...words })),
      balance: formatUnits(balanceUnits),
      willSuspendAgain: feeUnits > 0n && balanceUnits < feeUnits,
    };
  });
}
