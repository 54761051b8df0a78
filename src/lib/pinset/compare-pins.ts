import type { Pin, PinField } from "../cluster/pins.ts";

/** Every field of a pin but its CID, in the order in which differences are told. */
export const PIN_FIELDS = [
  "type",
  "mode",
  "name",
  "replication_factor_min",
  "replication_factor_max",
  "shard_size",
  "user_allocations",
  "allocations",
  "expire_at",
  "metadata",
  "origins",
  "max_depth",
  "reference",
  "timestamp",
] as const satisfies readonly PinField[];

/** Seconds and the digits behind them, so that times that say the same instant in other words are the same. */
function instant(text: string | null): string | null {
  const match = text === null ? null : /^(.*T\d{2}:\d{2}:\d{2})(?:\.(\d+))?Z$/.exec(text);
  if (match === null) return text;
  return `${match[1] ?? ""}.${(match[2] ?? "").replace(/0+$/, "")}`;
}

function sortedEntries(metadata: Pin["metadata"]): string {
  return JSON.stringify(Object.entries(metadata).toSorted(([left], [right]) => (left < right ? -1 : 1)));
}

// A restore compares a million pins that are nearly all equal, so each comparison first tries the cheap way to "equal".
function sameMetadata(a: Pin["metadata"], b: Pin["metadata"]): boolean {
  return JSON.stringify(a) === JSON.stringify(b) || sortedEntries(a) === sortedEntries(b);
}

/** Compares as sets: IPFS Cluster gives them in whatever order its peers answered. */
function sameMembers(a: readonly string[], b: readonly string[]): boolean {
  if (a.length !== b.length) return false;
  if (a.every((member, index) => member === b[index])) return true;
  return JSON.stringify(a.toSorted()) === JSON.stringify(b.toSorted());
}

function sameValue(field: PinField, a: Pin, b: Pin): boolean {
  switch (field) {
    case "user_allocations":
    case "allocations":
    case "origins":
      return sameMembers(a[field], b[field]);
    case "metadata":
      return sameMetadata(a.metadata, b.metadata);
    case "expire_at":
    case "timestamp":
      return a[field] === b[field] || instant(a[field]) === instant(b[field]);
    default:
      return a[field] === b[field];
  }
}

/**
 * The fields in which two records of the same CID say different things. Lists of peers and addresses are compared as
 * sets, times as instants. @param except fields that are not looked at
 */
export function differingFields(a: Pin, b: Pin, except: readonly PinField[] = []): readonly PinField[] {
  return PIN_FIELDS.filter((field) => !except.includes(field) && !sameValue(field, a, b));
}
