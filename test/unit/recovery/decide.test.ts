import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type DecisionFacts, decide, rungAbove } from "../../../src/lib/recovery/decide.ts";
import { checkHistory, isRecoverable } from "../../../src/lib/recovery/history.ts";
import type { LineageRelation } from "../../../src/lib/recovery/lineage.ts";
import { RUNGS } from "../../../src/lib/recovery/types.ts";
import { property } from "../../support/property.ts";
import { aHandshake, aHistory } from "../../support/recovery-facts.ts";

function facts(told: Partial<DecisionFacts> = {}): DecisionFacts {
  return { handshake: aHandshake(), history: aHistory(), floor: null, mustRebuild: false, ...told };
}

const AHEAD: LineageRelation = { kind: "ahead", forkLsn: 750n };
const FORKED: LineageRelation = { kind: "forked", ancestorLsn: 650n, because: "forked_before_recovery_point" };
const TWIN: LineageRelation = { kind: "forked", ancestorLsn: 650n, because: "same_tli_uuid_mismatch" };
const MARKED: LineageRelation = { kind: "interrupted", what: "rewind", mayRewindAgain: false };
const NO_REWIND = { possible: false, because: "no checksums" } as const;

const CASES: readonly (readonly [string, Partial<DecisionFacts>, string, string])[] = [
  ["has all", { handshake: aHandshake({ replicaFlushedLsn: 1_000n }) }, "zero_gap", "zero_gap"],
  [
    "has more than is committed, all of it the primary's",
    { handshake: aHandshake({ replicaFlushedLsn: 950n }), history: aHistory({ committedLsn: 900n }) },
    "zero_gap",
    "zero_gap",
  ],
  ["is behind", {}, "catchup", "gap_within_retention: need LSN 0/321-0/3E8, tail=0/64 head=0/3E8"],
  [
    "is at the tail itself, which is exclusive",
    { handshake: aHandshake({ replicaFlushedLsn: 100n, recoveryPointLsn: 50n }) },
    "catchup",
    "gap_within_retention: need LSN 0/65-0/3E8, tail=0/64 head=0/3E8",
  ],
  [
    "is one before the tail",
    { handshake: aHandshake({ replicaFlushedLsn: 99n, recoveryPointLsn: 50n }) },
    "snapshot_tail",
    "gap_beyond_retention: need LSN 0/64 but tail=0/64",
  ],
  [
    "has lost its slot, and the WAL with it",
    { handshake: aHandshake({ replicaFlushedLsn: 90n, isSlotLost: true }) },
    "snapshot_tail",
    "slot_lost: need LSN 0/5B but tail=0/64",
  ],
  [
    "received past the fork and did not apply it",
    { handshake: aHandshake({ lineage: AHEAD }) },
    "truncate_only",
    "replica_ahead_needs_truncation: replica=0/320 truncate to 0/2EE",
  ],
  [
    "applied past the fork",
    { handshake: aHandshake({ lineage: AHEAD, recoveryPointLsn: 751n }) },
    "rewind",
    "truncation_unsafe: recovery point 0/2EF is above 0/2EE",
  ],
  [
    "is ahead of the head itself",
    { handshake: aHandshake({ replicaFlushedLsn: 1_010n, recoveryPointLsn: 1_000n }) },
    "truncate_only",
    "replica_ahead_needs_truncation: replica=0/3F2 truncate to 0/3E8",
  ],
  [
    "is ahead of the head, which is ahead of what is committed: nobody has acknowledged the same as it",
    {
      handshake: aHandshake({ replicaFlushedLsn: 1_010n, recoveryPointLsn: 900n }),
      history: aHistory({ committedLsn: 900n }),
    },
    "truncate_only",
    "replica_ahead_needs_truncation: replica=0/3F2 truncate to 0/384",
  ],
  [
    "is ahead of the head and applied it, where nothing can be rewound",
    { handshake: aHandshake({ replicaFlushedLsn: 1_010n, recoveryPointLsn: 1_010n }) },
    "snapshot_tail",
    "truncation_unsafe: recovery point 0/3F2 is above 0/3E8",
  ],
  [
    "is ahead, and the WAL from the fork on is gone",
    { handshake: aHandshake({ lineage: AHEAD }), history: aHistory({ tailLsn: 800n, checkpointLsn: 850n }) },
    "snapshot_tail",
    "gap_beyond_retention: need LSN 0/2EF but tail=0/320",
  ],
  [
    "has forked",
    { handshake: aHandshake({ lineage: FORKED }) },
    "rewind",
    "forked_before_recovery_point: common ancestor 0/28A",
  ],
  [
    "is a twin on the same timeline",
    { handshake: aHandshake({ lineage: TWIN }) },
    "rewind",
    "same_tli_uuid_mismatch: common ancestor 0/28A",
  ],
  [
    "has forked and cannot be rewound",
    { handshake: aHandshake({ lineage: FORKED, rewind: NO_REWIND }) },
    "snapshot_tail",
    "forked_before_recovery_point: common ancestor 0/28A",
  ],
  [
    "has forked below what the primary kept",
    { handshake: aHandshake({ lineage: FORKED, rewind: { possible: true, fromLsn: 99n } }) },
    "snapshot_tail",
    "forked_before_recovery_point: common ancestor 0/28A",
  ],
  ["was being rewound", { handshake: aHandshake({ lineage: MARKED }) }, "snapshot_tail", "interrupted: rewind"],
  [
    "was being rewound and not written to yet",
    { handshake: aHandshake({ lineage: { ...MARKED, mayRewindAgain: true } }) },
    "rewind",
    "interrupted: rewind",
  ],
  ["is empty", { handshake: aHandshake({ lineage: { kind: "lost", because: "empty" } }) }, "snapshot_tail", "empty"],
  [
    "is another system's, and there is no backup",
    {
      handshake: aHandshake({ lineage: { kind: "lost", because: "foreign_system" } }),
      history: aHistory({ checkpointLsn: 0n }),
    },
    "full_base",
    "foreign_system",
  ],
  [
    "has all, where nothing is committed",
    { history: aHistory({ committedLsn: 0n }) },
    "full_base",
    "nothing_committed",
  ],
  [
    "knows an epoch that was never given out",
    { handshake: aHandshake({ lineage: { kind: "epoch_above_arbiter", epoch: { number: 9n, uuid: "u" } } }) },
    "halt",
    "epoch_above_arbiter: the replica knows epoch 9",
  ],
  [
    "is behind and to be rebuilt",
    { mustRebuild: true },
    "snapshot_tail",
    "gap_within_retention: need LSN 0/321-0/3E8, tail=0/64 head=0/3E8",
  ],
  [
    "has forked, and a rewind has failed",
    { handshake: aHandshake({ lineage: FORKED }), floor: { rung: "snapshot_tail", because: "rewind: killed" } },
    "snapshot_tail",
    "forked_before_recovery_point: common ancestor 0/28A",
  ],
  [
    "says that it has all, and a base was broken off",
    {
      handshake: aHandshake({ replicaFlushedLsn: 1_000n }),
      floor: { rung: "full_base", because: "full_base: killed" },
    },
    "full_base",
    "zero_gap",
  ],
];

describe("which rung a replica is brought back by", () => {
  test.each(CASES)("one that %s", (_what, told, rung, reason) => {
    const decision = decide(facts(told));
    expect([decision.rung, decision.proof.reason]).toEqual([rung, reason]);
  });

  test.each([
    [{ checkpointLsn: 0n }, "no_checkpoint"],
    [{ checkpointTrusted: false }, "untrusted_checkpoint"],
    [{ checkpointLsn: 1_001n }, "untrusted_checkpoint"],
    [{ checkpointLsn: 99n }, "trusted_checkpoint_unreplayable_tail"],
    [{ committedLsn: 0n }, "nothing_committed"],
  ])("a backup of %o is not restored", (told, because) => {
    const decision = decide(facts({ history: aHistory(told), mustRebuild: true }));
    expect(decision.rung).toBe("full_base");
    expect(decision.refused.at(-1)).toEqual({ rung: "snapshot_tail", because });
  });

  test.each([
    [100n, 1_000n, true],
    [99n, 1_000n, false],
    [100n, 1_001n, false],
  ])("WAL above %s up to %s is there: %s", (start, end, isThere) => {
    expect(isRecoverable(aHistory(), start, end)).toBe(isThere);
  });

  test("a full base aims at the head where nothing is known to be committed", () => {
    expect(decide(facts({ history: aHistory({ committedLsn: 0n }) })).targetLsn).toBe(1_000n);
  });

  test("each failed rung leaves only dearer ones", () => {
    expect(RUNGS.slice(0, -1).map((rung) => rungAbove(rung))).toEqual([
      "rewind",
      "rewind",
      "rewind",
      "snapshot_tail",
      "full_base",
      "full_base",
    ]);
  });
});

describe("for all histories", () => {
  const lsn = fc.bigInt({ min: 0n, max: 60n });
  const lineage = fc.oneof(
    fc.constant<LineageRelation>({ kind: "on_lineage" }),
    lsn.map((forkLsn): LineageRelation => ({ kind: "ahead", forkLsn })),
    lsn.map((ancestorLsn): LineageRelation => ({ kind: "forked", ancestorLsn, because: "same_tli_uuid_mismatch" })),
    fc.constant<LineageRelation>({ kind: "lost", because: "empty" }),
    fc.boolean().map((mayRewindAgain): LineageRelation => ({ kind: "interrupted", what: "base", mayRewindAgain })),
  );
  const handshake = fc.record({
    replicaFlushedLsn: lsn,
    recoveryPointLsn: lsn,
    lineage,
    rewind: fc.oneof(
      lsn.map((fromLsn) => ({ possible: true as const, fromLsn })),
      fc.constant(NO_REWIND),
    ),
    isSlotLost: fc.boolean(),
  });
  const history = fc
    .record({
      headLsn: lsn,
      tailLsn: lsn,
      committedLsn: lsn,
      checkpointLsn: lsn,
      checkpointTrusted: fc.boolean(),
    })
    .filter((told) => checkHistory(told).ok);

  test("what is decided can be done with what is there, and every cheaper rung was refused for a reason", () => {
    fc.assert(
      fc.property(handshake, history, fc.boolean(), (said, told, mustRebuild) => {
        const { rung, refused, startLsn, targetLsn, truncateLsn, proof } = decide(
          facts({ handshake: said, history: told, mustRebuild }),
        );
        expect(refused.map(({ rung: cheaper }) => cheaper)).toEqual(RUNGS.slice(0, RUNGS.indexOf(rung)));
        expect(refused.every(({ because }) => because !== "")).toBe(true);
        expect(proof.reason).toContain(proof.code);
        const isTailed = rung !== "full_base" && startLsn < targetLsn;
        if (isTailed) expect(startLsn >= told.tailLsn && targetLsn <= told.headLsn).toBe(true);
        if (truncateLsn !== null) expect(said.recoveryPointLsn <= truncateLsn).toBe(true);
        if (rung === "zero_gap")
          expect(told.committedLsn > 0n && said.replicaFlushedLsn >= told.committedLsn).toBe(true);
        if (["zero_gap", "catchup", "truncate_only"].includes(rung)) {
          expect(["on_lineage", "ahead"]).toContain(said.lineage.kind);
          expect(startLsn <= said.replicaFlushedLsn).toBe(true);
        }
      }),
      property(2_000),
    );
  });

  test.each([
    [null, "history_missing"],
    [aHistory({ tailLsn: 1_001n }), "history_inconsistent"],
    [aHistory({ committedLsn: 1_001n }), "history_inconsistent"],
    [aHistory({ headLsn: 0n, tailLsn: 0n, committedLsn: 0n }), "history_inconsistent"],
  ])("a history of %o is refused", (told, code) => {
    expect(checkHistory(told)).toMatchObject({ ok: false, refusal: { code } });
  });
});
