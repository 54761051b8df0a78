import { decode } from "@ipld/dag-pb";

/** The CIDs that a dag-pb block names, in order. */
export function readDagPbLinks(block: Uint8Array): readonly string[] {
  return decode(block).Links.map(({ Hash }) => Hash.toString());
}
