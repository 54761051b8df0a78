import type { BlockStore } from "../blocks/block-store.ts";
import { createCid, RAW_CODEC } from "../blocks/cid.ts";
import { makePin, type PinCluster, type PinStatus } from "../cluster/pins.ts";
import { type Clock, formatUtc } from "../kernel/clock.ts";
import { FulaError } from "../kernel/errors.ts";
import type { Random } from "../kernel/random.ts";
import { formatDuration } from "../kernel/units.ts";

/** What the check of a master's pins takes. */
export interface TestPinDeps {
  readonly blocks: BlockStore;
  readonly pins: PinCluster;
  /** Peer id of this box's own cluster peer. */
  readonly peer: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly signal: AbortSignal;
  readonly patienceMs?: number;
}

/** A block of this size is pinned within a second; a minute is for a box that is starting everything else too. */
const PATIENCE_MS = 60_000;
const POLL_MS = 250;
const BLOCK_BYTES = 64;

/** The first of the statuses that the peer has, within the patience. */
async function waitFor(
  { pins, clock, signal, peer, patienceMs = PATIENCE_MS }: TestPinDeps,
  cid: string,
  done: (status: PinStatus["peers"][number] | null) => boolean,
): Promise<PinStatus["peers"][number] | null | "late"> {
  const deadlineMs = clock.monotonicMs() + patienceMs;
  for (;;) {
    const status = (await pins.status(cid, { signal }))?.peers.find((each) => each.peer === peer) ?? null;
    if (done(status)) return status;
    if (clock.monotonicMs() >= deadlineMs) return "late";
    await clock.sleep(POLL_MS, signal);
  }
}

function unverified(cid: string, peer: string, state: string, why: string): FulaError {
  return new FulaError("FULA_JOIN_UNVERIFIED", `The test pin ${cid} is ${state} on peer ${peer}${why}.`, {
    hint: "look into the logs of the containers kubo and cluster, then run the command again.",
    details: { cid, peer, state },
  });
}

/** @throws FulaError FULA_JOIN_UNVERIFIED, and what the pinset throws */
async function pinAndWait(deps: TestPinDeps, cid: string): Promise<void> {
  const { pins, peer, clock, patienceMs = PATIENCE_MS } = deps;
  await pins.put(
    makePin(cid, formatUtc(clock.nowMs()), {
      name: "fula-master join test",
      replication_factor_min: 1,
      replication_factor_max: 1,
      user_allocations: [peer],
    }),
  );
  const status = await waitFor(
    deps,
    cid,
    (each) => each !== null && ["pinned", "pin_error", "cluster_error"].includes(each.status),
  );
  if (status === "late") throw unverified(cid, peer, `not pinned after ${formatDuration(patienceMs)}`, "");
  if (status?.status === "pinned") return;
  throw unverified(cid, peer, status?.status ?? "unknown", (status?.error ?? "") === "" ? "" : ` (${status?.error})`);
}

/** @throws FulaError FULA_JOIN_UNVERIFIED where it stays, and what the pinset throws */
async function unpinAndWait(deps: TestPinDeps, cid: string): Promise<void> {
  const { pins, peer, patienceMs = PATIENCE_MS } = deps;
  await pins.remove(cid);
  const status = await waitFor(deps, cid, (each) => each === null || each.status === "unpinned");
  if (status === "late")
    throw unverified(cid, peer, `still pinned ${formatDuration(patienceMs)} after its removal`, "");
}

/**
 * Stores a small block of random bytes, pins it on this box's own peer, waits until it is pinned, and takes both away
 * again, whatever became of it.
 * @throws FulaError FULA_JOIN_UNVERIFIED where it does not come to be pinned or unpinned, and what the stores throw
 */
export async function checkTestPin(deps: TestPinDeps): Promise<void> {
  const { blocks, random, signal } = deps;
  const bytes = random.bytes(BLOCK_BYTES);
  const cid = createCid(RAW_CODEC, bytes);
  const text = cid.toString();
  await blocks.put(cid, bytes, signal);
  try {
    try {
      await pinAndWait(deps, text);
    } catch (error) {
      // Why it was not pinned is what the operator must hear of.
      await unpinAndWait(deps, text).catch(() => {});
      throw error;
    }
    await unpinAndWait(deps, text);
  } finally {
    // What is left of it where this fails is 64 bytes that the next garbage collection takes.
    await blocks.delete(cid).catch(() => false);
  }
}
