import canonicalize from "canonicalize";
import type { Pin } from "../cluster/pins.ts";

/**
 * Renders a value as canonical JSON (RFC 8785): keys sorted by UTF-16 code units, numbers as ECMAScript prints them,
 * no blanks. The same value has one text only.
 * @throws Error for what JSON cannot hold: lone surrogates, NaN, infinities, cycles
 */
export function canonicalJson(value: unknown): string {
  const text = canonicalize(value);
  if (text === undefined) throw new Error("A value that is not JSON cannot be made canonical");
  return text;
}

// Keys that look like array indices come first in every object, whatever order they were put in (ECMA-262,
// OrdinaryOwnPropertyKeys), which is not the order of RFC 8785.
const INDEX_KEY = /^(?:0|[1-9]\d*)$/;

/** How JSON.stringify writes a lone surrogate; the same letters inside a longer escape are only a false alarm. */
const LONE_SURROGATE = "\\ud";

function inOrder(metadata: Pin["metadata"]): Pin["metadata"] | null {
  const keys = Object.keys(metadata);
  if (keys.length < 2) return metadata;
  if (keys.some((key) => INDEX_KEY.test(key))) return null;
  const sorted: Record<string, string> = Object.create(null);
  // oxlint-disable-next-line unicorn/no-array-sort -- `keys` is ours alone
  for (const key of keys.sort()) sorted[key] = metadata[key] ?? "";
  return sorted;
}

/**
 * Renders a pin as its record in a snapshot: canonical JSON, all fields, without the newline. Gives the same text as
 * `canonicalJson` (a property test compares them) in a third of the time, because the order of the keys is known.
 * @throws Error for a lone surrogate
 */
export function canonicalPin(pin: Pin): string {
  const metadata = inOrder(pin.metadata);
  if (metadata === null) return canonicalJson(pick(pin, pin.metadata));
  const text = JSON.stringify(pick(pin, metadata));
  return text.includes(LONE_SURROGATE) ? canonicalJson(pick(pin, pin.metadata)) : text;
}

/** The fields of a record and no others, in canonical order. */
function pick(pin: Pin, metadata: Pin["metadata"]): Pin {
  return {
    allocations: pin.allocations,
    cid: pin.cid,
    expire_at: pin.expire_at,
    max_depth: pin.max_depth,
    metadata,
    mode: pin.mode,
    name: pin.name,
    origins: pin.origins,
    reference: pin.reference,
    replication_factor_max: pin.replication_factor_max,
    replication_factor_min: pin.replication_factor_min,
    shard_size: pin.shard_size,
    timestamp: pin.timestamp,
    type: pin.type,
    user_allocations: pin.user_allocations,
  };
}
