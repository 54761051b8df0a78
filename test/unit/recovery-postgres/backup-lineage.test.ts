import { expect, test } from "vitest";
import type { Epoch } from "../../../src/lib/recovery/epoch.ts";
import { type BackupPosition, isOfPrimary } from "../../../src/lib/recovery/postgres/backup-lineage.ts";

const FIRST: Epoch = { number: 1n, uuid: "11111111-1111-4111-8111-111111111111" };
const SECOND: Epoch = { number: 2n, uuid: "22222222-2222-4222-8222-222222222222" };
const BESIDE: Epoch = { number: 2n, uuid: "bbbbbbbb-2222-4222-8222-222222222222" };
const FORK = 0x5000n;

const PRIMARY = {
  stretches: [
    { timeline: 1, beganAtLsn: 0n },
    { timeline: 2, beganAtLsn: FORK },
  ],
  epochRows: [
    { ...SECOND, timeline: 2 },
    { ...FIRST, timeline: 1 },
  ],
};

test.each<readonly [string, BackupPosition, boolean]>([
  ["of the primary's own epoch", { timeline: 2, endLsn: FORK + 9n, epoch: SECOND }, true],
  ["of the epoch before, up to the fork", { timeline: 1, endLsn: FORK, epoch: FIRST }, true],
  ["from before there were epochs", { timeline: 1, endLsn: 9n, epoch: null }, true],
  ["of the epoch before, beyond the fork", { timeline: 1, endLsn: FORK + 1n, epoch: FIRST }, false],
  ["of a twin: same number and timeline, another UUID", { timeline: 2, endLsn: FORK + 9n, epoch: BESIDE }, false],
  ["of a twin on the timeline before", { timeline: 1, endLsn: 9n, epoch: BESIDE }, false],
  ["of one that was promoted by hand", { timeline: 2, endLsn: FORK + 9n, epoch: FIRST }, false],
  ["of the primary's timeline, without a word of its epoch", { timeline: 2, endLsn: FORK + 9n, epoch: null }, false],
  ["of a timeline that the primary never had", { timeline: 3, endLsn: FORK + 9n, epoch: SECOND }, false],
])("a base backup %s is told by its epoch, not by its timeline alone", (_, position, isIts) => {
  expect(isOfPrimary(position, PRIMARY)).toBe(isIts);
});

test("an epoch that a primary was given again, on the same timeline, takes nothing from the backups of the one before", () => {
  const epochRows = [
    { ...SECOND, timeline: 1 },
    { ...FIRST, timeline: 1 },
  ];
  const position = { timeline: 1, endLsn: 9n, epoch: FIRST };
  expect(isOfPrimary(position, { stretches: [{ timeline: 1, beganAtLsn: 0n }], epochRows })).toBe(true);
});

test("a ledger without epochs has its backups by their timeline", () => {
  expect(isOfPrimary({ timeline: 1, endLsn: 9n, epoch: null }, { ...PRIMARY, epochRows: [] })).toBe(true);
});
