import { decode as decodePb } from "@ipld/dag-pb";
import { UnixFS } from "ipfs-unixfs";
import { BadPathError, NotFoundError, type ResolveResult, resolvers } from "ipfs-unixfs-exporter";
import type { CID } from "multiformats/cid";
import { DAG_PB_CODEC } from "../../blocks/cid.ts";
import { messageOf } from "../../kernel/errors.ts";
import { S3Error } from "../s3-error.ts";
import { isInline, notHere } from "./own-blocks.ts";

/** Where a path leads. */
export interface FollowedPath {
  /** Blocks that show it, in the order in which they are met, without the one at the end. */
  readonly way: readonly CID[];
  /** The root, and what each segment names. */
  readonly roots: readonly CID[];
  readonly terminus: CID;
}

/** Every segment of a path through sharded directories may need a few; more are a chain that somebody made on purpose. */
const BLOCKS_MAX = 512;
/** What directories are sharded by, everywhere: 256; and a limit to what anybody could want. */
const FANOUT_MAX = 1_024n;

/** Refuses a directory whose shards nobody can have meant: the width of its table is taken from what it says. */
function assertSaneShard(cid: CID, bytes: Uint8Array): void {
  if (cid.code !== DAG_PB_CODEC) return;
  const { Data: data } = decodePb(bytes);
  if (data === undefined) return;
  const { type, fanout = 0n } = UnixFS.unmarshal(data);
  if (type !== "hamt-sharded-directory") return;
  const isPowerOfTwo = fanout > 0n && (fanout & (fanout - 1n)) === 0n;
  if (!isPowerOfTwo || fanout < 8n || fanout > FANOUT_MAX) throw new Error(`its directory has ${fanout} shards`);
}

async function nextStep(
  cid: CID,
  segments: readonly string[],
  read: (cid: CID) => Promise<Uint8Array>,
): Promise<ResolveResult | null> {
  const resolve = resolvers[cid.code];
  if (resolve === undefined) {
    throw new S3Error("InvalidRequest", `No path leads through a block of codec 0x${cid.code.toString(16)}.`);
  }
  const source = {
    get: async function* (asked: CID): AsyncGenerator<Uint8Array> {
      const bytes = await read(asked);
      assertSaneShard(asked, bytes);
      yield bytes;
    },
  };
  for await (const step of resolve(cid, [...segments], source)) return step;
  return null;
}

function explain(error: unknown, cid: CID, [segment = ""]: readonly string[]): unknown {
  if (error instanceof S3Error) return error;
  if (error instanceof NotFoundError || error instanceof BadPathError) return noSuchName(cid, segment);
  // The bytes are what their CID says, so whoever stored them wrote them like this.
  return notHere(`No path leads through block ${cid.toString()}: ${messageOf(error)}.`);
}

function noSuchName(cid: CID, segment: string): S3Error {
  return notHere(`${cid.toString()} names nothing as ${JSON.stringify(segment)}.`);
}

/**
 * Follows a path through directories, sharded ones too, and through the links of dag-pb and dag-cbor.
 * @throws S3Error NoSuchContent where it leads nowhere or a block is missing, InvalidRequest where nobody could follow it
 */
export async function followPath(
  root: CID,
  segments: readonly string[],
  read: (cid: CID) => Promise<Uint8Array>,
): Promise<FollowedPath> {
  const met: CID[] = [];
  const noted = async (cid: CID): Promise<Uint8Array> => {
    if (met.length >= BLOCKS_MAX)
      throw new S3Error("InvalidRequest", `The path leads through over ${BLOCKS_MAX} blocks.`);
    if (!isInline(cid)) met.push(cid);
    return await read(cid);
  };
  const roots = [root];
  let [cid, left] = [root, segments];
  while (left.length > 0) {
    let step: ResolveResult | null;
    try {
      step = await nextStep(cid, left, noted);
    } catch (error) {
      throw explain(error, cid, left);
    }
    // A file, and a document that has a value of this name, are where the path ends: nothing lies below them.
    if (step === null || step.cid.equals(cid)) throw noSuchName(cid, left[0] ?? "");
    [cid, left] = [step.cid, step.rest];
    roots.push(cid);
  }
  return { way: met, roots, terminus: cid };
}
