import type { Pin } from "./pins.ts";

/** Marks pins that were made for objects of the gateway: only those are unpinned with the last object, never an operator's own. */
export const GATEWAY_PIN_METADATA = { source: "gateway" } as const;

/** True for a pin that was made for an object of the gateway. */
export function isGatewayPin({ metadata }: Pin): boolean {
  return metadata["source"] === GATEWAY_PIN_METADATA.source;
}

/** Marks pins that were made for users of the pinning service. */
export const PINNING_PIN_METADATA = { source: "pinning" } as const;

/** True for a pin that was made for users of the pinning service. */
export function isPinningPin({ metadata }: Pin): boolean {
  return metadata["source"] === PINNING_PIN_METADATA.source;
}

/**
 * What a pin has to be to hold a content for good, as deep as `mode` says; null where it does already. Its name and
 * options, which somebody else chose, stay.
 */
export function madeToHold(pin: Pin, mode: Pin["mode"]): Pin | null {
  const isWhole = mode === "direct" || (pin.mode === "recursive" && pin.max_depth === -1);
  if (isWhole && pin.expire_at === null) return null;
  return { ...pin, expire_at: null, ...(isWhole ? {} : { mode: "recursive", max_depth: -1 }) };
}
