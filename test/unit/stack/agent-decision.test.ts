import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Attestation, LedgerEpochRecord } from "../../../src/lib/membership/ledger-records.ts";
import { type AgentAct, decideAgent, type OwnServerState } from "../../../src/lib/stack/agent-decision.ts";
import { newAttestation, newEpoch } from "../../support/ledger-records.ts";
import { property } from "../../support/property.ts";

const ONE = { number: 1, uuid: "0ab6ad9e-53d6-4e48-8c2c-7f0a3f1a0001" };
const TWO = { number: 2, uuid: "0ab6ad9e-53d6-4e48-8c2c-7f0a3f1a0002" };
const THREE = { number: 3, uuid: "0ab6ad9e-53d6-4e48-8c2c-7f0a3f1a0003" };
const SWITCH = "0/5000000";

const previous = { ...ONE, primary: "old", syncSet: ["new", "third"], syncNeeded: 1 };

/** The second epoch, from `old` to `new`. */
function second(phase: LedgerEpochRecord["phase"], changes: Partial<LedgerEpochRecord> = {}): LedgerEpochRecord {
  const switchLsn = phase === "open" ? SWITCH : null;
  return newEpoch({ ...TWO, phase, primary: "new", previous, switchLsn, ...changes });
}

const primary = (newest = ONE): OwnServerState => ({ kind: "primary", newest });
const standby = (follows: "primary" | "other" | "nobody" = "other"): OwnServerState => ({ kind: "standby", follows });
const stopped: OwnServerState = { kind: "stopped", isStandby: false };
const stoppedStandby: OwnServerState = { kind: "stopped", isStandby: true };

/** What a box has said for the second epoch. */
function said(what: Attestation["what"], receivedLsn = SWITCH, lineage = ONE): Attestation {
  return newAttestation("any", { ...TWO, what, receivedLsn, lineage });
}

type Case = readonly [
  what: string,
  node: string,
  epoch: LedgerEpochRecord,
  server: OwnServerState,
  attested: Attestation | null,
  act: AgentAct,
];

const CASES: readonly Case[] = [
  ["a primary hands over in order", "old", second("draining"), primary(), null, "drain"],
  ["one that stopped for it says where its log ends", "old", second("draining"), stopped, null, "attest"],
  ["and says it once", "old", second("draining"), stopped, said("primary-stopped"), "nothing"],
  ["a standby stays with it meanwhile", "new", second("draining"), standby("primary"), null, "nothing"],
  ["a primary that nobody knows of is stopped", "third", second("draining"), primary(), null, "stop"],
  ["the old primary stops", "old", second("fencing"), primary(), null, "stop"],
  ["whoever else takes writes, too", "third", second("fencing"), primary(TWO), null, "stop"],
  ["a standby detaches", "new", second("fencing"), standby(), null, "detach"],
  ["one that is stopped, too", "third", second("fencing"), stoppedStandby, null, "detach"],
  [
    "what it said of another epoch does not count",
    "new",
    second("fencing"),
    standby(),
    newAttestation("new", THREE),
    "detach",
  ],
  ["one that has detached waits", "new", second("fencing"), standby("nobody"), said("standby-detached"), "nothing"],
  ["the stopped primary says where its log ends", "old", second("fencing"), stopped, null, "attest"],
  ["one that crashed says that it is gone, once", "old", second("fencing"), stopped, said("primary-halted"), "nothing"],
  ["also where it was to hand over", "old", second("draining"), stopped, said("primary-halted"), "nothing"],
  ["what does not answer is left alone", "new", second("fencing"), { kind: "silent" }, null, "nothing"],
  ["the chosen one is promoted", "new", second("promoting"), standby("nobody"), said("standby-detached"), "promote"],
  ["also from its grave", "new", second("promoting"), stoppedStandby, said("standby-detached"), "promote"],
  ["one that was promoted goes on with that", "new", second("promoting"), primary(TWO), null, "promote"],
  ["the others go on detaching", "third", second("promoting"), standby(), null, "detach"],
  [
    "one that was counted in comes to the chosen one at once",
    "third",
    second("promoting", { syncSet: ["third"], syncNeeded: 1 }),
    standby("nobody"),
    said("standby-detached"),
    "follow",
  ],
  [
    "and stays with it",
    "third",
    second("promoting", { syncSet: ["third"], syncNeeded: 1 }),
    standby("primary"),
    said("standby-detached"),
    "nothing",
  ],
  [
    "but not before it has said that it detached",
    "third",
    second("promoting", { syncSet: ["third"], syncNeeded: 1 }),
    standby("other"),
    null,
    "detach",
  ],
  [
    "one that was not counted in waits until the epoch is open",
    "third",
    second("promoting", { syncSet: ["fourth"], syncNeeded: 1 }),
    standby("nobody"),
    said("standby-detached"),
    "nothing",
  ],
  ["the old primary stops even so late", "old", second("promoting"), primary(), null, "stop"],
  ["the old primary gets its right back", "old", second("promoting", { primary: "old" }), primary(), null, "reaffirm"],
  ["also where it was stopped", "old", second("promoting", { primary: "old" }), stopped, null, "reaffirm"],
  ["the primary runs", "new", second("open"), primary(TWO), null, "nothing"],
  ["it is started where it died", "new", second("open"), stopped, null, "start-primary"],
  ["data of another epoch is no primary", "new", second("open"), primary(ONE), null, "stop"],
  ["nor is a twin's", "new", second("open"), primary({ ...TWO, uuid: THREE.uuid }), null, "stop"],
  ["a former primary that comes back is stopped", "old", second("open"), primary(), null, "stop"],
  ["and is not started", "old", second("open"), stopped, null, "nothing"],
  [
    "nor with a word about where its log ended, if that is beyond",
    "old",
    second("open"),
    stopped,
    said("primary-stopped"),
    "nothing",
  ],
  [
    "one that handed over all it had follows",
    "old",
    second("open"),
    stopped,
    said("primary-stopped", "0/4FFFF88"),
    "follow",
  ],
  [
    "one that crashed does not, for nobody knows where its log ends",
    "old",
    second("open"),
    standby("nobody"),
    said("primary-halted", "0/4FFFF88"),
    "detach",
  ],
  [
    "a standby that has nothing more follows",
    "third",
    second("open"),
    standby("nobody"),
    said("standby-detached"),
    "follow",
  ],
  [
    "one that has more does not",
    "third",
    second("open"),
    standby("nobody"),
    said("standby-detached", "0/5000001"),
    "nothing",
  ],
  [
    "one of another history does not",
    "third",
    second("open"),
    standby("nobody"),
    said("standby-detached", "0/1", THREE),
    "nothing",
  ],
  [
    "one that was counted in does",
    "third",
    second("open", { syncSet: ["third"], syncNeeded: 1 }),
    standby("other"),
    null,
    "follow",
  ],
  ["one that missed all of it says first what it has", "third", second("open"), standby("other"), null, "detach"],
  ["one that follows is left alone", "third", second("open"), standby("primary"), null, "nothing"],
  [
    "one that moved with its primary follows again",
    "third",
    second("open"),
    standby("other"),
    said("standby-detached", "0/6", TWO),
    "follow",
  ],
  ["a standby is started", "third", second("open"), stoppedStandby, null, "start-standby"],
  [
    "standbys come back to a primary with its right back",
    "third",
    second("open", { primary: "old", switchLsn: null }),
    standby("nobody"),
    null,
    "follow",
  ],
];

describe("what a box does with its server", () => {
  test.each(CASES)("%s", (_what, node, epoch, server, attested, act) => {
    expect(decideAgent({ node, epoch, server, attested }).act).toBe(act);
  });

  test("a box without data does nothing, whatever the epoch", () => {
    for (const phase of ["draining", "fencing", "promoting", "open"] as const) {
      const facts = { node: "new", epoch: second(phase), server: { kind: "absent" }, attested: null } as const;
      expect(decideAgent(facts).act).toBe("nothing");
    }
  });
});

const anyEpochOf = fc.constantFrom(ONE, TWO, THREE);
const anyServer: fc.Arbitrary<OwnServerState> = fc.oneof(
  fc.constantFrom<OwnServerState>({ kind: "absent" }, { kind: "silent" }, stopped, stoppedStandby),
  fc.constantFrom("primary" as const, "other" as const, "nobody" as const).map(standby),
  fc.option(anyEpochOf).map((newest): OwnServerState => ({ kind: "primary", newest })),
);
const anyFacts = fc.record({
  node: fc.constantFrom("old", "new", "third"),
  epoch: fc
    .record({
      phase: fc.constantFrom<LedgerEpochRecord["phase"]>("draining", "fencing", "promoting", "open"),
      primary: fc.constantFrom("old", "new"),
      switchLsn: fc.constantFrom(SWITCH, null),
    })
    .map(({ phase, ...changes }) => second(phase, changes)),
  server: anyServer,
  attested: fc.option(
    fc
      .tuple(
        fc.constantFrom<Attestation["what"]>("standby-detached", "primary-stopped", "primary-halted"),
        fc.constantFrom("0/1", SWITCH, "0/6000000"),
        anyEpochOf,
      )
      .map(([what, lsn, lineage]) => said(what, lsn, lineage)),
  ),
});

test("only the box that the epoch names gets or keeps a server that takes writes", () => {
  fc.assert(
    fc.property(anyFacts, (facts) => {
      const { act } = decideAgent(facts);
      const isNamed = facts.epoch.primary === facts.node;
      if (act === "promote" || act === "reaffirm") expect([isNamed, facts.epoch.phase]).toEqual([true, "promoting"]);
      if (act === "start-primary") expect([isNamed, facts.epoch.phase]).toEqual([true, "open"]);
      if (facts.server.kind === "primary" && !isNamed) expect(["stop", "drain"]).toContain(act);
    }),
    property(),
  );
});
