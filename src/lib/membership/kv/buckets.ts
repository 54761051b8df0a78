/** The buckets of a control plane, by what is in them. */
export const BUCKETS = {
  pool: "rooms",
  member: "members",
  index: "rooms_by_member",
  epoch: "room_keys",
  operators: "users",
  ledger: "ledger",
} as const;

/** One of the six. */
export type BucketKind = keyof typeof BUCKETS;

/** All six, in a fixed order. */
export const BUCKET_KINDS: readonly BucketKind[] = ["pool", "member", "index", "epoch", "operators", "ledger"];

/** What follows the prefix in the names of buckets that a self-test makes and takes away again. */
export const SELF_TEST = "selftest_";

/** `<PREFIX>_rooms` … */
export function bucketName(prefix: string, kind: BucketKind): string {
  return `${prefix}_${BUCKETS[kind]}`;
}

/** The stream that holds a bucket. */
export function streamName(prefix: string, kind: BucketKind): string {
  return `KV_${bucketName(prefix, kind)}`;
}

/** An endpoint as part of a key: its colon is no letter that keys may have. */
const tokenOf = (endpoint: string): string => endpoint.replace(":", "=3A");

/** A node's name as part of a key, where a dot would part it. */
const nodeToken = (node: string): string => node.replaceAll(".", "=2E");

/** Keys of the records; parts are parted by dots, so that those of one pool or one box can be asked for. */
export const keys = {
  all: ">",
  pool: (id: string): string => id,
  member: (pool: string, endpoint: string): string => `${pool}.${tokenOf(endpoint)}`,
  membersOf: (pool: string): string => `${pool}.*`,
  index: (endpoint: string, pool: string): string => `${tokenOf(endpoint)}.${pool}`,
  indexOf: (endpoint: string): string => `${tokenOf(endpoint)}.*`,
  indexOfPool: (pool: string): string => `*.${pool}`,
  epoch: (pool: string, epoch: number): string => `${pool}.${epoch}`,
  epochsOf: (pool: string): string => `${pool}.*`,
  operators: "operators",
  stamp: "stamp",
  ledger: (kind: string, node?: string): string => (node === undefined ? kind : `${kind}.${nodeToken(node)}`),
  ledgerOf: (kind: string): string => `${kind}.*`,
  nodeOf: (key: string): string => key.slice(key.indexOf(".") + 1).replaceAll("=2E", "."),
} as const;
