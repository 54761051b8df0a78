import type { Chain } from "../config/chain-settings.ts";
import type { Fence } from "../postgres/fence.ts";
import type { Pool } from "../postgres/pool.ts";
import { withTransaction } from "../postgres/transaction.ts";
import { agree, type Endpoints } from "./chain-agreement.ts";
import {
  type BlockRef,
  type ChainState,
  forgetBlocksAbove,
  holdChain,
  moveMarks,
  readRememberedBlocks,
} from "./chain-state.ts";
import { markGone, readDeposits } from "./deposit-rows.ts";
import { markStep } from "./scan-walk.ts";

/** What the chain's past looks like now. */
export type PastVerdict =
  /** The newest block that was looked at and that the endpoints have is still there. */
  | { readonly kind: "unchanged" }
  /** Blocks above `ancestor` are others now; null = all that were ever looked at, which are few enough to look again. */
  | { readonly kind: "reorganised"; readonly ancestor: BlockRef | null; readonly depth: bigint }
  /** No block that is remembered is still there. */
  | { readonly kind: "too-deep"; readonly depth: bigint };

async function hashAt(endpoints: Endpoints, number: bigint): Promise<string | null> {
  return await agree(
    endpoints,
    `block ${number}`,
    async (endpoint) => (await endpoint.block(number))?.hash ?? null,
    (hash) => hash ?? "none",
  );
}

/**
 * Looks whether what was looked at is still part of the chain, and where it parted from it if not. A reorganisation is
 * believed where as many endpoints as are needed tell the same other block; a head that went down is none.
 * @throws FulaError FULA_RPC_DISAGREE, FULA_RPC_UNREACHABLE
 */
export async function judgePast(pool: Pool, endpoints: Endpoints, state: ChainState): Promise<PastVerdict> {
  const { chain, head } = endpoints;
  const newest = state.scanned;
  if (newest === null) return { kind: "unchanged" };
  const remembered = await readRememberedBlocks(pool, chain.chainId);
  const candidates = [newest, ...remembered].filter(({ number }) => number <= head);
  const [first] = candidates;
  let ancestor: BlockRef | null = null;
  for (const block of candidates) {
    const hash = await hashAt(endpoints, block.number);
    // The endpoints have agreed on a head above it, so a block that they lack is a contradiction and no reorganisation.
    if (hash === null || hash === block.hash) {
      ancestor = block;
      break;
    }
  }
  if (first === undefined || ancestor === first) return { kind: "unchanged" };
  const depth = newest.number - (ancestor?.number ?? BigInt(chain.startBlock) - 1n);
  const isBelow = depth > BigInt(chain.finalityDepth) + markStep(chain);
  if (isBelow) return { kind: "too-deep", depth };
  return { kind: "reorganised", ancestor, depth };
}

/**
 * Goes back to the ancestor: what was recorded above it and is not credited is orphaned, what is credited counts as lost
 * until it is found again, and the blocks above it are looked through again.
 * @returns records that were orphaned or lost; null where somebody else has moved the chain's marks meanwhile
 * @throws FulaError FULA_LEASE_LOST
 */
export async function goBack(
  pool: Pool,
  chain: Chain,
  fence: Fence | null,
  state: ChainState,
  ancestor: BlockRef | null,
): Promise<number | null> {
  const { chainId } = chain;
  return await withTransaction(pool, async (client) => {
    const held = await holdChain(client, chainId, fence);
    const { scanned } = held;
    if (scanned === null || scanned.hash !== state.scanned?.hash || scanned.number !== state.scanned.number)
      return null;
    const from = (ancestor?.number ?? -1n) + 1n;
    const rows = await readDeposits(client, chain, [], { from, to: scanned.number });
    await markGone(
      client,
      rows.map(({ id }) => id),
      scanned.number,
    );
    await forgetBlocksAbove(client, chainId, from - 1n);
    const { settled } = held;
    const keepsSettled = ancestor !== null && settled !== null && settled.number <= ancestor.number;
    await moveMarks(client, chainId, fence, {
      scanned: ancestor,
      settled: keepsSettled ? settled : settled && ancestor,
    });
    return rows.length;
  });
}
