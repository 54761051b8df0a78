import { describe, expect, test } from "vitest";
import type { Epoch } from "../../../src/lib/recovery/epoch.ts";
import { relateNode } from "../../../src/lib/recovery/postgres/lineage-facts.ts";
import type { NodeData, NodeLook } from "../../../src/lib/recovery/postgres/node-look.ts";
import type { PrimaryLook } from "../../../src/lib/recovery/postgres/primary-look.ts";
import type { StretchMatch, WalMatch } from "../../../src/lib/recovery/postgres/wal-match.ts";

const MB = 1024 * 1024;
const FIRST: Epoch = { number: 1n, uuid: "11111111-1111-4111-8111-111111111111" };
const SECOND: Epoch = { number: 2n, uuid: "22222222-2222-4222-8222-222222222222" };
const BESIDE: Epoch = { number: 2n, uuid: "bbbbbbbb-2222-4222-8222-222222222222" };
const FORK = BigInt(5 * MB + 800);
const TAIL = BigInt(4 * MB);

const PRIMARY: PrimaryLook = {
  systemId: "7",
  timeline: 2,
  stretches: [
    { timeline: 1, beganAtLsn: 0n },
    { timeline: 2, beganAtLsn: FORK },
  ],
  epochRows: [
    { ...SECOND, timeline: 2 },
    { ...FIRST, timeline: 1 },
  ],
  headLsn: BigInt(9 * MB),
  committedLsn: BigInt(9 * MB),
  tailLsn: TAIL,
  segmentBytes: MB,
  fullPageWrites: true,
  mayBeRewoundFrom: true,
  slot: null,
};

function look(end: bigint, timelines: readonly number[], changes: Partial<NodeLook & NodeData> = {}): NodeLook {
  const { marker = null, floor = null, ...data } = changes;
  const stretches = PRIMARY.stretches.filter(({ timeline }) => timelines.includes(timeline));
  return {
    node: "fula-2",
    marker,
    floor,
    data: {
      kind: "readable",
      control: {
        systemId: "7",
        state: "shut down in recovery",
        checkpointLsn: 0n,
        redoLsn: 0n,
        checkpointTimeline: 1,
        minRecoveryEndLsn: 0n,
        minRecoveryEndTimeline: 1,
        segmentBytes: MB,
        walBlockBytes: 8192,
        hasChecksums: true,
        walLogHints: true,
      },
      role: "standby",
      isServing: false,
      end: { timeline: timelines.at(-1) ?? 1, lsn: end },
      stretches,
      recoveryPointLsn: end,
      epochRows: null,
      wal: { dataDir: "/data", segmentBytes: MB, walBlockBytes: 8192, files: new Set(), histories: new Map() },
      ...data,
    },
  };
}

function matched(upToLsn: bigint, ...matches: readonly WalMatch[]): readonly StretchMatch[] {
  return matches.map((match, index) => ({
    timeline: index + 1,
    beganAtLsn: index === 0 ? 0n : FORK,
    match,
    upToLsn,
  }));
}

function relate(node: NodeLook, ...matches: readonly WalMatch[]) {
  const end = node.data.kind === "readable" ? node.data.end.lsn : 0n;
  return relateNode(node, PRIMARY, SECOND, matched(end, ...matches), TAIL);
}

describe("the history of a replica", () => {
  test("is the primary's where what both wrote is the same", () => {
    expect(relate(look(FORK - 50n, [1]), "same")).toEqual({ kind: "on_lineage" });
    expect(relate(look(FORK + 50n, [1, 2]), "same", "same")).toEqual({ kind: "on_lineage" });
    expect(relate(look(FORK + 50n, [1]), "same")).toEqual({ kind: "ahead", forkLsn: FORK });
  });

  test("is its own from the beginning of a timeline on which something else was written", () => {
    const twin = { kind: "forked", ancestorLsn: FORK, because: "same_tli_uuid_mismatch" };
    expect(relate(look(FORK + 50n, [1, 2]), "same", "different")).toEqual(twin);
    expect(relate(look(FORK - 50n, [1]), "different")).toEqual({ kind: "lost", because: "no_common_epoch" });
  });

  test("counts as its own where it could not be compared and could still be sent what follows", () => {
    expect(relate(look(FORK - 50n, [1]), "unknown")).toEqual({ kind: "lost", because: "no_common_epoch" });
    // Nobody has what it would need next: what it is said to be decides nothing.
    expect(relate(look(TAIL - 50n, [1]), "unknown")).toEqual({ kind: "on_lineage" });
  });

  test("is not the primary's where its rows name an epoch that the primary does not know", () => {
    const rows = { epochRows: [BESIDE, FIRST], isServing: true };
    expect(relate(look(FORK + 50n, [1, 2], rows), "same", "unknown").kind).toBe("forked");
    expect(relate(look(FORK + 50n, [1, 2], { epochRows: [FIRST], isServing: true }), "same", "same").kind).toBe(
      "on_lineage",
    );
  });

  test("halts everything where it is above what the control plane gave out, in its data or in what it has seen", () => {
    const above = { number: 3n, uuid: BESIDE.uuid };
    const halted = { kind: "epoch_above_arbiter", epoch: above };
    expect(relate(look(FORK - 50n, [1], { floor: above }), "same")).toEqual(halted);
    const gone: NodeLook = { ...look(FORK, [1], { floor: above }), data: { kind: "empty" } };
    expect(relateNode(gone, PRIMARY, SECOND, [], TAIL)).toEqual(halted);
    expect(relate(look(FORK - 50n, [1], { epochRows: [above, FIRST] }), "same")).toEqual(halted);
  });

  test("says nothing where something was written under a marker, or another ledger's data lie there", () => {
    const marker = { session: "7", kind: "full_base", phase: "scan", startedAt: "" } as const;
    expect(relate(look(FORK - 50n, [1], { marker }), "same")).toEqual({ kind: "on_lineage" });
    const written = { ...marker, phase: "write" } as const;
    const interrupted = { kind: "interrupted", what: "full_base (write) of session 7", mayRewindAgain: false };
    expect(relate(look(FORK, [1], { marker: written }), "same")).toEqual(interrupted);
    const node = look(FORK, [1]);
    const foreign = { ...PRIMARY, systemId: "8" };
    expect(relateNode(node, foreign, SECOND, [], TAIL)).toEqual({ kind: "lost", because: "foreign_system" });
    expect(relateNode({ ...node, data: { kind: "empty" } }, PRIMARY, SECOND, [], TAIL)).toEqual({
      kind: "lost",
      because: "empty",
    });
  });
});
