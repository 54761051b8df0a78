import type { CID } from "multiformats/cid";

/** Texts by name; names in lower case. */
export type Texts = Readonly<Record<string, string>>;

/** What is kept of an object beside its content. */
export interface ObjectEntry {
  /** Root of the content: UnixFS (dag-pb) or one raw block. */
  readonly content: CID;
  readonly sizeBytes: number;
  /** Milliseconds since the epoch. */
  readonly modifiedMs: number;
  /** Without quotes. Null where it is the content's CID, as it is unless parts were joined or MD5 is asked for. */
  readonly etag: string | null;
  /** Headers that come back as they were: `content-type`, `cache-control`, … */
  readonly headers: Texts;
  /** `x-amz-meta-*` without the prefix, values as they were (Latin-1). */
  readonly metadata: Texts;
  /** Checksums of the whole object that were verified on the way in: `crc32` → base64. */
  readonly checksums: Texts;
  /** Tags of the object, at most ten. */
  readonly tags: Texts;
  /** Sizes of the parts that it was joined from, in order; empty where it came in one piece. */
  readonly partSizes: readonly number[];
}

/** What the index tells of a key without reading its entry: all that a listing needs. */
export interface EntryRef {
  /**
   * The block that holds the entry, by a CID of codec raw: it is kept and exported as bytes, but nothing that it names
   * (the log before it) is reached through it.
   */
  readonly entry: CID;
  readonly content: CID;
  readonly sizeBytes: number;
  readonly modifiedMs: number;
  /** As in the entry. */
  readonly etag: string | null;
}

/**
 * The ETag of an object, without quotes: the content's CID where nothing else was asked for. That is not 32 hex digits, so
 * that no client takes it for an MD5.
 */
export function etagOf({ etag, content }: Pick<EntryRef, "etag" | "content">): string {
  return etag ?? content.toString();
}

/** A key and what the index tells of it. */
export interface KeyRef {
  readonly key: string;
  readonly ref: EntryRef;
}
