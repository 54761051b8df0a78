import type { PinRecord, PinStatusWord } from "./pin-record.ts";

/** `PinStatus` of the Pinning Service API. */
export interface PinStatusView {
  readonly requestid: string;
  readonly status: PinStatusWord;
  readonly created: string;
  readonly pin: {
    readonly cid: string;
    /** Left out where the user gave none. */
    readonly name?: string;
    readonly origins: string[];
    readonly meta: Record<string, string>;
  };
  readonly delegates: string[];
  readonly info: Record<string, string>;
}

/** @param delegates where clients may connect to now; empty where that is not known: then what the request has */
export function viewPin(record: PinRecord, delegates: readonly string[]): PinStatusView {
  const { requestId, status, created, cid, name, origins, meta, info } = record;
  return {
    requestid: requestId,
    status,
    created,
    pin: { cid, ...(name !== "" && { name }), origins: [...origins], meta: { ...meta } },
    delegates: [...(delegates.length > 0 ? delegates : record.delegates)],
    info: { ...info },
  };
}
