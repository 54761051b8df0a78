import { createCid, RAW_CODEC } from "../blocks/cid.ts";
import { makePin, type Pin } from "../cluster/pins.ts";
import { formatUtc } from "../kernel/clock.ts";
import { type DrillScene, expectThat } from "./drill.ts";
import type { DrillStores } from "./drill-stores.ts";

/** A pin that a killed drill leaves, and that no later one clears away, ends by itself. */
const LIFE_MS = 24 * 3_600_000;
const BLOCK_BYTES = 64;
const POLL_MS = 500;

/** A pin of the drill's own, and the block that it is of. */
export interface DrillPin {
  readonly cid: string;
  readonly bytes: Uint8Array;
  readonly pin: Pin;
}

/**
 * Thinks up pins of random content with names and options that want care, and notes them. Makes nothing yet.
 * @param copies peers that must hold each; 1 where the drill is not about copies
 */
export async function inventPins(scene: DrillScene, count: number, copies = 1): Promise<readonly DrillPin[]> {
  const nowMs = scene.clock.nowMs();
  const pins = Array.from({ length: count }, (_, number) => {
    const bytes = scene.random.bytes(BLOCK_BYTES);
    const cid = createCid(RAW_CODEC, bytes).toString();
    const pin = makePin(cid, formatUtc(nowMs), {
      name: `fula-master drill ${scene.runId} #${number} & "ü" + 100%`,
      mode: number % 2 === 0 ? "recursive" : "direct",
      replication_factor_min: copies,
      replication_factor_max: copies,
      expire_at: formatUtc(nowMs + LIFE_MS + number * 1_000),
      metadata: { drill: scene.runId, number: String(number), empty: "" },
    });
    return { cid, bytes, pin };
  });
  await scene.belongings.notePins(pins.map(({ cid }) => cid));
  return pins;
}

/** True when as many peers as the pin asks for say that they have it. */
async function isHeld({ cluster }: DrillStores, { cid }: DrillPin): Promise<boolean> {
  const [record, status] = await Promise.all([cluster.pin(cid), cluster.status(cid)]);
  const holders = (status?.peers ?? []).filter((peer) => peer.status === "pinned").length;
  return record !== null && holders >= Math.max(1, record.replication_factor_min);
}

/**
 * Waits until every pin is held by as many peers as it asks for.
 * @param patienceMs how long nothing may become better; a large cluster under load takes its time, but moves
 * @returns how long it took, ms
 */
export async function untilHeld(
  scene: DrillScene,
  stores: DrillStores,
  pins: readonly DrillPin[],
  patienceMs: number,
): Promise<number> {
  const { clock, signal } = scene;
  const startedMs = clock.monotonicMs();
  let betterMs = startedMs;
  for (const [index, pin] of pins.entries()) {
    while (!(await isHeld(stores, pin))) {
      const left = pins.length - index;
      expectThat(
        clock.monotonicMs() - betterMs < patienceMs,
        `${left} of ${pins.length} are not held, first ${pin.cid}`,
      );
      await clock.sleep(POLL_MS, signal);
    }
    betterMs = clock.monotonicMs();
  }
  return clock.monotonicMs() - startedMs;
}
