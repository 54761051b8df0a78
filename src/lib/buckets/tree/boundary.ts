import { hash } from "node:crypto";
import { sharedUnits } from "./shared-prefix.ts";

/** Inner nodes have as many children at least, but for the last one of a level: however odd the keys, a tree is low. */
const CHILDREN_MIN = 4;

/** How large the nodes of a level become. */
interface NodeSize {
  /** What an item takes beside the part of its key that it does not share with the item before, in bytes. */
  readonly itemBytes: number;
  /** Of 2³² draws, how many end a node at an item of one byte, for each byte that the node holds. */
  readonly odds: number;
  /** Where a node ends whatever is drawn: about four times the mean, which hardly any reaches by chance. */
  readonly bytesMax: number;
}

/**
 * Chosen by measurement (docs/decisions/0150). Leaves of about 2,000 bytes and parents of 2,300 make a flush cheap; what
 * is above them is changed by every compaction, so few large nodes (31,000 bytes) cost no more bytes and fewer blocks.
 */
const LEAVES: NodeSize = { itemBytes: 100, odds: 1_700, bytesMax: 8_000 };
const PARENTS: NodeSize = { itemBytes: 52, odds: 1_280, bytesMax: 10_000 };
const UPPER: NodeSize = { itemBytes: 52, odds: 7, bytesMax: 124_000 };

function sizeAt(level: number): NodeSize {
  if (level === 0) return LEAVES;
  return level === 1 ? PARENTS : UPPER;
}

/** A number below 2³² that follows from key and level alone. Levels draw apart, or ends would go all the way up. */
function draw(level: number, key: string): number {
  return hash("sha256", `${level}:${key}`, "buffer").readUInt32BE(0);
}

/**
 * Says where nodes of one level end. It looks at the keys since the last end and at nothing else: not at what stands at
 * a key, not at how the tree came about. So the same keys make the same nodes, and after a change the nodes further on
 * are the old ones again as soon as one old end has come back.
 */
export class BoundaryRule {
  readonly #level: number;
  readonly #size: NodeSize;
  #before = "";
  #items = 0;
  #bytes = 0;

  constructor(level: number) {
    this.#level = level;
    this.#size = sizeAt(level);
  }

  /** Takes the next key. @returns true where the node ends after it; the key after that begins a new one */
  endsAfter(key: string): boolean {
    const { itemBytes, odds, bytesMax } = this.#size;
    const shared = this.#items === 0 ? 0 : Buffer.byteLength(key.slice(0, sharedUnits(this.#before, key)));
    const own = itemBytes + Buffer.byteLength(key) - shared;
    this.#items += 1;
    this.#bytes += own;
    this.#before = key;
    const mayEnd = this.#level === 0 || this.#items >= CHILDREN_MIN;
    // Whole numbers below 2⁵³: exact, so that every machine draws the same line. The odds grow with what the node holds,
    // which makes sizes more alike than odds that stay (and a change hits a large node more often than a small one);
    // odds that grow faster make ends depend on one another, and a change moves more of them.
    const ends = mayEnd && (this.#bytes >= bytesMax || draw(this.#level, key) < own * this.#bytes * odds);
    if (ends) this.restart();
    return ends;
  }

  /** A new node begins. */
  restart(): void {
    this.#items = 0;
    this.#bytes = 0;
  }
}
