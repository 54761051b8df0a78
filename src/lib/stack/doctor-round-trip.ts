import type { BlockStore } from "../blocks/block-store.ts";
import { createCid, RAW_CODEC } from "../blocks/cid.ts";
import { makePin, type PinCluster } from "../cluster/pins.ts";
import { type Clock, formatUtc } from "../kernel/clock.ts";
import { FulaError } from "../kernel/errors.ts";
import type { Random } from "../kernel/random.ts";
import { formatDuration } from "../kernel/units.ts";

/** What a round trip needs. */
export interface RoundTripDeps {
  readonly blocks: BlockStore;
  readonly pins: PinCluster;
  readonly clock: Clock;
  readonly random: Random;
}

const BLOCK_BYTES = 64;
const POLL_MS = 100;

async function selfOf(pins: PinCluster, signal: AbortSignal): Promise<string> {
  const self = (await pins.peers(signal)).find(({ isSelf }) => isSelf);
  if (self !== undefined) return self.id;
  throw new FulaError("FULA_CLUSTER_UNREADABLE", "The cluster does not tell which of its peers is this box's own.", {
    hint: "look into the log of ipfs-cluster-service.",
  });
}

async function waitUntilPinned(
  cid: string,
  peer: string,
  { pins, clock }: RoundTripDeps,
  signal: AbortSignal,
): Promise<void> {
  for (;;) {
    const status = await pins.status(cid, { signal });
    const own = status?.peers.find((each) => each.peer === peer);
    if (own?.status === "pinned") return;
    if (own !== undefined && own.error !== "") {
      throw new FulaError("FULA_PIN_REFUSED", `This box's own peer does not pin ${cid}: ${own.error}.`, {
        hint: "look into the logs of ipfs-cluster-service and Kubo.",
      });
    }
    await clock.sleep(POLL_MS, signal);
  }
}

/** Takes a pin away and waits until this box's own peer has let go of it. */
async function unpin(cid: string, peer: string, { pins, clock }: RoundTripDeps, signal: AbortSignal): Promise<void> {
  await pins.remove(cid);
  for (;;) {
    const own = (await pins.status(cid, { signal }))?.peers.find((each) => each.peer === peer);
    if (own === undefined || own.status === "unpinned") return;
    await clock.sleep(POLL_MS, signal);
  }
}

/**
 * Stores a small block of random bytes, has this box's own peer pin it, reads it back, and takes both away again.
 * @returns what was done, in words
 * @throws FulaError of the step that did not work
 */
export async function roundTrip(deps: RoundTripDeps, signal: AbortSignal): Promise<string> {
  const { blocks, pins, clock, random } = deps;
  const startMs = clock.monotonicMs();
  const bytes = random.bytes(BLOCK_BYTES);
  const cid = createCid(RAW_CODEC, bytes);
  const text = cid.toString();
  const self = await selfOf(pins, signal);
  await blocks.put(cid, bytes, signal);
  try {
    try {
      await pins.put(
        makePin(text, formatUtc(clock.nowMs()), {
          name: "fula-master doctor",
          replication_factor_min: 1,
          replication_factor_max: 1,
          user_allocations: [self],
        }),
      );
      await waitUntilPinned(text, self, deps, signal);
      await blocks.get(cid, signal);
    } catch (error) {
      // A put whose answer was lost may have made the pin. What went wrong first is what the operator must hear of.
      await pins.remove(text).catch(() => {});
      throw error;
    }
    await unpin(text, self, deps, signal);
  } finally {
    // What is left of it where this fails is 64 bytes that the next garbage collection takes.
    await blocks.delete(cid).catch(() => {});
  }
  return `stored, pinned, read back and removed ${text} in ${formatDuration(clock.monotonicMs() - startMs)}`;
}
