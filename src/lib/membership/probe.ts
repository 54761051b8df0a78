import type { CID } from "multiformats/cid";
import type { BlockStore } from "../blocks/block-store.ts";
import { createCid, RAW_CODEC } from "../blocks/cid.ts";
import { makePin, type Pin, type PinCluster } from "../cluster/pins.ts";
import { formatUtc } from "../kernel/clock.ts";

/** `metadata.source` of the probe's pin: no user's content, and nothing that the ledger knows. */
const PROBE_SOURCE = "fula-master-probe";

/** The probe of a federation: a small block, always the same one. */
export function probeOf(clusterId: string): { readonly cid: CID; readonly bytes: Uint8Array } {
  const bytes = Buffer.from(
    `fula-master replication probe\ncluster ${clusterId}\nEvery peer holds this block, so that each can see that it replicates.\n`,
    "utf8",
  );
  return { cid: createCid(RAW_CODEC, bytes), bytes };
}

function isProbe(pin: Pin): boolean {
  return pin.replication_factor_min === -1 && pin.replication_factor_max === -1 && pin.expire_at === null;
}

/**
 * Pins the probe on every peer, those included that join later: a storage node has no authority to pin anything, but
 * it can wait until it holds this. Made anew where somebody took it away or changed its factors.
 * @returns the probe's CID
 * @throws FulaError FULA_CLUSTER_UNREADABLE, FULA_CLUSTER_READ_ONLY
 */
export async function ensureProbe(
  cluster: PinCluster,
  blocks: BlockStore,
  nowMs: number,
  signal: AbortSignal,
): Promise<string> {
  const { cid, bytes } = probeOf(cluster.clusterId);
  const text = cid.toString();
  await blocks.put(cid, bytes, signal);
  const there = await cluster.pin(text, signal);
  if (there === null || !isProbe(there)) {
    await cluster.put(
      makePin(text, formatUtc(nowMs), {
        name: "fula-master replication probe",
        metadata: { source: PROBE_SOURCE },
        replication_factor_min: -1,
        replication_factor_max: -1,
      }),
    );
  }
  return text;
}
