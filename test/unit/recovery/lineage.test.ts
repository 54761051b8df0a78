import { describe, expect, test } from "vitest";
import { type LineageEntry, type LineageRelation, relateLineage } from "../../../src/lib/recovery/lineage.ts";

function stretch(timeline: number, began: number, number: number | null, uuid = `u${number}`): LineageEntry {
  return { timeline, beganAtLsn: BigInt(began), epoch: number === null ? null : { number: BigInt(number), uuid } };
}

const FIRST = stretch(1, 0, 1);
const SECOND = stretch(2, 100, 2);
const TWIN = stretch(2, 100, 2, "another");
const AFFIRMED = stretch(1, 100, 2);

interface Case {
  readonly what: string;
  readonly primary: readonly LineageEntry[];
  readonly replica: readonly LineageEntry[];
  readonly flushed: number;
  readonly is: LineageRelation;
}

const ON_LINEAGE: LineageRelation = { kind: "on_lineage" };

const CASES: readonly Case[] = [
  { what: "the same history", primary: [FIRST, SECOND], replica: [FIRST, SECOND], flushed: 900, is: ON_LINEAGE },
  {
    what: "the old timeline, short of the fork",
    primary: [FIRST, SECOND],
    replica: [FIRST],
    flushed: 99,
    is: ON_LINEAGE,
  },
  {
    what: "the old timeline, just up to the fork",
    primary: [FIRST, SECOND],
    replica: [FIRST],
    flushed: 100,
    is: ON_LINEAGE,
  },
  {
    what: "the old timeline, past the fork",
    primary: [FIRST, SECOND],
    replica: [FIRST],
    flushed: 101,
    is: { kind: "ahead", forkLsn: 100n },
  },
  {
    what: "past the fork of two promotions ago",
    primary: [FIRST, SECOND, stretch(3, 200, 3)],
    replica: [FIRST],
    flushed: 250,
    is: { kind: "ahead", forkLsn: 100n },
  },
  {
    what: "the same timeline and number under another UUID",
    primary: [FIRST, SECOND],
    replica: [FIRST, TWIN],
    flushed: 100,
    is: { kind: "forked", ancestorLsn: 100n, because: "same_tli_uuid_mismatch" },
  },
  {
    what: "a twin promoted from an earlier position",
    primary: [FIRST, SECOND],
    replica: [FIRST, stretch(2, 80, 2, "another")],
    flushed: 300,
    is: { kind: "forked", ancestorLsn: 80n, because: "same_tli_uuid_mismatch" },
  },
  {
    what: "a timeline of its own",
    primary: [FIRST, SECOND],
    replica: [FIRST, stretch(3, 120, 2, "another")],
    flushed: 300,
    is: { kind: "forked", ancestorLsn: 100n, because: "forked_before_recovery_point" },
  },
  {
    what: "an own timeline where the primary has none after",
    primary: [FIRST],
    replica: [FIRST, stretch(2, 120, 1, "another")],
    flushed: 300,
    is: { kind: "forked", ancestorLsn: 120n, because: "forked_before_recovery_point" },
  },
  {
    what: "a second promotion whose epoch row nobody wrote",
    primary: [FIRST, SECOND],
    replica: [FIRST, stretch(2, 100, null)],
    flushed: 100,
    is: { kind: "forked", ancestorLsn: 100n, because: "same_tli_uuid_mismatch" },
  },
  {
    what: "an affirmed epoch, before its row",
    primary: [FIRST, AFFIRMED],
    replica: [FIRST],
    flushed: 100,
    is: ON_LINEAGE,
  },
  {
    what: "the same timeline past the row of an affirmed epoch, without the row",
    primary: [FIRST, AFFIRMED],
    replica: [FIRST],
    flushed: 101,
    is: { kind: "forked", ancestorLsn: 100n, because: "same_tli_uuid_mismatch" },
  },
  {
    what: "no epochs on either side",
    primary: [stretch(1, 0, null)],
    replica: [stretch(1, 0, null)],
    flushed: 50,
    is: ON_LINEAGE,
  },
  {
    what: "the newest epoch that was given out",
    primary: [FIRST, SECOND, stretch(3, 200, 3)],
    replica: [FIRST, SECOND, stretch(3, 200, 3)],
    flushed: 300,
    is: ON_LINEAGE,
  },
  {
    what: "the same epoch on another timeline",
    primary: [FIRST, SECOND],
    replica: [FIRST, stretch(3, 100, 2)],
    flushed: 300,
    is: { kind: "forked", ancestorLsn: 100n, because: "forked_before_recovery_point" },
  },
  {
    what: "a stretch without an epoch that begins elsewhere",
    primary: [stretch(1, 0, null)],
    replica: [stretch(1, 50, null)],
    flushed: 60,
    is: { kind: "lost", because: "no_common_epoch" },
  },
  {
    what: "another beginning",
    primary: [FIRST],
    replica: [stretch(1, 0, 1, "another")],
    flushed: 50,
    is: { kind: "lost", because: "no_common_epoch" },
  },
  {
    what: "no history at all",
    primary: [FIRST],
    replica: [],
    flushed: 0,
    is: { kind: "lost", because: "no_common_epoch" },
  },
  {
    what: "an epoch that the arbiter has not given out",
    primary: [FIRST],
    replica: [FIRST, stretch(2, 100, 7)],
    flushed: 300,
    is: { kind: "epoch_above_arbiter", epoch: { number: 7n, uuid: "u7" } },
  },
];

describe("how a replica's history stands to the primary's", () => {
  test.each(CASES)("$what: $is.kind", ({ primary, replica, flushed, is }) => {
    const arbiterEpoch = { number: 3n, uuid: "u3" };
    expect(relateLineage({ arbiterEpoch, primary, replica, replicaFlushedLsn: BigInt(flushed) })).toEqual(is);
  });
});
