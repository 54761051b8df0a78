import * as dagCbor from "@ipld/dag-cbor";
import { FulaError } from "../kernel/errors.ts";
import type { Random } from "../kernel/random.ts";
import type { Pool } from "../postgres/pool.ts";
import { type TransactionClient, withTransaction } from "../postgres/transaction.ts";
import type { AssertHeld } from "./collector-lock.ts";
import { buildIndex } from "./import-build.ts";
import { type ImportKeepParts, keepAllContents, KeepingWriter, type MissingContents } from "./import-keep.ts";
import { moveImported, presentRow } from "./import-move.ts";
import { EntrySort, type KeyedEntry } from "./import-sort.ts";
import { indexPinName } from "./root-mover.ts";
import type { BucketName } from "./roots/root-pointer.ts";
import type { TreeRoot } from "./tree/build-tree.ts";
import { entryToTuple } from "./tree/entry-codec.ts";
import type { NodeReader } from "./tree/node-store.ts";
import { openBucketIndex } from "./tree/open-index.ts";

/** A bucket that another gateway kept. */
export interface BucketSource extends BucketName {
  /** Null where only the owner id is known. */
  readonly userId: string | null;
  readonly tags: Readonly<Record<string, string>>;
  readonly createdAtMs: number | null;
  /** Root of the fleet's that stands in the ledger and is read; null where no row of the fleet must stand there. */
  readonly fleetRoot: string | null;
  /** Every object, in any order. */
  objects(signal: AbortSignal): AsyncIterable<KeyedEntry>;
  /** Runs in the transaction that makes the bucket ours: looks that the source is still what was read, and gives it up. */
  readonly giveUp?: ((client: TransactionClient, read: ReadSource) => Promise<void>) | undefined;
}

/** What was read of a source. */
export interface ReadSource {
  readonly objects: number;
  readonly bytes: bigint;
}

/** What importing needs. */
export interface ImportParts extends ImportKeepParts {
  readonly pool: Pool;
  readonly nodes: NodeReader;
  readonly random: Random;
  /** Name of this master. */
  readonly node: string;
  /** Looks that the collector was kept out until now. */
  readonly assertHeld: AssertHeld;
}

/** What an operator may choose. */
export interface ImportOptions {
  /** True takes objects whose content is not to be found: their keys and what is kept of them. */
  readonly allowMissing: boolean;
  readonly signal: AbortSignal;
}

/** What became, or would become, of one bucket. */
export interface ImportOutcome {
  readonly state: "imported" | "present" | "planned";
  readonly root: string;
  /** Null in a dry run. */
  readonly version: string | null;
  readonly objects: number;
  readonly bytes: string;
  readonly missing: MissingContents;
}

function refused(name: BucketName, why: string, hint: string): FulaError {
  return new FulaError("FULA_BUCKET_IMPORT_REFUSED", `Bucket ${name.ownerId}/${name.bucket} is not imported: ${why}.`, {
    hint,
    details: { ownerId: name.ownerId, bucket: name.bucket },
  });
}

async function readAll(source: BucketSource, sort: EntrySort, signal: AbortSignal): Promise<void> {
  for await (const object of source.objects(signal)) {
    signal.throwIfAborted();
    sort.add(object);
  }
}

/**
 * Reads the index that was built, as a gateway would, and holds every key and everything that is kept of it against what
 * was read.
 */
async function assertSame(
  source: BucketSource,
  sort: EntrySort,
  built: TreeRoot,
  parts: ImportParts,
  signal: AbortSignal,
): Promise<void> {
  const index = await openBucketIndex(built.root, parts.nodes, { signal });
  const expected = sort.inOrder();
  const differs = (): FulaError =>
    new FulaError(
      "FULA_INDEX_CORRUPT",
      `The index ${built.root.toString()} that was built of ${source.ownerId}/${source.bucket} does not give back what was read.`,
      { hint: "nothing was changed. Look at the disk of the blocks (fula-master doctor), then run the import again." },
    );
  for await (const { key, ref } of index.scan({}, signal)) {
    const next = expected.next();
    if (next.done === true || next.value.key !== key) throw differs();
    const entry = await index.readEntry(key, ref, signal);
    const ours = dagCbor.encode(entryToTuple(entry));
    if (Buffer.compare(ours, dagCbor.encode(entryToTuple(next.value.entry))) !== 0) throw differs();
  }
  const isWhole = expected.next().done === true && built.keys === sort.count && built.bytes === sort.bytes;
  if (!isWhole) throw differs();
}

/** True where an earlier import has made the bucket what this one would. @throws FulaError where something else is */
async function isPresent(client: TransactionClient, source: BucketSource, built: TreeRoot): Promise<boolean> {
  const present = await presentRow(client, source, built.root);
  if (present === null || (present.format === 1 && present.isDeleted)) {
    if (source.fleetRoot === null) return false;
    throw refused(source, "its row in the ledger has gone", "run the import again.");
  }
  if (present.format === 1) {
    // It may have been written to since.
    if (present.hadRoot) return true;
    throw refused(
      source,
      "a bucket of that name is there already, with other contents",
      "fula-master buckets show tells what it is; give one of the two another name, or merge them with an S3 client.",
    );
  }
  if (present.rootCid === source.fleetRoot) return false;
  throw refused(
    source,
    `the fleet's root in the ledger is ${present.rootCid}, which is not the one that was read`,
    "stop the gateways of the fleet, then run the import again.",
  );
}

async function move(
  source: BucketSource,
  sort: EntrySort,
  built: TreeRoot,
  { pool, random, node, assertHeld }: ImportParts,
): Promise<{ readonly state: "imported" | "present"; readonly version: string | null }> {
  const commitId = random.uuid();
  return await withTransaction(pool, async (client) => {
    await assertHeld();
    const wasThere = await isPresent(client, source, built);
    let version: bigint | null = null;
    if (!wasThere) {
      const { ownerId, bucket, userId, tags, createdAtMs, fleetRoot } = source;
      const { root, keys, bytes } = built;
      const counts = { objectCount: BigInt(keys), totalBytes: bytes };
      const imported = { ownerId, bucket, userId, tags, createdAtMs, fleetRoot, root, ...counts, commitId, node };
      version = await moveImported(client, imported);
      if (version === null) throw refused(source, "somebody changed it at the same time", "run the import again.");
    }
    await source.giveUp?.(client, { objects: sort.count, bytes: sort.bytes });
    return { state: wasThere ? "present" : "imported", version: version?.toString() ?? null };
  });
}

/**
 * Brings a bucket of another gateway in: reads all of it, builds an index, keeps every block and content, reads the index
 * back and holds it against what was read, and only then makes the bucket ours, in one transaction. May be cut off
 * anywhere and run again. The caller keeps the collector out meanwhile; without a keeper it reads and checks everything
 * and writes nothing.
 * @throws FulaError FULA_BUCKET_IMPORT_REFUSED, FULA_FLEET_INDEX, and what ledger, blocks and pinset throw
 */
export async function importBucket(
  source: BucketSource,
  parts: ImportParts,
  options: ImportOptions,
): Promise<ImportOutcome> {
  const { allowMissing, signal } = options;
  const { keeper } = parts;
  using sort = new EntrySort(source.bucket);
  await readAll(source, sort, signal);
  const missing = await keepAllContents(sort.inOrder(), source.bucket, parts, signal);
  if (missing.count > 0 && !allowMissing && keeper !== null) {
    const [first] = missing.shown;
    throw refused(
      source,
      `the contents of ${missing.count} of its objects are not to be found, such as ${first?.cid} of ${JSON.stringify(first?.key)}`,
      "see that the nodes that hold them are up (fula-master status); --allow-missing takes their keys without them.",
    );
  }
  const figures = { objects: sort.count, bytes: sort.bytes.toString(), missing };
  if (keeper === null) {
    const built = await buildIndex(sort.inOrder(), { put: async () => {} });
    await withTransaction(parts.pool, async (client) => isPresent(client, source, built), { readOnly: true });
    return { state: "planned", root: built.root.toString(), version: null, ...figures };
  }
  const writer = new KeepingWriter(keeper, indexPinName(source.bucket), signal);
  const built = await buildIndex(sort.inOrder(), writer);
  await writer.flush();
  await assertSame(source, sort, built, parts, signal);
  return { ...(await move(source, sort, built, parts)), root: built.root.toString(), ...figures };
}
