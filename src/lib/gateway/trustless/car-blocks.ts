import type { CID } from "multiformats/cid";
import { blockLinks } from "../../blocks/dag.ts";
import { dagBlocks, type NamedBlock } from "../../blocks/dag-blocks.ts";
import { VisitedSet } from "../../blocks/visited-set.ts";
import { S3Error } from "../s3-error.ts";
import type { DagScope, EntityBytes } from "./content-request.ts";
import { childrenWithin, entityLinks, fileSizeOf, type FileRange, type PlacedBlock } from "./entity.ts";
import { isInline } from "./own-blocks.ts";

/** What of a content goes into a CAR file. */
export interface CarPlan {
  /** Blocks that show the path, without its end. */
  readonly way: readonly CID[];
  /** What the path ends at. */
  readonly terminus: NamedBlock;
  readonly scope: DagScope;
  /** Null for all of the entity. */
  readonly range: FileRange | null;
  /** True where a block that occurs twice is sent twice. */
  readonly dups: boolean;
  readonly read: (cid: CID) => Promise<Uint8Array>;
  /** Looks at what is about to be sent. @throws S3Error Gone where one of them must not be */
  readonly refuseBlocked: (cids: readonly CID[]) => Promise<void>;
}

/** So many blocks of one CAR file are remembered in memory, about 3 MB; those of a larger one in a temporary file. */
const REMEMBERED_MAX = 20_000;

/**
 * The bytes of a file that are meant; null where none are, and `dag-scope` must be `block` then.
 * @throws S3Error InvalidRange where they all lie behind its end
 */
function fileRange({ from, to }: EntityBytes, sizeBytes: bigint): FileRange | null {
  const absolute = (at: bigint): bigint => (at < 0n ? sizeBytes + at : at);
  const first = absolute(from) < 0n ? 0n : absolute(from);
  const end = to === null ? sizeBytes - 1n : absolute(to);
  const last = end < sizeBytes ? end : sizeBytes - 1n;
  if (first >= sizeBytes && sizeBytes > 0n) {
    throw new S3Error("InvalidRequest", `The file has ${sizeBytes} bytes; entity-bytes begins at ${first}.`);
  }
  return first > last ? null : { from: first, to: last };
}

/** What of a terminus is sent, once its block is known. @throws S3Error InvalidRequest */
export function planScope(
  scope: DagScope,
  bytes: EntityBytes | null,
  terminus: NamedBlock,
): Pick<CarPlan, "scope" | "range"> {
  const size = bytes === null ? null : fileSizeOf(terminus);
  if (bytes === null || size === null) return { scope, range: null };
  const range = fileRange(bytes, size);
  return range === null ? { scope: "block", range: null } : { scope: "entity", range };
}

/** Blocks of a file that hold bytes of a range, depth first. */
async function* rangeBlocks(
  terminus: NamedBlock,
  range: FileRange,
  { read, wants, refuseBlocked }: Pick<CarPlan, "read" | "refuseBlocked"> & { readonly wants: (cid: CID) => boolean },
): AsyncGenerator<NamedBlock> {
  // Of a block at an edge of the range it depends on where it stands what of it is sent: it is looked into wherever it
  // does, of which there are two places a level. All below one that lies within the range was sent with it.
  const atEdge = new Set<string>();
  const open: PlacedBlock[][] = [[...childrenWithin(terminus, 0n, range)].toReversed()];
  while (open.length > 0) {
    const placed = open.at(-1)?.pop();
    if (placed === undefined) {
      open.pop();
      continue;
    }
    const { cid, from, sizeBytes } = placed;
    const isWithin = from >= range.from && from + sizeBytes - 1n <= range.to;
    const isWanted = wants(cid);
    if (isWithin && !isWanted && !atEdge.delete(cid.toString())) continue;
    if (!isWithin && isWanted) atEdge.add(cid.toString());
    await refuseBlocked([cid]);
    const block = { cid, bytes: await read(cid) };
    if (isWanted) yield block;
    const children = childrenWithin(block, from, range);
    if (children.length > 0) open.push([...children].toReversed());
  }
}

/** What the blocks of an answer name that is to be sent with them. */
export function linksWithin(scope: DagScope, terminus: NamedBlock): (cid: CID, bytes: Uint8Array) => readonly CID[] {
  if (scope === "block") return () => [];
  if (scope === "all") return blockLinks;
  const links = entityLinks(terminus);
  return (cid, bytes) => links({ cid, bytes });
}

async function* planned(
  { way, terminus, scope, range, read, refuseBlocked }: CarPlan,
  wants: (cid: CID) => boolean,
): AsyncGenerator<NamedBlock> {
  for (const cid of way) if (wants(cid)) yield { cid, bytes: await read(cid) };
  if (scope === "block" || range !== null) {
    if (wants(terminus.cid)) yield terminus;
    if (range !== null) yield* rangeBlocks(terminus, range, { read, wants, refuseBlocked });
    return;
  }
  const linksOf = linksWithin(scope, terminus);
  const readAllowed = async (cid: CID): Promise<Uint8Array> => {
    const bytes = await read(cid);
    await refuseBlocked(linksOf(cid, bytes));
    return bytes;
  };
  yield* dagBlocks(terminus.cid, { read: readAllowed, wants, linksOf });
}

/**
 * The blocks of a CAR file, depth first, each before what it names.
 * @throws S3Error NoSuchContent where one is missing, Gone where one was blocked; FulaError FULA_DAG_UNREADABLE
 */
export async function* carBlocks(plan: CarPlan): AsyncGenerator<NamedBlock> {
  if (plan.dups) {
    for await (const block of planned(plan, () => true)) if (!isInline(block.cid)) yield block;
    return;
  }
  using sent = new VisitedSet(REMEMBERED_MAX);
  for await (const block of planned(plan, (cid) => sent.add(cid.bytes))) if (!isInline(block.cid)) yield block;
}
