import { compareUsage, type UncountedPins, type UsageDifference } from "../billing/reconcile.ts";
import { repairUsage } from "../billing/reconcile-repair.ts";
import { type BillingContext, withBillingLedger } from "./billing-ledger.ts";
import { actorOf } from "./operators.ts";

/** What `billing reconcile` is given. */
export interface ReconcileOptions {
  readonly repair: boolean;
  readonly dryRun: boolean;
  /** Differences to list at most. */
  readonly limit: number;
}

/** One account in the report; bytes are decimal strings, since they can be more than a JSON number holds exactly. */
export interface ReconciledAccount {
  readonly accountId: string | null;
  readonly userId: string | null;
  readonly bytesKept: string;
  readonly bytesFound: string;
  readonly bytesInHistory: string;
  readonly contents: number;
}

/** What `billing reconcile` prints; `--json` keeps these fields. */
export interface ReconcileReport {
  /** True where nothing differs, or all that did has been set right. */
  readonly ok: boolean;
  readonly dryRun: boolean;
  readonly accounts: number;
  readonly differing: number;
  /** Accounts that were set right. */
  readonly repaired: number;
  /** The first `limit` that differ. */
  readonly differences: readonly ReconciledAccount[];
  readonly uncounted: UncountedPins;
}

function shown(difference: UsageDifference): ReconciledAccount {
  return {
    accountId: difference.accountId?.toString() ?? null,
    userId: difference.userId,
    bytesKept: difference.bytesKept.toString(),
    bytesFound: difference.bytesFound.toString(),
    bytesInHistory: difference.bytesInHistory.toString(),
    contents: difference.contents,
  };
}

/**
 * Compares what accounts are billed by with their pins and buckets; sets right what differs where `repair` says so.
 * @throws FulaError what `withBillingLedger` throws
 */
export async function runReconcile(context: BillingContext, options: ReconcileOptions): Promise<ReconcileReport> {
  const { signal } = context;
  return await withBillingLedger(context, async (pool, loaded) => {
    const repairs = options.repair && !options.dryRun;
    const { differences, ...compared } = await compareUsage(pool, repairs ? null : options.limit, signal);
    const operator = actorOf(context, loaded);
    let repaired = 0;
    for (const difference of repairs ? differences : []) {
      signal.throwIfAborted();
      await repairUsage(pool, difference, { operator, signal });
      repaired += 1;
    }
    return {
      ok: compared.differing === repaired,
      dryRun: options.dryRun,
      ...compared,
      repaired,
      differences: differences.slice(0, options.limit).map(shown),
    };
  });
}
