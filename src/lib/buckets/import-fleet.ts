import type { CID } from "multiformats/cid";
import { parseCid } from "../blocks/cid.ts";
import type { Pool } from "../postgres/pool.ts";
import { runQuery } from "../postgres/run-query.ts";
import type { BucketSource } from "./import.ts";
import { type FleetWalk, walkFleetIndex } from "./import-fleet-walk.ts";
import type { FleetBucket } from "./import-registry.ts";
import type { KeyedEntry } from "./import-sort.ts";
import { nameText } from "./roots/bucket-name.ts";
import type { BucketName } from "./roots/root-pointer.ts";
import type { NodeReader } from "./tree/node-store.ts";

/** A bucket of the existing fleet, and where its root was found. */
export interface FleetSource extends BucketSource {
  readonly fleetIndex: CID;
  /** What its registry says; null where it says nothing, or there is none. */
  readonly registered: Pick<FleetBucket, "objectCount" | "totalBytes"> | null;
  /** True where the ledger has another root than the registry: the ledger's is newer, and is what is read. */
  readonly isRegistryOlder: boolean;
  /** What the walk through its index found beside its objects; null before the walk has ended. */
  readonly walked: () => FleetWalk | null;
}

interface FleetRow extends BucketName {
  readonly rootCid: string;
}

/** Buckets in the ledger whose roots are of the fleet's format. */
export async function fleetRows(pool: Pool): Promise<readonly FleetRow[]> {
  const { rows } = await runQuery<{ owner_id: string; bucket: string; root_cid: string }>(pool, {
    name: "fleet_rows",
    text: `
      select owner_id, bucket, root_cid from bucket_roots
       where format = 0 and deleted_at is null order by owner_id, bucket`,
    values: [],
  });
  return rows.map((row) => ({ ownerId: row.owner_id, bucket: row.bucket, rootCid: row.root_cid }));
}

function sourceOf(
  root: CID,
  bucket: FleetBucket | null,
  row: FleetRow | null,
  name: BucketName,
  { nodes, userIdOf }: FleetSourceParts,
): FleetSource {
  let walked: FleetWalk | null = null;
  async function* objects(signal: AbortSignal): AsyncGenerator<KeyedEntry> {
    const walk = walkFleetIndex(root, name.bucket, nodes, signal);
    for (let next = await walk.next(); ; next = await walk.next()) {
      if (next.done === true) {
        walked = next.value;
        return;
      }
      yield next.value;
    }
  }
  return {
    ownerId: name.ownerId,
    bucket: name.bucket,
    userId: userIdOf(name.ownerId),
    tags: bucket?.tags ?? {},
    createdAtMs: bucket?.createdAtMs ?? null,
    fleetRoot: row?.rootCid ?? null,
    fleetIndex: root,
    registered: bucket,
    isRegistryOlder: row !== null && bucket !== null && !bucket.root.equals(root),
    objects,
    walked: () => walked,
  };
}

/** What finding the fleet's buckets needs. */
export interface FleetSourceParts {
  readonly nodes: NodeReader;
  /** The user of an owner id; null where he is not known. */
  readonly userIdOf: (ownerId: string) => string | null;
}

/**
 * The buckets of a registry and those that stand in the ledger with a root of the fleet's format. Where a bucket is in
 * both, the ledger has its root: gateways of the fleet agree by it.
 * @throws FulaError FULA_CID_INVALID for a row without a readable root
 */
export function fleetSources(
  registry: readonly FleetBucket[],
  rows: readonly FleetRow[],
  parts: FleetSourceParts,
): readonly FleetSource[] {
  const rowOf = new Map(rows.map((row) => [nameText(row), row]));
  const registered = new Map(registry.map((bucket) => [nameText(bucket), bucket]));
  const names = new Map<string, BucketName>([...registry, ...rows].map((each) => [nameText(each), each]));
  return [...names]
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .flatMap(([text, name]) => {
      const bucket = registered.get(text) ?? null;
      const row = rowOf.get(text) ?? null;
      const root = row === null ? bucket?.root : parseCid(row.rootCid);
      return root === undefined ? [] : [sourceOf(root, bucket, row, name, parts)];
    });
}
