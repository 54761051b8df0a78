import type { CID } from "multiformats/cid";
import { isEmptyBlock } from "../blocks/cid.ts";
import { GATEWAY_PIN_METADATA } from "../cluster/pin-source.ts";
import { makePin, type Pin, type PinCluster } from "../cluster/pins.ts";
import { type Clock, formatUtc } from "../kernel/clock.ts";
import { messageOf } from "../kernel/errors.ts";
import type { Log } from "../kernel/log.ts";
import type { Pool } from "../postgres/pool.ts";
import {
  type ObjectRecord,
  publishObject,
  queuedUnpins,
  queueUnpinOf,
  removeObject,
  settleUnpin,
} from "./object-table.ts";

/** What publishing needs. */
export interface PublicationParts {
  readonly pool: Pool;
  readonly pins: PinCluster;
  readonly clock: Clock;
  readonly log: Log;
}

/** Keeps objects and pins in step: what an object refers to is pinned before anybody sees the object. */
export interface Publication {
  /** @throws DatabaseError 23503 where the bucket is gone (`isBucketGone`); FulaError where ledger or pinset do not answer */
  publish(bucket: { readonly bucketId: string; readonly name: string }, root: CID, object: ObjectRecord): Promise<void>;
  /** @returns false where there was no such object */
  remove(bucketId: string, key: string): Promise<boolean>;
  /** Unpins what has no object any more and could not be unpinned when it lost its last one. @returns how many were settled */
  settleQueue(): Promise<number>;
}

const QUEUE_BATCH = 1_000;

/** A pin that is there keeps its name and options, which another object or an operator chose, as long as it does hold. */
function holdsForEver(pin: Pin): boolean {
  return pin.mode === "recursive" && pin.max_depth === -1 && pin.expire_at === null;
}

/** Puts ledger and pinset together. */
export function createPublication({ pool, pins, clock, log }: PublicationParts): Publication {
  const ensurePinned = async (rootCid: string, name: string): Promise<void> => {
    const pin = await pins.pin(rootCid);
    if (pin === null) {
      const options = { ...pins.defaultFactors, name, metadata: GATEWAY_PIN_METADATA };
      await pins.put(makePin(rootCid, formatUtc(clock.nowMs()), options));
    } else if (!holdsForEver(pin)) await pins.put({ ...pin, mode: "recursive", max_depth: -1, expire_at: null });
  };
  const unpin = async (rootCid: string): Promise<void> => {
    const pin = await pins.pin(rootCid);
    if (pin?.metadata["source"] === GATEWAY_PIN_METADATA.source) await pins.remove(rootCid);
  };
  const settle = async (rootCid: string): Promise<void> => {
    await settleUnpin(pool, rootCid, async () => {
      await unpin(rootCid);
    });
  };
  const settleLater = async (rootCid: string): Promise<void> => {
    // The answer to the client does not depend on it: the queue keeps what could not be settled now.
    await settle(rootCid).catch((error: unknown) => {
      log.warn("gateway.unpin.deferred", { cid: rootCid, message: messageOf(error) });
    });
  };
  return {
    publish: async (bucket, root, object) => {
      const rootCid = root.toString();
      try {
        const previous = await publishObject(pool, bucket.bucketId, object, async () => {
          // There is nothing to keep of an empty object, and a cluster could not replicate it.
          if (!isEmptyBlock(root)) await ensurePinned(rootCid, `${bucket.name}/${object.key}`);
        });
        if (previous !== null) await settleLater(previous);
      } catch (error) {
        // Pinned perhaps, published perhaps (a commit whose answer was lost): the queue looks which, and decides.
        await queueUnpinOf(pool, rootCid)
          .then(async () => {
            await settleLater(rootCid);
          })
          .catch((queueError: unknown) => {
            log.warn("gateway.unpin.not_queued", { cid: rootCid, message: messageOf(queueError) });
          });
        throw error;
      }
    },
    remove: async (bucketId, key) => {
      const rootCid = await removeObject(pool, bucketId, key);
      if (rootCid !== null) await settleLater(rootCid);
      return rootCid !== null;
    },
    settleQueue: async () => {
      const queued = await queuedUnpins(pool, QUEUE_BATCH);
      for (const rootCid of queued) await settle(rootCid);
      return queued.length;
    },
  };
}
