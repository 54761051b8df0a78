import { CID } from "multiformats/cid";
import { create as createMultihash } from "multiformats/hashes/digest";
import { createHash } from "node:crypto";
import type { BlockStore } from "../blocks/block-store.ts";
import { RAW_CODEC, SHA2_256 } from "../blocks/cid.ts";
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

/**
 * Stores a small block of random bytes, pins it on this box's own peer, waits until it is pinned, and takes both away
 * again, whatever became of it.
 * @throws FulaError FULA_JOIN_UNVERIFIED where it does not come to be pinned, and what the stores throw
 */
export async function checkTestPin(deps: TestPinDeps): Promise<void> {
  const { blocks, pins, peer, clock, random, signal, patienceMs = PATIENCE_MS } = deps;
  const bytes = random.bytes(BLOCK_BYTES);
  const cid = CID.createV1(RAW_CODEC, createMultihash(SHA2_256, createHash("sha256").update(bytes).digest()));
  const text = cid.toString();
  await blocks.put(cid, bytes, signal);
  try {
    await pins.put(
      makePin(text, formatUtc(clock.nowMs()), {
        name: "fula-master join test",
        replication_factor_min: 1,
        replication_factor_max: 1,
        user_allocations: [peer],
      }),
    );
    const status = await waitFor(
      deps,
      text,
      (each) => each !== null && ["pinned", "pin_error", "cluster_error"].includes(each.status),
    );
    if (status === "late" || status?.status !== "pinned") {
      const state =
        status === "late" ? `not pinned after ${formatDuration(patienceMs)}` : (status?.status ?? "unknown");
      const why = status !== "late" && status !== null && status.error !== "" ? ` (${status.error})` : "";
      throw new FulaError("FULA_JOIN_UNVERIFIED", `The test pin ${text} is ${state} on peer ${peer}${why}.`, {
        hint: "look into the logs of the containers kubo and cluster, then run the command again.",
        details: { cid: text, peer, state },
      });
    }
  } finally {
    await pins.remove(text).catch(() => false);
    await waitFor(deps, text, (each) => each === null || each.status === "unpinned").catch(() => null);
    await blocks.delete(cid).catch(() => false);
  }
}
