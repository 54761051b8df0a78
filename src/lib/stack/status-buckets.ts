import type { LoadedConfig } from "../config/load.ts";
import { readBucketReport } from "./bucket-report.ts";
import { peekLedger } from "./ledger-peek.ts";
import type { LookLimits } from "./look.ts";
import { bad, judgementOf, lookAtPart } from "./status-part.ts";
import type { BucketsPart } from "./status-report.ts";

/** Looks how buckets stand. */
export async function readBucketsPart(loaded: LoadedConfig, limits: LookLimits): Promise<BucketsPart> {
  const nothing = {
    mode: null,
    serving: null,
    buckets: null,
    newestCommit: null,
    arbiterMs: null,
    garbage: null,
    oldestGarbageSeconds: null,
    holds: null,
    notImported: null,
  };
  return await lookAtPart<BucketsPart>(limits, nothing, async (signal) => {
    const report = await peekLedger(loaded, async (pool) => await readBucketReport(pool, loaded, limits.clock), signal);
    if (report === null) return { ...nothing, ...bad("the embedded PostgreSQL does not run. Try: fula-master start") };
    const { problems, ...figures } = report;
    return { ...figures, ...judgementOf(problems) };
  });
}
