import { expect, test } from "vitest";
import { type BackupPruneCandidate, decideBackupPrune } from "../../../src/lib/recovery/backup/prune-backups.ts";

function candidates(text: string): readonly BackupPruneCandidate[] {
  return text.split(" ").map((word, index) => ({
    name: `${index}`,
    isGood: !word.includes("b"),
    isKept: word.includes("k"),
    isPinned: word.includes("p"),
    isFuture: word.includes("f"),
  }));
}

// g: good, b: bad, k: kept by an operator, p: pinned by a recovery, f: dated in the future; newest first.
test.each([
  ["g g g", 2, "1100".slice(0, 3), "the newest stay"],
  ["g g g", 1, "100", "one is enough"],
  ["b g g", 1, "110", "a bad one neither counts nor goes"],
  ["g g gk", 1, "101", "what an operator keeps stays"],
  ["g gp g", 1, "110", "what a recovery uses stays"],
  ["b b g", 1, "111", "the last good one stays"],
  ["gf gf g g", 1, "1110", "those of a clock that was wrong push none out"],
])("of %s with keep %i stays %s: %s", (text, keep, wanted) => {
  const decisions = decideBackupPrune(candidates(text), keep);
  expect(decisions.map((decision) => (decision.keep ? "1" : "0")).join("")).toBe(wanted);
  for (const { keep: stays, reasons } of decisions) expect(reasons.length > 0).toBe(stays);
});
