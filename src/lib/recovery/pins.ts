import type { SessionId } from "./types.ts";

export type PinKind = "wal" | "snapshot" | "base";

// Letters, digits and underscores: what the name of a replication slot may have.
const PIN_NAME = /^fm_pin_(\d{1,19})_(wal|snapshot|base)$/;

/** The name of a pin of a session: `fm_pin_42_wal`. It is good as the name of a replication slot. */
export function pinName(sessionId: SessionId, kind: PinKind): string {
  return `fm_pin_${sessionId}_${kind}`;
}

/** The session that a pin was taken for; null for what is none of ours. */
export function sessionOfPin(name: string): SessionId | null {
  const id = PIN_NAME.exec(name)?.[1];
  return id === undefined ? null : BigInt(id);
}
