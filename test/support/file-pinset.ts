import { appendFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { PINNING_PIN_METADATA } from "../../src/lib/cluster/pin-source.ts";
import { makePin, type PinCluster } from "../../src/lib/cluster/pins.ts";
import { createMemoryCluster } from "./memory-cluster.ts";

const TIME = "2026-11-20T03:00:00Z";

/** How often a CID was put. */
export function putsOf(dir: string, cid: string): number {
  return statSync(join(dir, cid), { throwIfNoEntry: false })?.size ?? 0;
}

/**
 * A pinset that several processes share, and that survives whatever kills them: a file a CID, one byte longer with every
 * put. Everything that was put is pinned.
 */
export function filePinset(dir: string): PinCluster {
  return {
    ...createMemoryCluster(),
    pin: async (cid) => (putsOf(dir, cid) === 0 ? null : makePin(cid, TIME, { metadata: PINNING_PIN_METADATA })),
    put: async ({ cid }) => {
      appendFileSync(join(dir, cid), ".");
    },
    status: async (cid) =>
      putsOf(dir, cid) === 0 ? null : { cid, name: "", peers: [{ peer: "peer-a", status: "pinned", error: "" }] },
  };
}
