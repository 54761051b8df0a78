import type { Pin, ReplicationFactors } from "./pins.ts";

/**
 * IPFS Cluster takes a request line and headers of 8 KiB together by default. Whom to ask first for a pin is a wish, so
 * it is left out where it would not fit.
 */
const WISHES_LENGTH_MAX = 4_096;

/** What a peer keeps of a record: times in whole seconds, no metadata without a key, no factor of 0. */
export function storedForm(pin: Pin, defaults: ReplicationFactors): Pin {
  const { replication_factor_min: min, replication_factor_max: max } = pin;
  return {
    ...pin,
    replication_factor_min: min === 0 ? defaults.replication_factor_min : min,
    replication_factor_max: max === 0 ? defaults.replication_factor_max : max,
    expire_at: pin.expire_at === null ? null : pin.expire_at.replace(/\.\d+Z$/, "Z"),
    metadata: Object.fromEntries(Object.entries(pin.metadata).filter(([key]) => key !== "")),
    max_depth: pin.mode === "direct" ? 0 : -1,
  };
}

/** The options of a pin as IPFS Cluster's query parameters. Who held it before is asked first to hold it again. */
export function pinQuery(pin: Pin): string {
  const query = new URLSearchParams({
    name: pin.name,
    mode: pin.mode,
    "replication-min": String(pin.replication_factor_min),
    "replication-max": String(pin.replication_factor_max),
    "shard-size": String(pin.shard_size),
  });
  if (pin.expire_at !== null) query.set("expire-at", pin.expire_at);
  for (const [key, value] of Object.entries(pin.metadata)) query.set(`meta-${key}`, value);
  if (pin.origins.length > 0) query.set("origins", pin.origins.join(","));
  const wishes = [...new Set([...pin.user_allocations, ...pin.allocations])].join(",");
  if (wishes !== "" && wishes.length <= WISHES_LENGTH_MAX - query.toString().length) {
    query.set("user-allocations", wishes);
  }
  return query.toString();
}
