import { startModeGuard } from "../buckets/roots/mode-guard.ts";
import { FulaError } from "../kernel/errors.ts";
import { silentLog } from "../kernel/log.ts";
import type { BucketContext, BucketStores } from "./bucket-ledger.ts";
import { type OpenBuckets, openBuckets } from "./open-buckets.ts";

/** Nobody counts what one command does. */
const UNOBSERVED = {
  flushed: () => {},
  conflicted: () => {},
  compacted: () => {},
  onQuery: () => {},
  onStale: () => {},
};

/** @throws FulaError FULA_BUCKET_MODE where this box saves without an arbiter */
function assertArbitrated({ loaded }: Pick<BucketStores, "loaded">): void {
  if (loaded.config.buckets.cas) return;
  throw new FulaError(
    "FULA_BUCKET_MODE",
    "This box saves buckets without compare-and-swap: what a command changes is lost with the next save of a master.",
    {
      hint: "stop every master, set FULA_BUCKET_ROOT_CAS=true (buckets.cas) on all of them, then run the command again.",
    },
  );
}

/**
 * Joins the masters that save buckets by compare-and-swap, and opens buckets as they do, for the time of one command.
 * @throws FulaError FULA_BUCKET_MODE where this box or another master saves in another way; FULA_KUBO_UNREACHABLE
 */
export async function withSavedBuckets<T>(
  stores: BucketStores,
  { clock, random, signal }: BucketContext,
  use: (open: OpenBuckets) => Promise<T>,
): Promise<T> {
  assertArbitrated(stores);
  const { loaded, connection } = stores;
  await using opened = new AsyncDisposableStack();
  const guard = { connection, node: loaded.config.node.name, mode: "cas", clock, random, log: silentLog } as const;
  opened.use(await startModeGuard(guard));
  const deps = { clock, random, signal, log: silentLog, observer: UNOBSERVED };
  return await use(opened.use(await openBuckets(loaded, stores, deps)));
}
