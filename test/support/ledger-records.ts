import { systemRandom } from "../../src/lib/kernel/random.ts";
import type { Attestation, LedgerBox, LedgerEpochRecord } from "../../src/lib/membership/ledger-records.ts";

const AT = "2026-11-22T03:00:00Z";

/** An epoch record as it stands in peace, with changes. */
export function newEpoch(changes: Partial<LedgerEpochRecord> = {}): LedgerEpochRecord {
  return {
    number: 1,
    uuid: systemRandom.uuid(),
    phase: "open",
    primary: "fula-1",
    address: "10.0.0.1:5432",
    systemId: "7300000000000000001",
    timeline: 1,
    switchLsn: "0/3000000",
    syncSet: [],
    syncNeeded: 0,
    previous: null,
    reason: "a standby was added",
    token: systemRandom.uuid(),
    at: AT,
    ...changes,
  };
}

/** What a standby says that has detached. */
export function newAttestation(node: string, changes: Partial<Attestation> = {}): Attestation {
  return {
    number: 2,
    uuid: systemRandom.uuid(),
    node,
    what: "standby-detached",
    lineage: null,
    timeline: 1,
    receivedLsn: "0/3000148",
    at: AT,
    ...changes,
  };
}

/** A box with a server. */
export function newLedgerBox(node: string, changes: Partial<LedgerBox> = {}): LedgerBox {
  return {
    node,
    address: "10.0.0.2:5432",
    systemId: "7300000000000000001",
    major: 15,
    state: "standby",
    at: AT,
    ...changes,
  };
}
