import { readFile } from "node:fs/promises";
import type { CID } from "multiformats/cid";
import { parseCid } from "../blocks/cid.ts";
import { type AssertHeld, withCollectorLock } from "../buckets/collector-lock.ts";
import { type BucketSource, importBucket, type ImportOutcome, type ImportParts } from "../buckets/import.ts";
import { fleetRows, type FleetSource, fleetSources } from "../buckets/import-fleet.ts";
import { oldBuckets } from "../buckets/import-objects.ts";
import { readRegistry } from "../buckets/import-registry.ts";
import type { Keeper } from "../buckets/keeping/keeper.ts";
import { FulaError, isFulaError, messageOf, systemErrorCode } from "../kernel/errors.ts";
import { formatCount } from "../kernel/units.ts";
import { type BucketContext, type BucketStores, withBucketStores } from "./bucket-ledger.ts";
import { usersByOwner } from "./bucket-users.ts";
import { withSavedBuckets } from "./bucket-saving.ts";

/** Where buckets are brought in from. */
export type ImportFrom =
  /** Tables of an earlier fula-master. */
  | { readonly kind: "objects" }
  /** Rows of the fleet in this ledger, and a registry of its gateway where one is given: a CID, or a file that holds one. */
  | { readonly kind: "fleet"; readonly registry: string | null };

/** What an operator may choose. */
export interface BucketImportOptions {
  readonly dryRun: boolean;
  readonly allowMissing: boolean;
}

/** What became of one bucket. */
export interface ImportedLine {
  readonly ownerId: string;
  readonly bucket: string;
  readonly userId: string | null;
  /** Null where it was refused or could not be read. */
  readonly outcome: ImportOutcome | null;
  readonly error: { readonly code: string; readonly message: string; readonly hint: string | null } | null;
  /** What is worth knowing of it, in words. */
  readonly remarks: readonly string[];
}

/** What `buckets import` prints at the end. */
export interface ImportSummary {
  readonly ok: boolean;
  readonly dryRun: boolean;
  readonly imported: number;
  /** Brought in by an earlier run. */
  readonly present: number;
  readonly planned: number;
  readonly refused: number;
}

const REGISTRY_FILE_BYTES_MAX = 4_096;

/** @throws FulaError FULA_USAGE */
async function registryCid(text: string): Promise<CID> {
  try {
    return parseCid(text);
  } catch (error) {
    if (!isFulaError(error)) throw error;
  }
  try {
    const content = await readFile(text, "utf8");
    return parseCid(content.slice(0, REGISTRY_FILE_BYTES_MAX).trim());
  } catch (error) {
    if (!isFulaError(error) && systemErrorCode(error) === undefined) throw error;
    throw new FulaError(
      "FULA_USAGE",
      `--registry ${text} is neither a CID nor a file that holds one: ${messageOf(error)}`,
      {
        hint: "the fleet's gateway keeps it in /var/lib/fula-gateway/registry.cid.",
        cause: error,
      },
    );
  }
}

async function findSources(
  { pool, nodes }: BucketStores,
  from: ImportFrom,
  signal: AbortSignal,
): Promise<readonly BucketSource[]> {
  if (from.kind === "objects") {
    const users = await usersByOwner(pool);
    return await oldBuckets(pool, (ownerId) => users.get(ownerId) ?? null);
  }
  const registry = from.registry === null ? [] : await readRegistry(await registryCid(from.registry), nodes, signal);
  const users = await usersByOwner(pool);
  return fleetSources(registry, await fleetRows(pool), { nodes, userIdOf: (ownerId) => users.get(ownerId) ?? null });
}

function isOfFleet(source: BucketSource): source is FleetSource {
  return "fleetIndex" in source;
}

function remarksOf(source: BucketSource, outcome: ImportOutcome | null): readonly string[] {
  const remarks: string[] = [];
  if (source.userId === null) remarks.push("no user of this ledger has this owner id: nobody is billed for it");
  if (outcome !== null && outcome.missing.count > 0) {
    remarks.push(`not to be found: the content of ${formatCount(outcome.missing.count, "object")}`);
  }
  if (!isOfFleet(source)) return remarks;
  if (source.isRegistryOlder) remarks.push("the ledger has a newer root than the registry; that one was read");
  const { registered } = source;
  if (outcome !== null && registered?.objectCount != null && registered.objectCount !== outcome.objects) {
    remarks.push(`objects in its registry: ${registered.objectCount}; found: ${outcome.objects}`);
  }
  if (outcome !== null && registered?.totalBytes != null && registered.totalBytes.toString() !== outcome.bytes) {
    remarks.push(`bytes in its registry: ${registered.totalBytes}; found: ${outcome.bytes}`);
  }
  const walked = source.walked();
  if (walked !== null && walked.markers > 0)
    remarks.push(`left out: ${formatCount(walked.markers, "marker")} of deleted objects`);
  for (const [field, count] of walked?.leftBehind ?? [])
    remarks.push(`left behind: ${field} of ${formatCount(count, "object")}`);
  return remarks;
}

async function importOne(
  source: BucketSource,
  parts: ImportParts,
  options: BucketImportOptions,
  signal: AbortSignal,
): Promise<ImportedLine> {
  const { ownerId, bucket, userId } = source;
  try {
    const outcome = await importBucket(source, parts, { ...options, signal });
    return { ownerId, bucket, userId, outcome, error: null, remarks: remarksOf(source, outcome) };
  } catch (error) {
    signal.throwIfAborted();
    // One bucket that cannot be read is no reason to leave the others; a store that does not answer is.
    if (!isFulaError(error) || error.kind === "unavailable") throw error;
    const { code, message, hint = null } = error;
    return { ownerId, bucket, userId, outcome: null, error: { code, message, hint }, remarks: remarksOf(source, null) };
  }
}

/**
 * Brings in all buckets of a source, one after the other, under the collector's lock.
 * @param onBucket given each as soon as it is done
 * @throws FulaError FULA_BUCKETS_COLLECTING, FULA_BUCKET_MODE, FULA_FLEET_INDEX for a registry that cannot be read, and
 *   what the stores throw
 */
export async function runBucketImport(
  context: BucketContext,
  from: ImportFrom,
  options: BucketImportOptions,
  onBucket: (line: ImportedLine) => Promise<void>,
): Promise<ImportSummary> {
  const { clock, random, signal } = context;
  return await withBucketStores(context, async (stores) => {
    const { pool, blocks, pins, nodes, loaded } = stores;
    const counts = { imported: 0, present: 0, planned: 0, refused: 0 };
    const work = async (keeper: Keeper | null, assertHeld: AssertHeld): Promise<void> => {
      const { name: node } = loaded.config.node;
      const parts: ImportParts = { pool, blocks, pins, nodes, keeper, random, node, assertHeld };
      for (const source of await findSources(stores, from, signal)) {
        signal.throwIfAborted();
        const line = await importOne(source, parts, options, signal);
        counts[line.outcome?.state ?? "refused"] += 1;
        await onBucket(line);
      }
    };
    if (options.dryRun) await work(null, async () => {});
    else {
      await withSavedBuckets(stores, context, async ({ keeper }) => {
        await withCollectorLock(pool, { clock, signal, waitMs: 0 }, async (assertHeld) => {
          await work(keeper, assertHeld);
        });
      });
    }
    return { ok: counts.refused === 0, dryRun: options.dryRun, ...counts };
  });
}
