import type { CID } from "multiformats/cid";
import type { BlockStore } from "../blocks/block-store.ts";
import { isFulaError } from "../kernel/errors.ts";
import { S3Error } from "./s3-error.ts";
import { readContent } from "./unixfs.ts";

/** Reads all of a content, so that our node has every block of it afterwards: what it lacks it gets from other peers. */
async function fetchContent(content: CID, sizeBytes: number, blocks: Pick<BlockStore, "get">): Promise<void> {
  let left = sizeBytes;
  for await (const piece of readContent(content, { start: 0, end: sizeBytes - 1 }, blocks)) left -= piece.byteLength;
  if (left !== 0) throw new Error(`${content.toString()} has another size than ${sizeBytes} bytes`);
}

function isMissing(error: unknown): boolean {
  return isFulaError(error instanceof S3Error ? error.cause : error, "FULA_BLOCK_MISSING");
}

/**
 * Runs `keep`, which keeps a content that was stored earlier and maybe by another master, whose node alone has its
 * blocks as yet: then they are fetched, and `keep` runs once more.
 * @throws S3Error ServiceUnavailable where the blocks cannot be had at the moment
 */
export async function keepFetched<T>(
  { content, sizeBytes }: { readonly content: CID; readonly sizeBytes: number },
  blocks: Pick<BlockStore, "get">,
  keep: () => Promise<T>,
): Promise<T> {
  try {
    return await keep();
  } catch (error) {
    if (!isMissing(error)) throw error;
  }
  try {
    await fetchContent(content, sizeBytes, blocks);
    return await keep();
  } catch (error) {
    if (error instanceof S3Error || !isMissing(error)) throw error;
    throw new S3Error("ServiceUnavailable", "Not all of the content can be reached at the moment; please try again.", {
      headers: { "retry-after": "1" },
      cause: error,
    });
  }
}
