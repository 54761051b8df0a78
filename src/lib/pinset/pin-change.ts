import { makePin, type Pin, type PinField, type PinOptions } from "../cluster/pins.ts";
import { differingFields } from "./compare-pins.ts";

/** What pinning a CID comes to. */
export interface PinChange {
  readonly change: "new" | "changed" | "already";
  readonly pin: Pin;
  /** Which fields of an existing pin change. */
  readonly fields: readonly PinField[];
}

/**
 * Decides what `pin add` writes. An existing pin keeps every option that was not named: pinning a CID again must not
 * reset its name, factors or expiry.
 * @param timestamp when a new pin is made, RFC 3339 UTC; an existing pin keeps its own
 */
export function planPin(existing: Pin | null, cid: string, timestamp: string, options: PinOptions): PinChange {
  if (existing === null) return { change: "new", pin: makePin(cid, timestamp, options), fields: [] };
  const pin = makePin(existing.cid, existing.timestamp, {
    ...existing,
    ...options,
    metadata: { ...existing.metadata, ...options.metadata },
  });
  const fields = differingFields(existing, pin);
  return fields.length === 0 ? { change: "already", pin: existing, fields } : { change: "changed", pin, fields };
}
