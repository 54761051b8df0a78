/** Marks pins that were made for objects of the gateway: only those are unpinned with the last object, never an operator's own. */
export const GATEWAY_PIN_METADATA = { source: "gateway" } as const;
