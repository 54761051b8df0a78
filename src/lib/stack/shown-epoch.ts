import type { LedgerEpochRecord } from "../membership/ledger-records.ts";

/** What people and scripts are shown of the ledger's epoch; `--json` keeps these fields. */
export type ShownEpoch = Pick<
  LedgerEpochRecord,
  "number" | "uuid" | "phase" | "primary" | "address" | "timeline" | "syncSet" | "syncNeeded" | "reason" | "at"
>;

/** Null where the ledger has one server only. */
export function showEpoch(record: LedgerEpochRecord | null): ShownEpoch | null {
  if (record === null) return null;
  const { number, uuid, phase, primary, address, timeline, syncSet, syncNeeded, reason, at } = record;
  return { number, uuid, phase, primary, address, timeline, syncSet, syncNeeded, reason, at };
}
