import type { CID } from "multiformats/cid";
import { decodeFleetBlock, fieldsOf, fleetCid, fleetFault } from "./import-fleet-node.ts";
import type { NodeReader } from "./tree/node-store.ts";
import { nameText } from "./roots/bucket-name.ts";

/** A bucket as a registry of the fleet's gateway names it. */
export interface FleetBucket {
  readonly ownerId: string;
  readonly bucket: string;
  readonly root: CID;
  /** What the registry says; the fleet is known to lose count of both. Null where it says nothing. */
  readonly objectCount: number | null;
  readonly totalBytes: number | null;
  readonly createdAtMs: number | null;
  readonly tags: Readonly<Record<string, string>>;
}

/** More than any registry has; one that asks for more is damaged, or meant to fill our memory. */
const SHARDS_MAX = 4_096;
const OWNER_ID = /^[0-9a-f]{32}$/;

function countOf(value: unknown): number | null {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0 ? value : null;
}

function timeOf(value: unknown): number | null {
  const ms = typeof value === "string" ? Date.parse(value) : Number.NaN;
  return Number.isFinite(ms) ? ms : null;
}

function tagsOf(value: unknown): Readonly<Record<string, string>> {
  const pairs = [...(fieldsOf(value) ?? [])];
  return Object.fromEntries(pairs.filter((pair): pair is [string, string] => typeof pair[1] === "string"));
}

function bucketOf(value: unknown, where: string): FleetBucket {
  const fields = fieldsOf(value);
  const bucket = fields?.get("name");
  const ownerId = fields?.get("owner_id");
  if (fields === null || typeof bucket !== "string" || bucket === "") throw fleetFault(where, "a bucket has no name");
  const named = `${where}, bucket ${JSON.stringify(bucket)}`;
  if (typeof ownerId !== "string" || !OWNER_ID.test(ownerId))
    throw fleetFault(named, "its owner_id is not 32 hex digits");
  return {
    ownerId,
    bucket,
    root: fleetCid(fields.get("root_cid"), named),
    objectCount: countOf(fields.get("object_count")),
    totalBytes: countOf(fields.get("total_size")),
    createdAtMs: timeOf(fields.get("created_at")),
    tags: tagsOf(fields.get("tags")),
  };
}

function bucketsOf(fields: ReadonlyMap<string, unknown>, where: string): readonly FleetBucket[] {
  const list = fields.get("buckets");
  if (!Array.isArray(list)) throw fleetFault(where, "it has no list of buckets");
  return list.map((each: unknown) => bucketOf(each, where));
}

async function readShard(
  cid: CID,
  index: number,
  reader: NodeReader,
  signal: AbortSignal,
): Promise<readonly FleetBucket[]> {
  const where = `Shard ${index} of the registry (${cid.toString()})`;
  const fields = decodeFleetBlock(cid, await reader.get(cid, signal));
  if (fields.get("shard_index") !== index)
    throw fleetFault(where, `it says that it is ${String(fields.get("shard_index"))}`);
  return bucketsOf(fields, where);
}

/**
 * Reads the registry of a gateway of the fleet, in one block or in shards: every bucket that it names, all of it or none.
 * @throws FulaError FULA_FLEET_INDEX where it is no such registry, or names a bucket twice; what the reader throws
 */
export async function readRegistry(cid: CID, reader: NodeReader, signal: AbortSignal): Promise<readonly FleetBucket[]> {
  const where = `The registry ${cid.toString()}`;
  const fields = decodeFleetBlock(cid, await reader.get(cid, signal));
  const version = fields.get("version");
  let buckets: FleetBucket[] = [];
  if (version === 1) buckets = [...bucketsOf(fields, where)];
  else if (version === 2) {
    const shards = fields.get("shard_cids");
    if (!Array.isArray(shards) || shards.length !== fields.get("num_shards") || shards.length > SHARDS_MAX) {
      throw fleetFault(where, "its shards are not as many as it says");
    }
    for (const [index, shard] of (shards as readonly unknown[]).entries()) {
      signal.throwIfAborted();
      buckets.push(...(await readShard(fleetCid(shard, where), index, reader, signal)));
    }
  } else throw fleetFault(where, `its version is ${String(version)}; 1 and 2 are known`);
  const seen = new Set<string>();
  for (const bucket of buckets) {
    const name = nameText(bucket);
    if (seen.has(name)) throw fleetFault(where, `it names ${name} twice`);
    seen.add(name);
  }
  return buckets;
}
