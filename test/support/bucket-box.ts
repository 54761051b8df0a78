import type { CID } from "multiformats/cid";
import { createCid, RAW_CODEC } from "../../src/lib/blocks/cid.ts";
import type { OwnBuckets } from "../../src/lib/buckets/create-buckets.ts";
import type { BucketName } from "../../src/lib/buckets/roots/root-pointer.ts";
import { PostgresRoots } from "../../src/lib/buckets/roots/postgres-roots.ts";
import type { ObjectEntry } from "../../src/lib/buckets/tree/object-entry.ts";
import { systemClock } from "../../src/lib/kernel/clock.ts";
import { systemRandom } from "../../src/lib/kernel/random.ts";
import type { Pool } from "../../src/lib/postgres/pool.ts";
import { testBuckets } from "./buckets.ts";
import { MemoryBlocks } from "./memory-blocks.ts";
import { createMemoryCluster, type MemoryCluster } from "./memory-cluster.ts";

/** Buckets on a real ledger, whose blocks and pins are in memory, where a test can look at them and fail them. */
export interface BucketBox {
  readonly blocks: MemoryBlocks;
  readonly pins: MemoryCluster;
  readonly roots: PostgresRoots;
  readonly buckets: OwnBuckets;
  /** Stores a content and refers to it by a key. @returns its CID */
  put(name: BucketName, key: string, content: string): Promise<CID>;
  delete(name: BucketName, key: string): Promise<void>;
}

/** What is kept of an object in tests. */
export function entryOf(content: CID, sizeBytes: number): ObjectEntry {
  return {
    content,
    sizeBytes,
    modifiedMs: 1_767_225_600_000,
    etag: null,
    headers: { "content-type": "text/plain" },
    metadata: {},
    checksums: {},
    tags: {},
    partSizes: [],
  };
}

/** Puts a box on a ledger. @param beside an earlier one, with which it shares blocks and pins, as a further gateway does */
export function bucketBox(pool: Pool, beside: BucketBox | null = null): BucketBox {
  const blocks = beside?.blocks ?? new MemoryBlocks();
  const pins = beside?.pins ?? createMemoryCluster();
  const roots = new PostgresRoots({ pool, node: "box", clock: systemClock, random: systemRandom });
  const buckets = testBuckets({ roots, blocks, pins, random: systemRandom });
  return {
    blocks,
    pins,
    roots,
    buckets,
    put: async (name, key, content) => {
      const bytes = Buffer.from(content);
      const cid = createCid(RAW_CODEC, bytes);
      await blocks.put(cid, bytes);
      const change = { kind: "put" as const, entry: entryOf(cid, bytes.byteLength) };
      await buckets.write(name, [{ key, change, condition: null }]);
      return cid;
    },
    delete: async (name, key) => {
      await buckets.write(name, [{ key, change: { kind: "delete" }, condition: null }]);
    },
  };
}
