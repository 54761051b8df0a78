import { readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  decideStep,
  FAILOVER_ACTIONS,
  FAILOVER_STATES,
  FAILOVER_TRANSITIONS,
  type FailoverDecision,
  type FailoverFacts,
  type FailoverState,
  type FailoverTransition,
  hasReached,
  reachedState,
  stepsFrom,
} from "../../../src/lib/failover/failover-states.ts";
import { PROJECT_ROOT } from "../../../src/lib/kernel/project.ts";
import { property } from "../../support/property.ts";

const KINDS = ["failover", "switchover"] as const;
const ROWS: readonly FailoverTransition[] = FAILOVER_TRANSITIONS;
const RUN_ID = "00000000-0000-4000-8000-00000000000f";
const REPLACED = { number: 4, uuid: "00000000-0000-4000-8000-000000000004" };
const RAISED = { number: 5, uuid: "00000000-0000-4000-8000-000000000005" };
const ENDED = { ...REPLACED, primary: "alpha", syncSet: ["beta"], syncNeeded: 1 };

type EpochFact = FailoverFacts["epoch"];
const UNTOUCHED: EpochFact = { ...REPLACED, phase: "open", primary: "alpha", previous: null };
function raised(phase: EpochFact["phase"]): EpochFact {
  return { ...RAISED, phase, primary: "beta", previous: ENDED };
}

function facts(step: FailoverState, epoch: EpochFact, wish: FailoverFacts["wish"] = "go-on"): FailoverFacts {
  const run = { id: RUN_ID, kind: "failover" as const, replaces: REPLACED, from: "alpha", to: "beta", step };
  return { run, epoch, wish };
}

function actionOf(decision: FailoverDecision): string {
  return decision.kind === "step" ? decision.transition.action : decision.kind;
}

describe("the table of steps", () => {
  test("has a number for each row alone, and a state but one way on for each kind of run", () => {
    expect(new Set(ROWS.map(({ rule }) => rule)).size).toBe(ROWS.length);
    for (const kind of KINDS) {
      const ways = ROWS.filter((row) => row.action !== "reaffirm" && (row.kind === null || row.kind === kind));
      expect(new Set(ways.map(({ from }) => from)).size).toBe(ways.length);
    }
  });

  test("uses every action, and reaches every state but the first", () => {
    expect(new Set(ROWS.map(({ action }) => action))).toEqual(new Set(FAILOVER_ACTIONS));
    expect(new Set(ROWS.map(({ to }) => to))).toEqual(new Set(FAILOVER_STATES.filter((state) => state !== "begun")));
  });

  test("brings both kinds of run from their beginning to their end, only ever forwards", () => {
    for (const kind of KINDS) {
      const steps = stepsFrom(kind, "begun");
      expect(steps.at(-1)?.to).toBe("done");
      for (const { from, to } of steps) expect(hasReached(to, from)).toBe(true);
    }
    expect(stepsFrom("failover", "begun").map(({ action }) => action)).not.toContain("drainPrimary");
    expect(stepsFrom("switchover", "begun").map(({ action }) => action)).toContain("drainPrimary");
  });

  test("flips only after it has verified, and verifies only what was sealed", () => {
    const actions = stepsFrom("failover", "begun").map(({ action }) => action);
    const order = [
      "raiseEpoch",
      "awaitAttestations",
      "proveFence",
      "choosePrimary",
      "awaitPromotion",
      "proveSealed",
      "verifyService",
      "flip",
    ];
    expect(actions.filter((action) => order.includes(action))).toEqual(order);
  });
});

test("docs/failover.md has the table as it is", () => {
  const page = readFileSync(join(PROJECT_ROOT, "docs/failover.md"), "utf8");
  const rows = ROWS.map(
    ({ rule, from, to, action, kind, because }) =>
      `| ${rule} | ${from} | ${to} | \`${action}\` | ${kind ?? "both"} | ${because} |`,
  );
  expect(page.split("\n").filter((line) => /^\| \d+ \|/.test(line))).toEqual(rows);
});

describe("the decision about the next step", () => {
  test.each<[string, FailoverState, EpochFact, FailoverFacts["wish"], string]>([
    ["a run that has just begun looks first", "begun", UNTOUCHED, "go-on", "preflight"],
    ["one that was checked raises the epoch", "checked", UNTOUCHED, "go-on", "raiseEpoch"],
    [
      "one that was killed after it had raised the epoch goes on from there",
      "checked",
      raised("fencing"),
      "go-on",
      "silenceOldMaster",
    ],
    [
      "one that was killed after it had chosen waits for the promotion",
      "fenced",
      raised("promoting"),
      "go-on",
      "awaitPromotion",
    ],
    ["one that was killed while it waited finds the epoch open", "chosen", raised("open"), "go-on", "switchTargets"],
    [
      "what was found sealed is not looked at again for the epoch's sake",
      "sealed",
      raised("open"),
      "go-on",
      "verifyService",
    ],
    ["an abort gives the right back while nobody was chosen", "attested", raised("fencing"), "abort", "reaffirm"],
    ["an abort before anything was done needs no more", "begun", UNTOUCHED, "abort", "reaffirm"],
    ["an abort comes too late where somebody is being promoted", "fenced", raised("promoting"), "abort", "too-late"],
    ["an abort comes too late where somebody was promoted", "verified", raised("open"), "abort", "too-late"],
    [
      "a run that gave the right back is over",
      "raised",
      { ...raised("promoting"), uuid: RUN_ID, number: 6 },
      "go-on",
      "over",
    ],
    [
      "another epoch than its own ends its meaning",
      "checked",
      { ...raised("open"), previous: { ...ENDED, uuid: RUN_ID } },
      "go-on",
      "overtaken",
    ],
    ["a control plane that was set back is not believed", "raised", UNTOUCHED, "go-on", "overtaken"],
    ["not even where only the choice is missing", "open", raised("fencing"), "go-on", "overtaken"],
    ["nothing follows the end", "done", raised("open"), "go-on", "over"],
  ])("%s", (_title, step, epoch, wish, expected) => {
    expect(actionOf(decideStep(facts(step, epoch, wish)))).toBe(expected);
  });

  test("whatever was written, a run never goes back, and is aborted never where somebody may have been promoted", () => {
    const anyState = fc.constantFrom(...FAILOVER_STATES);
    const anyEpoch = fc.oneof(
      fc.constant(UNTOUCHED),
      fc.constantFrom("draining" as const, "fencing" as const, "promoting" as const, "open" as const).map(raised),
      fc.constant({ ...raised("promoting"), uuid: RUN_ID, number: 6 }),
    );
    const anyWish = fc.constantFrom("go-on" as const, "abort" as const);
    fc.assert(
      fc.property(anyState, anyEpoch, anyWish, fc.constantFrom(...KINDS), (step, epoch, wish, kind) => {
        const given = facts(step, epoch, wish);
        const asked = { ...given, run: { ...given.run, kind } };
        const decision = decideStep(asked);
        const state = reachedState(asked);
        if (decision.kind !== "step") return;
        expect(decision.transition.from).toBe(state);
        expect(hasReached(decision.transition.to, step)).toBe(true);
        if (decision.transition.action === "reaffirm")
          expect(["promoting", "open"]).not.toContain(epoch === UNTOUCHED ? "" : epoch.phase);
      }),
      property(500),
    );
  });
});
