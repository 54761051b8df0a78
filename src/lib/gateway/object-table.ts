import type { Pool } from "../postgres/pool.ts";
import { runQuery } from "../postgres/run-query.ts";
import { type TransactionClient, withTransaction } from "../postgres/transaction.ts";

/** What is kept of an object beside its content. */
export interface ObjectRecord {
  readonly key: string;
  /** CID of the content; the ETag. */
  readonly rootCid: string;
  readonly sizeBytes: number;
  /** Headers that come back as they were: `content-type`, `cache-control`, … */
  readonly headers: Readonly<Record<string, string>>;
  /** `x-amz-meta-*` without the prefix, names in lower case, values as they were (Latin-1). */
  readonly metadata: Readonly<Record<string, string>>;
  /** Checksums that were verified on the way in: `crc32` → base64. */
  readonly checksums: Readonly<Record<string, string>>;
  readonly modifiedAtMs: number;
}

interface ObjectRow {
  readonly key: string;
  readonly root_cid: string;
  readonly size_bytes: string;
  readonly headers: unknown;
  readonly metadata: unknown;
  readonly checksums: unknown;
  readonly modified_at: Date;
}

/** One object in a listing. */
export type ListedObject = Pick<ObjectRecord, "key" | "rootCid" | "sizeBytes" | "modifiedAtMs">;

/** A jsonb of ours, which only ever holds texts by name. */
function textsOf(value: unknown): Readonly<Record<string, string>> {
  if (typeof value !== "object" || value === null) throw new Error("A row of gateway_objects holds no map of texts");
  return Object.fromEntries(Object.entries(value).map(([name, text]) => [name, String(text)]));
}

function recordOf(row: ObjectRow): ObjectRecord {
  return {
    ...listedOf(row),
    headers: textsOf(row.headers),
    metadata: textsOf(row.metadata),
    checksums: textsOf(row.checksums),
  };
}

function listedOf(row: Pick<ObjectRow, "key" | "root_cid" | "size_bytes" | "modified_at">): ListedObject {
  return {
    key: row.key,
    rootCid: row.root_cid,
    sizeBytes: Number(row.size_bytes),
    modifiedAtMs: row.modified_at.getTime(),
  };
}

/** The object of this key; null where there is none. */
export async function findObject(pool: Pool, bucketId: string, key: string): Promise<ObjectRecord | null> {
  const { rows } = await runQuery<ObjectRow>(pool, {
    name: "gateway_object_find",
    text: `
      select key, root_cid, size_bytes, headers, metadata, checksums, modified_at
        from gateway_objects where bucket_id = $1 and key = $2`,
    values: [bucketId, key],
  });
  return rows[0] === undefined ? null : recordOf(rows[0]);
}

/** The first text after every text that begins with `prefix`, by UTF-8 bytes; null where nothing comes after them. */
export function prefixEnd(prefix: string): string | null {
  const chars = Array.from(prefix, (char) => char.codePointAt(0) ?? 0);
  for (let last = chars.pop(); last !== undefined; last = chars.pop()) {
    if (last === LAST_CODE_POINT) continue;
    const next = last + 1 === FIRST_SURROGATE ? AFTER_SURROGATES : last + 1;
    return String.fromCodePoint(...chars, next);
  }
  return null;
}

const LAST_CODE_POINT = 0x10ffff;
const FIRST_SURROGATE = 0xd800;
const AFTER_SURROGATES = 0xe000;

/**
 * Objects whose keys begin with `prefix` and come after `after` (with `inclusive`, also `after` itself), by the bytes of
 * their keys; at most `limit`.
 */
export async function listObjects(
  pool: Pool,
  bucketId: string,
  page: { readonly prefix: string; readonly after: string; readonly inclusive: boolean; readonly limit: number },
): Promise<readonly ListedObject[]> {
  const { rows } = await runQuery<ObjectRow>(pool, {
    name: "gateway_object_list",
    text: `
      select key, root_cid, size_bytes, modified_at
        from gateway_objects
       where bucket_id = $1 and key >= $2 and ($3 or key <> $2) and key >= $4 and ($5::text is null or key < $5)
       order by key
       limit $6`,
    values: [bucketId, page.after, page.inclusive, page.prefix, prefixEnd(page.prefix), page.limit],
  });
  return rows.map(listedOf);
}

// Every lock of ours on a content or a key hashes a text with one of these in front, so that they never meet by design.
const CONTENT_LOCK = "fula gateway content ";
const KEY_LOCK = "fula gateway key ";

async function lockText(client: TransactionClient, text: string): Promise<void> {
  await client.query("select pg_advisory_xact_lock(hashtextextended($1, 0))", [text]);
}

/**
 * Holds contents until the transaction ends: while they are held nobody else pins, unpins, refers to them or stops to.
 * In one order everywhere, so that two transactions never wait for one another.
 */
async function lockContents(client: TransactionClient, rootCids: readonly string[]): Promise<void> {
  for (const rootCid of [...new Set(rootCids)].toSorted()) await lockText(client, `${CONTENT_LOCK}${rootCid}`);
}

/** Two requests for one key come one after the other, also where the key has no row yet that could be locked. */
async function lockKey(client: TransactionClient, bucketId: string, key: string): Promise<void> {
  await lockText(client, `${KEY_LOCK}${bucketId} ${key}`);
}

async function queueUnpin(client: TransactionClient, rootCid: string): Promise<void> {
  await client.query("insert into gateway_unpins (root_cid) values ($1) on conflict (root_cid) do nothing", [rootCid]);
}

async function readRoot(client: TransactionClient, bucketId: string, key: string): Promise<string | null> {
  const { rows } = await client.query<{ root_cid: string }>(
    "select root_cid from gateway_objects where bucket_id = $1 and key = $2",
    [bucketId, key],
  );
  return rows[0]?.root_cid ?? null;
}

/**
 * Publishes an object in one transaction: under the lock of its content, pins it, then writes the row. A replaced
 * content is queued for unpinning in the same transaction.
 * @param ensurePinned runs before the row is written; may run again where the transaction has to be repeated
 * @returns the CID that the key had before, where it was another one
 * @throws DatabaseError 23503 where the bucket was deleted meanwhile (`isBucketGone`)
 */
export async function publishObject(
  pool: Pool,
  bucketId: string,
  object: ObjectRecord,
  ensurePinned: () => Promise<void>,
): Promise<string | null> {
  return await withTransaction(pool, async (client) => {
    // Always the key first, then contents: see lockContents.
    await lockKey(client, bucketId, object.key);
    const previous = await readRoot(client, bucketId, object.key);
    await lockContents(client, previous === null ? [object.rootCid] : [previous, object.rootCid]);
    await ensurePinned();
    await client.query(
      `insert into gateway_objects (bucket_id, key, root_cid, size_bytes, headers, metadata, checksums, modified_at)
       values ($1, $2, $3, $4, $5, $6, $7, to_timestamp($8 / 1000.0))
       on conflict (bucket_id, key) do update set
         root_cid = excluded.root_cid, size_bytes = excluded.size_bytes, headers = excluded.headers,
         metadata = excluded.metadata, checksums = excluded.checksums, modified_at = excluded.modified_at`,
      [
        bucketId,
        object.key,
        object.rootCid,
        object.sizeBytes,
        JSON.stringify(object.headers),
        JSON.stringify(object.metadata),
        JSON.stringify(object.checksums),
        object.modifiedAtMs,
      ],
    );
    if (previous === null || previous === object.rootCid) return null;
    await queueUnpin(client, previous);
    return previous;
  });
}

/** Removes an object and queues its content for unpinning. @returns the content's CID; null where there was no such key */
export async function removeObject(pool: Pool, bucketId: string, key: string): Promise<string | null> {
  return await withTransaction(pool, async (client) => {
    await lockKey(client, bucketId, key);
    const rootCid = await readRoot(client, bucketId, key);
    if (rootCid === null) return null;
    await lockContents(client, [rootCid]);
    await client.query("delete from gateway_objects where bucket_id = $1 and key = $2", [bucketId, key]);
    await queueUnpin(client, rootCid);
    return rootCid;
  });
}

/**
 * Takes a content off the queue: unpins it where no object refers to it any more. Under the content's lock, so that a
 * PUT of the same bytes either has written its row, which is then seen, or waits and pins it again.
 */
export async function settleUnpin(pool: Pool, rootCid: string, unpin: () => Promise<void>): Promise<void> {
  await withTransaction(pool, async (client) => {
    await lockContents(client, [rootCid]);
    const { rows } = await client.query<{ used: boolean }>(
      "select exists (select from gateway_objects where root_cid = $1) as used",
      [rootCid],
    );
    if (rows[0]?.used === false) await unpin();
    await client.query("delete from gateway_unpins where root_cid = $1", [rootCid]);
  });
}

/** Queues a content that was pinned for an object which then could not be published. */
export async function queueUnpinOf(pool: Pool, rootCid: string): Promise<void> {
  await runQuery(pool, {
    name: "gateway_unpin_queue",
    text: "insert into gateway_unpins (root_cid) values ($1) on conflict (root_cid) do nothing",
    values: [rootCid],
  });
}

/** Contents that wait for being unpinned, oldest first. */
export async function queuedUnpins(pool: Pool, limit: number): Promise<readonly string[]> {
  const { rows } = await runQuery<{ root_cid: string }>(pool, {
    name: "gateway_unpin_list",
    text: "select root_cid from gateway_unpins order by queued_at limit $1",
    values: [limit],
  });
  return rows.map(({ root_cid: rootCid }) => rootCid);
}
