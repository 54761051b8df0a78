import * as dagCbor from "@ipld/dag-cbor";
import type { CID } from "multiformats/cid";
import { parseCid } from "../blocks/cid.ts";
import { FulaError, messageOf } from "../kernel/errors.ts";

/** What a node of the existing fleet's index holds: entries, or the CIDs of the nodes below it. */
export interface FleetNode {
  readonly entries: readonly FleetPair[];
  readonly children: readonly CID[];
}

/** A key with what the fleet's gateway kept of its object, not looked at yet. */
export interface FleetPair {
  readonly key: string;
  readonly value: ReadonlyMap<string, unknown>;
}

/** @param where the block, or the place in it */
export function fleetFault(where: string, why: string, cause?: unknown): FulaError {
  return new FulaError("FULA_FLEET_INDEX", `${where} is not what the fleet's gateway writes: ${why}.`, {
    hint: "nothing was imported from it. Look whether the CID is right; an index that its gateway still reads can be copied object by object instead (rclone).",
    ...(cause === undefined ? {} : { cause }),
  });
}

/** A decoded CBOR map by its names; null for anything else. */
export function fieldsOf(value: unknown): ReadonlyMap<string, unknown> | null {
  if (typeof value !== "object" || value === null || Array.isArray(value) || value instanceof Uint8Array) return null;
  return new Map(Object.entries(value));
}

/** Decodes a block of dag-cbor that the fleet wrote. @throws FulaError FULA_FLEET_INDEX */
export function decodeFleetBlock(cid: CID, bytes: Uint8Array): ReadonlyMap<string, unknown> {
  const where = `Block ${cid.toString()}`;
  let value: unknown;
  try {
    value = dagCbor.decode(bytes);
  } catch (error) {
    throw fleetFault(where, `it is no dag-cbor (${messageOf(error)})`, error);
  }
  const fields = fieldsOf(value);
  if (fields === null) throw fleetFault(where, "it is no map");
  return fields;
}

/** A CID that the fleet writes as text, so that IPFS sees no link. @throws FulaError FULA_FLEET_INDEX */
export function fleetCid(value: unknown, where: string): CID {
  if (typeof value !== "string") throw fleetFault(where, "a CID is no text");
  try {
    return parseCid(value);
  } catch (error) {
    throw fleetFault(where, messageOf(error), error);
  }
}

const NODE_FIELDS: ReadonlySet<string> = new Set(["level", "bitmask", "is_leaf", "pointers"]);

function pairOf(value: unknown, where: string): FleetPair {
  const pair = fieldsOf(value);
  const key = pair?.get("key");
  const entry = fieldsOf(pair?.get("value"));
  if (typeof key !== "string" || entry === null) throw fleetFault(where, "an entry has no key or no value");
  return { key, value: entry };
}

/**
 * Reads a node: {level, bitmask, is_leaf, pointers}. A pointer is a list of entries, or the CID of a node as text; where a
 * leaf lists its entries one by one, each stands for a list of its own.
 * @throws FulaError FULA_FLEET_INDEX for anything else, so that nothing is left out unseen
 */
export function readFleetNode(cid: CID, bytes: Uint8Array): FleetNode & { readonly level: number } {
  const where = `Node ${cid.toString()}`;
  const fields = decodeFleetBlock(cid, bytes);
  for (const name of fields.keys()) if (!NODE_FIELDS.has(name)) throw fleetFault(where, `it has a field ${name}`);
  const level = fields.get("level");
  const pointers = fields.get("pointers");
  const isLeaf = fields.get("is_leaf");
  if (typeof level !== "number" || !Number.isSafeInteger(level) || level < 0)
    throw fleetFault(where, "it has no level");
  if (typeof isLeaf !== "boolean") throw fleetFault(where, "it does not say whether it is a leaf");
  if (!Array.isArray(pointers)) throw fleetFault(where, "it has no pointers");
  const entries: FleetPair[] = [];
  const children: CID[] = [];
  for (const pointer of pointers as readonly unknown[]) {
    if (typeof pointer === "string") children.push(fleetCid(pointer, where));
    else for (const pair of Array.isArray(pointer) ? pointer : [pointer]) entries.push(pairOf(pair, where));
  }
  if (isLeaf && children.length > 0) throw fleetFault(where, "it is a leaf and names nodes below it");
  return { level, entries, children };
}
