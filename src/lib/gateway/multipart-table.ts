import type { Pool } from "../postgres/pool.ts";
import { runQuery } from "../postgres/run-query.ts";
import { type TransactionClient, withTransaction } from "../postgres/transaction.ts";
import {
  type CompletionPlan,
  type ListedPart,
  type ListedUpload,
  listedUploadOf,
  type NewUpload,
  PART_COLUMNS,
  type PartRecord,
  partOf,
  type PartRow,
  planOf,
  UPLOAD_COLUMNS,
  type UploadRecord,
  type UploadRow,
  uploadOf,
} from "./multipart-record.ts";

// Two requests of one owner that begin uploads count them one after the other.
const OWNER_LOCK = "fula gateway uploads of ";
/**
 * An upload whose completion began so recently is not aborted: the object may come to be at any moment. What has not
 * come to an end by then has died; a flush ends long before.
 */
const COMPLETING_MS = 600_000;

/** Puts contents that lost a part on the collector's queue. */
async function queueLost(client: TransactionClient, contents: readonly string[]): Promise<void> {
  if (contents.length === 0) return;
  await client.query(
    `insert into bucket_garbage (cid)
     select lost.cid from unnest($1::text[]) as lost (cid) order by lost.cid collate "C"
         on conflict (cid) do update set queued_at = excluded.queued_at`,
    [[...new Set(contents)]],
  );
}

/** Deletes parts and gives their contents up. */
async function dropParts(client: TransactionClient, uploadIds: readonly string[]): Promise<void> {
  const { rows } = await client.query<{ content_cid: string }>(
    "delete from multipart_parts where upload_id = any ($1) returning content_cid",
    [uploadIds],
  );
  await queueLost(
    client,
    rows.map((row) => row.content_cid),
  );
}

/** Begins an upload. @returns false where the owner has `openMax` of them already */
export async function createUpload(pool: Pool, upload: NewUpload, openMax: number): Promise<boolean> {
  const { checksum } = upload;
  return await withTransaction(pool, async (client) => {
    await client.query("select pg_advisory_xact_lock(hashtextextended($1, 0))", [`${OWNER_LOCK}${upload.ownerId}`]);
    const { rowCount } = await client.query(
      `insert into multipart_uploads
         (upload_id, owner_id, bucket, bucket_created_ms, key, headers, metadata, tags, checksum, checksum_type)
       select $1, $2, $3, $4, $5, $6, $7, $8, $9, $10
        where (select count(*) from multipart_uploads where owner_id = $2 and completed_at is null) < $11`,
      [
        upload.uploadId,
        upload.ownerId,
        upload.bucket,
        upload.bucketCreatedMs,
        upload.key,
        JSON.stringify(upload.headers),
        JSON.stringify(upload.metadata),
        JSON.stringify(upload.tags),
        checksum?.name ?? null,
        checksum?.type ?? null,
        openMax,
      ],
    );
    return rowCount === 1;
  });
}

/** An upload by its id; null where there is none. */
export async function findUpload(pool: Pool, uploadId: string): Promise<UploadRecord | null> {
  const { rows } = await runQuery<UploadRow>(pool, {
    name: "multipart_upload_find",
    text: `select ${UPLOAD_COLUMNS} from multipart_uploads where upload_id = $1`,
    values: [uploadId],
  });
  return rows[0] === undefined ? null : uploadOf(rows[0]);
}

/**
 * Looks at the deadline of a content that was kept, once its row of the collector's queue is locked: the collector cannot
 * take it before the transaction ends, and has not done so.
 */
async function isInTime(client: TransactionClient, content: string, deadlineMs: number | null): Promise<boolean> {
  if (deadlineMs === null) return true;
  await client.query("select from bucket_garbage where cid = $1 for update", [content]);
  const { rows } = await client.query<{ in_time: boolean }>(
    "select clock_timestamp() <= to_timestamp($1::float8 / 1000) as in_time",
    [deadlineMs],
  );
  return rows[0]?.in_time === true;
}

/**
 * Writes a part down, in place of an earlier one of its number. Its content, which is kept already, is referred to from
 * now on; that of the earlier one is given up.
 * @param deadlineMs until when its content may be referred to, as `Buckets.keepContent` says
 * @returns `gone` where the upload has been completed or aborted meanwhile; `late` where nothing was written down because
 *   the deadline has passed
 */
export async function putPart(
  pool: Pool,
  uploadId: string,
  part: PartRecord,
  deadlineMs: number | null,
): Promise<"put" | "gone" | "late"> {
  return await withTransaction(pool, async (client) => {
    const { rowCount } = await client.query(
      "update multipart_uploads set active_at = clock_timestamp() where upload_id = $1 and completed_at is null",
      [uploadId],
    );
    if (rowCount !== 1) return "gone";
    if (!(await isInTime(client, part.content, deadlineMs))) return "late";
    const { rows } = await client.query<{ content_cid: string }>(
      "select content_cid from multipart_parts where upload_id = $1 and part_number = $2",
      [uploadId, part.partNumber],
    );
    await client.query(
      `insert into multipart_parts (upload_id, part_number, content_cid, size_bytes, dag_bytes, etag, checksums)
       values ($1, $2, $3, $4, $5, $6, $7)
       on conflict (upload_id, part_number) do update set
         content_cid = excluded.content_cid, size_bytes = excluded.size_bytes, dag_bytes = excluded.dag_bytes,
         etag = excluded.etag, checksums = excluded.checksums, modified_at = excluded.modified_at`,
      [
        uploadId,
        part.partNumber,
        part.content,
        part.sizeBytes,
        part.dagBytes,
        part.etag,
        JSON.stringify(part.checksums),
      ],
    );
    await client.query("delete from bucket_garbage where cid = $1", [part.content]);
    await queueLost(
      client,
      rows.map((row) => row.content_cid).filter((content) => content !== part.content),
    );
    return "put";
  });
}

/** Parts of an upload by number, after this one; at most `limit`. */
export async function listParts(
  pool: Pool,
  uploadId: string,
  page: { readonly after: number; readonly limit: number },
): Promise<readonly ListedPart[]> {
  const { rows } = await runQuery<PartRow>(pool, {
    name: "multipart_part_list",
    text: `
      select ${PART_COLUMNS} from multipart_parts
       where upload_id = $1 and part_number > $2 order by part_number limit $3`,
    values: [uploadId, page.after, page.limit],
  });
  return rows.map(partOf);
}

/** Uploads of a bucket that are open, by key and id. */
export async function listUploads(
  pool: Pool,
  bucket: { readonly ownerId: string; readonly bucket: string; readonly bucketCreatedMs: number },
  page: {
    readonly prefix: string;
    /** First key after all that begin with the prefix; null where nothing comes after them. */
    readonly prefixEnd: string | null;
    /** Only uploads after this key, or of it with a greater id; from it on with an empty id. */
    readonly after: string;
    readonly afterId: string;
    readonly limit: number;
  },
): Promise<readonly ListedUpload[]> {
  const { rows } = await runQuery<UploadRow>(pool, {
    name: "multipart_upload_list",
    text: `
      select upload_id, key, created_at, checksum, checksum_type from multipart_uploads
       where owner_id = $1 and bucket = $2 and bucket_created_ms = $3 and completed_at is null
         and (key, upload_id) > ($4, $5) and key >= $6 and ($7::text is null or key < $7)
       order by key, upload_id
       limit $8`,
    values: [
      bucket.ownerId,
      bucket.bucket,
      bucket.bucketCreatedMs,
      page.after,
      page.afterId,
      page.prefix,
      page.prefixEnd,
      page.limit,
    ],
  });
  return rows.map(listedUploadOf);
}

/** Bytes that an owner's open uploads hold: no account knows of them before they are objects. */
export async function openPartBytes(pool: Pool, ownerId: string): Promise<number> {
  const { rows } = await runQuery<{ bytes: string }>(pool, {
    name: "multipart_part_bytes",
    text: `
      select coalesce(sum(p.size_bytes), 0) as bytes
        from multipart_uploads u join multipart_parts p using (upload_id)
       where u.owner_id = $1 and u.completed_at is null`,
    values: [ownerId],
  });
  return Number(rows[0]?.bytes ?? 0);
}

/**
 * Writes down what completing the upload makes of it, before it is made. Whoever does the same again gets the plan that
 * is there, so that both make the very same object.
 * @returns null where the upload is completed or gone
 */
export async function planCompletion(
  pool: Pool,
  uploadId: string,
  plan: CompletionPlan,
): Promise<CompletionPlan | null> {
  const { rows } = await runQuery<{ plan: unknown }>(pool, {
    name: "multipart_plan",
    text: `
      update multipart_uploads
         set active_at = clock_timestamp(),
             plan = case when plan is not null and plan - 'modifiedMs' = $2::jsonb - 'modifiedMs' then plan
                         else $2::jsonb end
       where upload_id = $1 and completed_at is null
      returning plan`,
    values: [uploadId, JSON.stringify(plan)],
  });
  return rows[0] === undefined ? null : planOf(rows[0].plan);
}

/** Takes a plan back whose object was refused: the upload is open again. */
export async function dropPlan(pool: Pool, uploadId: string, plan: CompletionPlan): Promise<void> {
  await runQuery(pool, {
    name: "multipart_plan_drop",
    text: `
      update multipart_uploads set plan = null
       where upload_id = $1 and plan = $2::jsonb and completed_at is null`,
    values: [uploadId, JSON.stringify(plan)],
  });
}

/** Notes that the object is there, and gives up the parts: what the object needs of them is reached through it. */
export async function finishUpload(pool: Pool, uploadId: string, plan: CompletionPlan): Promise<void> {
  await withTransaction(pool, async (client) => {
    const { rowCount } = await client.query(
      `update multipart_uploads set completed_at = clock_timestamp(), active_at = clock_timestamp(), plan = $2
        where upload_id = $1 and completed_at is null`,
      [uploadId, JSON.stringify(plan)],
    );
    if (rowCount === 1) await dropParts(client, [uploadId]);
  });
}

/** Removes an upload with its parts. @returns `completing` where somebody may be about to make the object of it */
export async function abortUpload(pool: Pool, uploadId: string): Promise<"aborted" | "completing" | "absent"> {
  return await withTransaction(pool, async (client) => {
    const { rows } = await client.query<{ is_completing: boolean }>(
      `select plan is not null and active_at > clock_timestamp() - $2 * interval '1 millisecond' as is_completing
         from multipart_uploads where upload_id = $1 and completed_at is null for update`,
      [uploadId, COMPLETING_MS],
    );
    if (rows[0] === undefined) return "absent";
    if (rows[0].is_completing) return "completing";
    await dropParts(client, [uploadId]);
    await client.query("delete from multipart_uploads where upload_id = $1", [uploadId]);
    return "aborted";
  });
}

/** Removes uploads with which nobody has done anything for so long, at most `limit`. @returns how many it were */
export async function expireUploads(
  pool: Pool,
  { idleMs, limit }: { readonly idleMs: number; readonly limit: number },
): Promise<number> {
  return await withTransaction(pool, async (client) => {
    const { rows } = await client.query<{ upload_id: string }>(
      `select upload_id from multipart_uploads where active_at < clock_timestamp() - $1 * interval '1 millisecond'
        order by active_at limit $2 for update skip locked`,
      [idleMs, limit],
    );
    const uploadIds = rows.map((row) => row.upload_id);
    if (uploadIds.length === 0) return 0;
    await dropParts(client, uploadIds);
    await client.query("delete from multipart_uploads where upload_id = any ($1)", [uploadIds]);
    return uploadIds.length;
  });
}
