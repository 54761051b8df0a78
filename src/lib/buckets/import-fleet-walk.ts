import { setImmediate as nextTurn } from "node:timers/promises";
import type { CID } from "multiformats/cid";
import { VisitedSet } from "../blocks/visited-set.ts";
import { assertImportableKey, type FleetObject, fleetObject } from "./import-fleet-entry.ts";
import { fleetFault, readFleetNode } from "./import-fleet-node.ts";
import type { NodeReader } from "./tree/node-store.ts";

/** Far deeper than any index of nodes with 256 children; an index that goes deeper goes round in a circle or is hostile. */
const DEPTH_MAX = 32;
const NODES_PER_TURN = 64;

/** What a walk through an index of the fleet has found, beside its objects. */
export interface FleetWalk {
  readonly nodes: number;
  readonly markers: number;
  /** Fields that an entry of ours has no place for → how many objects had them. */
  readonly leftBehind: ReadonlyMap<string, number>;
}

/**
 * Gives every object of an index of the existing fleet, in no order that could be relied on, and reads every one of its
 * nodes. Memory holds one path. A node that two nodes name would give its objects twice, so it is an error.
 * @throws FulaError FULA_FLEET_INDEX, FULA_BUCKET_IMPORT_REFUSED for a key that cannot be taken; what the reader throws
 */
export async function* walkFleetIndex(
  root: CID,
  bucket: string,
  reader: NodeReader,
  signal: AbortSignal,
): AsyncGenerator<FleetObject, FleetWalk> {
  using visited = new VisitedSet();
  const leftBehind = new Map<string, number>();
  let nodes = 0;
  let markers = 0;
  const open: CID[][] = [[root]];
  while (open.length > 0) {
    signal.throwIfAborted();
    const cid = open.at(-1)?.pop();
    if (cid === undefined) {
      open.pop();
      continue;
    }
    if (!visited.add(cid.bytes)) throw fleetFault(`Node ${cid.toString()}`, "the index names it twice");
    nodes += 1;
    if (nodes % NODES_PER_TURN === 0) await nextTurn();
    const node = readFleetNode(cid, await reader.get(cid, signal));
    for (const pair of node.entries) {
      const object = fleetObject(pair, cid.toString());
      if (object === null) markers += 1;
      else {
        assertImportableKey(object.key, bucket);
        for (const name of object.leftBehind) leftBehind.set(name, (leftBehind.get(name) ?? 0) + 1);
        yield object;
      }
    }
    if (node.children.length === 0) continue;
    if (open.length >= DEPTH_MAX)
      throw fleetFault(`Node ${cid.toString()}`, `it lies more than ${DEPTH_MAX} levels deep`);
    open.push([...node.children].toReversed());
  }
  return { nodes, markers, leftBehind };
}
