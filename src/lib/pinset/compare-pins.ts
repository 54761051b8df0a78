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

function sameValue(field: PinField, a: Pin, b: Pin): boolean {
  switch (field) {
    case "user_allocations":
    case "allocations":
    case "origins":
      // Sets: IPFS Cluster gives them in whatever order its peers answered.
      return JSON.stringify(a[field].toSorted()) === JSON.stringify(b[field].toSorted());
    case "metadata":
      return sortedEntries(a.metadata) === sortedEntries(b.metadata);
    case "expire_at":
    case "timestamp":
      return instant(a[field]) === instant(b[field]);
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
