import { createHash } from "node:crypto";

/** PostgreSQL cuts names of roles and slots at NAMEDATALEN - 1 bytes. */
const NAME_CHARS_MAX = 63;
const PREFIX = "fula_";
const HASH_CHARS = 8;
/** Names of boxes of which no two become the same. */
const TELLING = /^[a-z0-9]+(?:-[a-z0-9]+)*$/;
/** What ours are called that are no box's: the server's superuser, and the slots of the floor and of the archive. */
const TAKEN: ReadonlySet<string> = new Set(["admin", "floor", "archive"]);

/**
 * What a box is called in roles and slots of PostgreSQL, which take lower-case letters, digits and underscores alone: its
 * name, and a part of its hash where that says too little to tell two boxes apart.
 */
function sanitized(node: string): string {
  const plain = node.toLowerCase().replaceAll(/[^a-z0-9]/g, "_");
  if (TELLING.test(node) && !TAKEN.has(node) && PREFIX.length + plain.length <= NAME_CHARS_MAX) return plain;
  const hash = createHash("sha256").update(node).digest("hex").slice(0, HASH_CHARS);
  return `${plain.slice(0, NAME_CHARS_MAX - PREFIX.length - HASH_CHARS - 1)}_${hash}`;
}

/** The role that a box replicates as; it belongs to that box alone. */
export function standbyRole(node: string): string {
  return `${PREFIX}${sanitized(node)}`;
}

/** The physical slot that keeps WAL for a box's standby, on whichever box the primary is. */
export function standbySlot(node: string): string {
  return `${PREFIX}${sanitized(node)}`;
}
