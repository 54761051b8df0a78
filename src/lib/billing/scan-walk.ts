import type { Chain } from "../config/chain-settings.ts";
import { assert } from "../kernel/assert.ts";
import { FulaError, messageOf } from "../kernel/errors.ts";
import type { Fence } from "../postgres/fence.ts";
import type { Pool } from "../postgres/pool.ts";
import { withTransaction } from "../postgres/transaction.ts";
import { agree, type Endpoints } from "./chain-agreement.ts";
import { type BlockRef, type ChainState, holdChain, moveMarks, openChainState, rememberBlocks } from "./chain-state.ts";
import { readWindow, windowDigest, type WindowReading } from "./chain-window.ts";
import { type Finding, recordTransfers, type Recorded } from "./deposit-record.ts";
import { RpcError } from "./rpc.ts";

/** What walking over a chain's blocks needs. */
export interface Walk {
  readonly pool: Pool;
  readonly fence: Fence | null;
  readonly chain: Chain;
  readonly endpoints: Endpoints;
  /** The newest block that was looked at when this look began. */
  readonly seenBefore: BlockRef | null;
  readonly minUnits: bigint;
  readonly signal: AbortSignal;
  readonly count: (recorded: Recorded) => void;
}

/** How far a walk came. `fork`: the chain is not the one that was looked at; `elsewhere`: somebody else moved its marks. */
export interface Reached {
  readonly kind: "done" | "fork" | "elsewhere";
  readonly state: ChainState;
}

// Most endpoints take 10,000 blocks a question; those that take fewer are asked for less by the reader of each window.
const WINDOW_BLOCKS = 10_000n;
/** Hashes that are remembered of the blocks that a reorganisation may reach. */
const MARKS_MAX = 64;

function isSameRef(a: BlockRef | null, b: BlockRef | null): boolean {
  return a?.number === b?.number && a?.hash === b?.hash;
}

function smaller(a: bigint, b: bigint): bigint {
  return a < b ? a : b;
}

function firstUnsettled({ chain }: Walk, { settled }: ChainState): bigint {
  const start = BigInt(chain.startBlock);
  return settled === null || settled.number + 1n < start ? start : settled.number + 1n;
}

function parentHashOf(from: bigint, block: BlockRef | null): string | null {
  return block !== null && block.number === from - 1n ? block.hash : null;
}

/** The newest block that has as many confirmations as are asked for. */
function safeBlock({ chain, endpoints }: Walk): bigint {
  return endpoints.head - BigInt(chain.confirmations);
}

/**
 * Writes down what was read together with the marks up to which it was read; or nothing of it, where somebody else has moved
 * them since they were read.
 */
async function writeDown(
  walk: Walk,
  before: ChainState,
  after: ChainState,
  finding: Omit<Finding, "head" | "source" | "minUnits">,
  marks: readonly BlockRef[],
): Promise<Reached> {
  const { pool, chain, fence, endpoints, minUnits } = walk;
  const recorded = await withTransaction(pool, async (client) => {
    const held = await holdChain(client, chain.chainId, fence);
    if (!isSameRef(held.settled, before.settled) || !isSameRef(held.scanned, before.scanned)) return null;
    const done = await recordTransfers(client, chain, { ...finding, head: endpoints.head, source: "cron", minUnits });
    await rememberBlocks(client, chain.chainId, marks, lowestMark(chain, endpoints.head));
    await moveMarks(client, chain.chainId, fence, after);
    return done;
  });
  if (recorded === null) return { kind: "elsewhere", state: before };
  walk.count(recorded);
  return { kind: "done", state: after };
}

async function readAgreed(walk: Walk, from: bigint, to: bigint, parentHash: string | null): Promise<WindowReading> {
  const { chain, endpoints } = walk;
  assert(chain.vault !== null, "a chain without a vault is off");
  const filter = { token: chain.token, vault: chain.vault };
  const range = { from, to, parentHash, marks: [], isAlone: endpoints.needed === 1 };
  return await agree(
    endpoints,
    `blocks ${from} to ${to}`,
    async (endpoint) => await readWindow(endpoint, filter, range),
    windowDigest,
  );
}

/**
 * Settles everything that is deep enough, window by window.
 * @param onWindow called after each window that was written down, with deposits that can be credited
 * @throws FulaError FULA_RPC_DISAGREE, FULA_RPC_UNREACHABLE, FULA_LEASE_LOST; the signal's reason
 */
export async function settleAll(walk: Walk, state: ChainState, onWindow: () => Promise<void>): Promise<Reached> {
  const safe = safeBlock(walk);
  let reached: Reached = { kind: "done", state };
  for (let from = firstUnsettled(walk, state); from <= safe; from = firstUnsettled(walk, reached.state)) {
    walk.signal.throwIfAborted();
    const to = smaller(from + WINDOW_BLOCKS - 1n, safe);
    const { settled, scanned } = reached.state;
    const reading = await readAgreed(walk, from, to, parentHashOf(from, settled));
    if (reading.kind === "fork") return { ...reached, kind: "fork" };
    // The first look has nothing above what it settles; the mark by which the past is judged goes along with it.
    const after = {
      ...reached.state,
      settled: reading.to,
      scanned: scanned !== null && scanned.number > to ? scanned : reading.to,
    };
    const { transfers } = reading;
    const finding = { transfers, depth: "settled" as const, blocks: { from, to } };
    const remembered = to >= lowestMark(walk.chain, walk.endpoints.head) ? [reading.to] : [];
    reached = await writeDown(walk, reached.state, after, finding, remembered);
    if (reached.kind !== "done") return reached;
    if (transfers.length > 0) await onWindow();
  }
  return reached;
}

/** Every so many blocks one is remembered. */
export function markStep({ finalityDepth }: Chain): bigint {
  return BigInt(finalityDepth) / BigInt(MARKS_MAX) + 1n;
}

/** The lowest block that is remembered: one below the deepest that a reorganisation may reach. */
function lowestMark(chain: Chain, head: bigint): bigint {
  return head - BigInt(chain.finalityDepth) - markStep(chain);
}

/** Numbers of the blocks whose hashes are remembered, above what is remembered already. */
function markNumbers({ chain, endpoints, seenBefore }: Walk): readonly bigint[] {
  const step = markStep(chain);
  const lowest = lowestMark(chain, endpoints.head);
  const start = seenBefore === null || seenBefore.number < lowest ? lowest : seenBefore.number + 1n;
  const first = start < 0n ? 0n : start;
  const numbers: bigint[] = [];
  for (let number = first + ((step - (first % step)) % step); number < endpoints.head; number += step)
    numbers.push(number);
  return numbers;
}

/**
 * Records what the newest blocks hold, which may still change: nothing of it is credited. One endpoint is enough for it.
 * @throws FulaError FULA_RPC_UNREACHABLE where no endpoint tells, FULA_LEASE_LOST; the signal's reason
 */
export async function lookAtNewest(walk: Walk, state: ChainState): Promise<Reached> {
  const { chain, endpoints } = walk;
  const to = endpoints.head;
  const from = firstUnsettled(walk, state);
  // An endpoint that is behind what was seen already tells nothing new.
  if (from > to || (state.scanned !== null && to < state.scanned.number)) return { kind: "done", state };
  assert(chain.vault !== null, "a chain without a vault is off");
  const filter = { token: chain.token, vault: chain.vault };
  const range = { from, to, parentHash: parentHashOf(from, state.settled), marks: markNumbers(walk), isAlone: false };
  const problems: string[] = [];
  for (const endpoint of endpoints.usable) {
    walk.signal.throwIfAborted();
    try {
      const reading = await readWindow(endpoint, filter, range);
      if (reading.kind === "fork") return { kind: "fork", state };
      const finding = { transfers: reading.transfers, depth: "fresh" as const, blocks: { from, to } };
      return await writeDown(walk, state, { ...state, scanned: reading.to }, finding, [...reading.marks, reading.to]);
    } catch (error) {
      if (!(error instanceof RpcError)) throw error;
      problems.push(messageOf(error));
    }
  }
  throw new FulaError(
    "FULA_RPC_UNREACHABLE",
    `No endpoint tells the newest blocks of ${chain.name}: ${problems.join("; ")}.`,
    {
      hint: "what is in them is found by a later look.",
      details: { chainId: chain.chainId },
    },
  );
}

/** Attempts at one range while somebody else goes on moving the marks. */
const REREADS_MAX = 10;

/**
 * Reads what is settled once more and writes down what is not there. The marks stay; where somebody else moves them
 * meanwhile, the range is read again under the new ones.
 * @param range from which block, and up to which; null = to the end of what is settled
 * @returns `elsewhere` where not all of it was written down
 * @throws FulaError FULA_RPC_DISAGREE, FULA_RPC_UNREACHABLE, FULA_LEASE_LOST; the signal's reason
 */
export async function rereadSettled(
  walk: Walk,
  state: ChainState,
  range: { readonly from: bigint; readonly to: bigint | null },
): Promise<"done" | "elsewhere"> {
  const { pool, chain, fence, signal } = walk;
  const settled = state.settled?.number ?? -1n;
  const last = range.to === null ? settled : smaller(range.to, settled);
  let known = state;
  let attempts = 0;
  for (let from = range.from; from <= last; ) {
    signal.throwIfAborted();
    const to = smaller(from + WINDOW_BLOCKS - 1n, last);
    const reading = await readAgreed(walk, from, to, null);
    assert(reading.kind === "read", "a range without a known parent is no fork");
    const { transfers } = reading;
    const { kind } = await writeDown(walk, known, known, { transfers, depth: "settled", blocks: { from, to } }, []);
    if (kind === "done") {
      from = to + 1n;
      attempts = 0;
      continue;
    }
    known = await openChainState(pool, chain, fence);
    attempts += 1;
    const isLower = known.settled === null || known.settled.number < to;
    if (isLower || known.haltedBecause !== null || attempts === REREADS_MAX) return "elsewhere";
  }
  return "done";
}
