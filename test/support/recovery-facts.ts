import type { Handshake, RetainedHistory } from "../../src/lib/recovery/types.ts";

/** A primary with WAL from 100 to 1000, all of it committed, and a good backup at 500; but for what is told. */
export function aHistory(told: Partial<RetainedHistory> = {}): RetainedHistory {
  const usual = { headLsn: 1_000n, tailLsn: 100n, committedLsn: 1_000n, checkpointLsn: 500n, checkpointTrusted: true };
  return { ...usual, ...told };
}

/** A replica on the lineage with WAL up to 800, applied up to 700, that could be rewound to 600; but for what is told. */
export function aHandshake(told: Partial<Handshake> = {}): Handshake {
  return {
    replicaFlushedLsn: 800n,
    recoveryPointLsn: 700n,
    lineage: { kind: "on_lineage" },
    rewind: { possible: true, fromLsn: 600n },
    isSlotLost: false,
    ...told,
  };
}
