import type { CompactionOutcome } from "../buckets/compaction.ts";
import { changeSavingMode, readSavingState } from "../buckets/roots/mode-guard.ts";
import type { BucketName } from "../buckets/roots/root-pointer.ts";
import { readBucket } from "../buckets/roots/root-queries.ts";
import type { SavingMode } from "../buckets/roots/saving-mode.ts";
import { openBucketIndex } from "../buckets/tree/open-index.ts";
import { FulaError } from "../kernel/errors.ts";
import { type BucketContext, withBucketLedger, withBucketStores } from "./bucket-ledger.ts";
import { withSavedBuckets } from "./bucket-saving.ts";
import { unknownBucket } from "./bucket-verify-run.ts";

/** What `buckets mode` prints; `--json` keeps these fields. */
export interface ModeReport {
  readonly dryRun: boolean;
  /** Null where no master has served yet. */
  readonly mode: SavingMode | null;
  /** True where it was changed, or would be. */
  readonly changes: boolean;
  /** The sessions of masters that serve, with the mode that they serve in. */
  readonly serving: readonly { readonly session: string; readonly mode: SavingMode }[];
}

function servingOf(serving: Readonly<Record<SavingMode, readonly string[]>>): ModeReport["serving"] {
  const of = (mode: SavingMode): ModeReport["serving"] => serving[mode].map((session) => ({ session, mode }));
  return [...of("cas"), ...of("single"), ...of("fleet")];
}

/** Shows or changes how all masters save buckets. @throws FulaError FULA_BUCKET_MODE where any serves in another way */
export async function runBucketMode(
  context: BucketContext,
  wanted: SavingMode | null,
  dryRun: boolean,
): Promise<ModeReport> {
  return await withBucketLedger(context, async (pool) => {
    const state = await readSavingState(pool);
    const serving = servingOf(state.serving);
    const changes = wanted !== null && wanted !== state.mode;
    if (!changes) return { dryRun, mode: state.mode, changes, serving };
    const others = serving.filter(({ mode }) => mode !== wanted);
    if (others.length > 0) {
      throw new FulaError(
        "FULA_BUCKET_MODE",
        `Buckets are saved by ${state.mode ?? "nobody yet"}; ${others.map(({ session, mode }) => `${session} serves by ${mode}`).join(", ")}.`,
        { hint: "stop every master, then run the command again.", details: { serving: others } },
      );
    }
    if (!dryRun) await changeSavingMode(pool, wanted);
    return { dryRun, mode: wanted, changes, serving };
  });
}

/** What `buckets compact` prints. */
export interface CompactReport {
  readonly outcome: CompactionOutcome | "planned";
  /** Changes in the log before. */
  readonly logChanges: number;
  readonly before: string;
  readonly root: string;
}

/** Works the log of a bucket's index into its tree. @throws FulaError FULA_BUCKET_UNKNOWN, and as a write does */
export async function runBucketCompact(
  context: BucketContext,
  name: BucketName,
  dryRun: boolean,
): Promise<CompactReport> {
  const { signal } = context;
  return await withBucketStores(context, async (stores) => {
    const before = await readBucket(stores.pool, name);
    if (before === null) throw unknownBucket(name);
    const root = before.root.toString();
    const { logChanges } = await openBucketIndex(before.root, stores.nodes, { signal });
    if (dryRun) return { outcome: logChanges === 0 ? "nothing" : "planned", logChanges, before: root, root };
    return await withSavedBuckets(stores, context, async ({ buckets }) => {
      const outcome = await buckets.compact(name, signal);
      const after = await readBucket(stores.pool, name);
      return { outcome, logChanges, before: root, root: (after ?? before).root.toString() };
    });
  });
}
