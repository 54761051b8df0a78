import type { BlockRef } from "./chain-state.ts";
import { digestOf, type Transfer, type TransferFilter } from "./chain-transfers.ts";
import { type Block, type RpcEndpoint, RpcError } from "./rpc.ts";

/** What one endpoint says of a range of blocks. */
export type WindowReading =
  | {
      readonly kind: "read";
      readonly transfers: readonly Transfer[];
      /** The last block of the range. */
      readonly to: BlockRef;
      /** The blocks that were asked for beside it. */
      readonly marks: readonly BlockRef[];
    }
  /** The block before the range is not the one that was looked at: the chain was reorganised below it. */
  | { readonly kind: "fork" };

/** Which blocks are read. */
export interface WindowRange {
  readonly from: bigint;
  readonly to: bigint;
  /** Hash of the block before `from`; null where none is known. */
  readonly parentHash: string | null;
  /** Further blocks whose hashes are wanted. */
  readonly marks: readonly bigint[];
  /** True where no other endpoint is asked for the same. */
  readonly isAlone: boolean;
}

/** Readings of a range that changes while it is read; after so many it is left for the next look. */
const ATTEMPTS = 3;
/** Blocks that are asked for at the same time. */
const BLOCKS_AT_ONCE = 8;

async function blockOf(endpoint: RpcEndpoint, number: bigint): Promise<Block> {
  const block = await endpoint.block(number);
  // Behind one address stand many nodes: an empty answer of one that has no such block yet would mean nothing.
  if (block === null) throw new RpcError(`${endpoint.label} has no block ${number}`, false);
  return block;
}

async function blocksOf(endpoint: RpcEndpoint, numbers: readonly bigint[]): Promise<readonly Block[]> {
  const blocks: Block[] = [];
  for (let start = 0; start < numbers.length; start += BLOCKS_AT_ONCE) {
    const some = numbers.slice(start, start + BLOCKS_AT_ONCE);
    blocks.push(...(await Promise.all(some.map(async (number) => await blockOf(endpoint, number)))));
  }
  return blocks;
}

/**
 * Holds transfers to their blocks, of which some are asked for: whatever came without a time gets its block's.
 * @param isAlone asks for every block, since no other endpoint is asked whether it is part of the chain
 * @throws RpcError where a block is another one, or there is none
 */
async function withBlocks(
  endpoint: RpcEndpoint,
  transfers: readonly Transfer[],
  isAlone: boolean,
): Promise<readonly Transfer[]> {
  const asked = transfers.filter(({ timestamp }) => isAlone || timestamp === null);
  const read = await blocksOf(endpoint, [...new Set(asked.map(({ blockNumber }) => blockNumber))]);
  const blocks = new Map(read.map((block) => [block.number, block]));
  return transfers.map((transfer) => {
    const block = blocks.get(transfer.blockNumber);
    if (block !== undefined && block.hash !== transfer.blockHash)
      throw new RpcError(`${endpoint.label} has logs of another block ${block.number} than the chain's`, false);
    return { ...transfer, timestamp: transfer.timestamp ?? block?.timestamp ?? null };
  });
}

/**
 * Reads a range from one endpoint. The last block is asked for before and after, so that everything between belongs to one
 * chain, and that chain to what was looked at before.
 * @throws RpcError where the endpoint lacks a block, or its chain does not hold still
 */
export async function readWindow(
  endpoint: RpcEndpoint,
  filter: TransferFilter,
  { from, to, parentHash, marks, isAlone }: WindowRange,
): Promise<WindowReading> {
  for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
    const [before, first] = await Promise.all([
      blockOf(endpoint, to),
      parentHash === null ? null : blockOf(endpoint, from),
    ]);
    if (first !== null && first.parentHash !== parentHash) return { kind: "fork" };
    const transfers = await withBlocks(endpoint, await endpoint.transfers(filter, from, to), isAlone);
    const marked = (await blocksOf(endpoint, marks)).map(({ number, hash }) => ({ number, hash }));
    const after = await blockOf(endpoint, to);
    if (after.hash === before.hash)
      return { kind: "read", transfers, to: { number: to, hash: after.hash }, marks: marked };
  }
  throw new RpcError(`${endpoint.label} changes blocks up to ${to} while they are read`, false);
}

/** What endpoints must agree on. */
export function windowDigest(reading: WindowReading): string {
  return reading.kind === "fork" ? "fork" : `${reading.to.hash} ${digestOf(reading.transfers)}`;
}
