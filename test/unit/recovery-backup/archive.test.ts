import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { holesSince, listArchive, reachOf } from "../../../src/lib/recovery/backup/wal-archive.ts";
import { endOnPath } from "../../../src/lib/recovery/backup/wal-receiver.ts";
import { walFileName } from "../../../src/lib/recovery/lsn.ts";
import { tempDir } from "../../support/temp-dir.ts";

const SEGMENT = 4_096;

/** An archive with segments by timeline and number; a third figure is how many bytes of it have come. */
function archiveWith(
  segments: readonly (readonly [timeline: number, segment: number, bytes?: number])[],
  histories: Readonly<Record<string, string>> = {},
): string {
  const backupDir = tempDir();
  const dir = join(backupDir, "wal");
  mkdirSync(dir);
  writeFileSync(join(dir, "archive.json"), JSON.stringify({ systemId: "77", segmentBytes: SEGMENT }));
  for (const [timeline, segment, bytes] of segments) {
    const name = walFileName(timeline, BigInt(segment * SEGMENT), SEGMENT);
    writeFileSync(join(dir, bytes === undefined ? name : `${name}.partial`), Buffer.alloc(bytes ?? SEGMENT));
    if (bytes === undefined) writeFileSync(join(dir, `${name}.sha256`), "x");
  }
  for (const [name, text] of Object.entries(histories)) writeFileSync(join(dir, name), text);
  return backupDir;
}

function at(segment: number, bytes = 0): bigint {
  return BigInt(segment * SEGMENT + bytes);
}

async function listingOf(...given: Parameters<typeof archiveWith>) {
  const listing = await listArchive(archiveWith(...given));
  if (listing === null) throw new Error("there is no archive");
  return listing;
}

test("an archive without a word of whose it is does not exist", async () => {
  expect(await listArchive(tempDir())).toBeNull();
});

test("segments that follow one another are one range, a missing one is a hole, and the last may be half there", async () => {
  const listing = await listingOf([
    [1, 3],
    [1, 4],
    [1, 6],
    [1, 7, 100],
  ]);
  expect(listing.ranges).toEqual([
    { timeline: 1, startLsn: at(3), endLsn: at(5) },
    { timeline: 1, startLsn: at(6), endLsn: at(7, 100) },
  ]);
  expect(listing.holes).toEqual([{ timeline: 1, startLsn: at(5), endLsn: at(6) }]);
  expect(reachOf(listing, at(3, 7), 1)?.endLsn).toBe(at(5));
  expect(reachOf(listing, at(6), 1)).toMatchObject({ endLsn: at(7, 100) });
});

test("a segment that is cut off, or has no digest, is not there", async () => {
  const listing = await listingOf([[1, 3]]);
  const backupDir = archiveWith([
    [1, 3],
    [1, 4],
  ]);
  writeFileSync(join(backupDir, "wal", walFileName(1, at(4), SEGMENT)), Buffer.alloc(SEGMENT - 1));
  expect((await listArchive(backupDir))?.ranges).toEqual(listing.ranges);
  const unsigned = archiveWith([[1, 3]]);
  writeFileSync(join(unsigned, "wal", walFileName(1, at(4), SEGMENT)), Buffer.alloc(SEGMENT));
  expect((await listArchive(unsigned))?.ranges).toEqual(listing.ranges);
});

test("a reach goes over to the next timeline in the segment in which that begins", async () => {
  const history = "1\t0/5010\tno recovery target specified\n";
  const listing = await listingOf(
    [
      [1, 4],
      [1, 5, 16],
      [2, 5],
      [2, 6, 9],
    ],
    { "00000002.history": history },
  );
  expect(reachOf(listing, at(4), 2)).toEqual({
    endLsn: at(6, 9),
    timeline: 2,
    files: [walFileName(1, at(4), SEGMENT), walFileName(2, at(5), SEGMENT), walFileName(2, at(6), SEGMENT)],
  });
  expect(reachOf(listing, at(4), 1)?.endLsn).toBe(at(5, 16));
  expect(reachOf(listing, at(4), 3)).toBeNull();
});

test("what a timeline got after the next one had left it is no part of that one's history", async () => {
  const listing = await listingOf(
    [
      [1, 4],
      [1, 5],
      [1, 6],
      [1, 7],
    ],
    { "00000002.history": "1\t0/5010\tx\n" },
  );
  // Segment 5 is there as the first timeline went on: PostgreSQL would replay what the second one never had.
  expect(reachOf(listing, at(4), 2)).toMatchObject({ endLsn: at(5), timeline: 1 });
});

test("a reach never goes back to an older timeline, whatever the history file says of that", async () => {
  // A recovery that was told timeline 2 and stopped on timeline 1, before 2 had left it: PostgreSQL copies all of the history.
  const history = "1\t0/8000\tx\n2\t0/5010\ty\n";
  const listing = await listingOf(
    [
      [1, 4],
      [1, 5],
      [1, 6],
      [3, 5],
    ],
    { "00000003.history": history },
  );
  expect(listing.histories.get(3)).toEqual([
    { timeline: 1, endLsn: at(5, 16) },
    { timeline: 2, endLsn: at(5, 16) },
  ]);
  expect(reachOf(listing, at(4), 3)).toMatchObject({ endLsn: at(6), timeline: 3 });
});

test("what is missing between two timelines is a hole as well, and so is a history", async () => {
  const history = { "00000002.history": "1\t0/6010\tx\n" };
  const lost = await listingOf(
    [
      [1, 4],
      [1, 5, 16],
      [2, 8],
    ],
    history,
  );
  expect(lost.holes).toEqual([]);
  expect(holesSince(lost, at(4, 7), 2)).toEqual([{ timeline: 1, startLsn: at(5, 16), endLsn: at(8) }]);
  expect(holesSince(lost, at(8, 7), 2)).toEqual([]);
  const nothingSince = await listingOf([[1, 4]], history);
  expect(holesSince(nothingSince, at(4, 7), 2)).toEqual([{ timeline: 1, startLsn: at(5), endLsn: at(6, 16) }]);
  expect(holesSince(await listingOf([[2, 8]]), at(8), 2)).toBeNull();
  const left = await listingOf(
    [
      [1, 4],
      [1, 5, 16],
      [1, 9],
      [1, 11],
      [2, 5],
    ],
    { "00000002.history": "1\t0/5010\tx\n" },
  );
  expect(holesSince(left, at(4), 2)).toEqual([]);
});

test("archiving goes on at the end of what is there of the server's own history", () => {
  const path = [
    { timeline: 1, endLsn: at(5, 16) },
    { timeline: 3, endLsn: null },
  ];
  const ranges = (...given: readonly (readonly [number, bigint])[]) => ({
    ranges: given.map(([timeline, endLsn]) => ({ timeline, startLsn: 0n, endLsn })),
  });
  expect(endOnPath(ranges([1, at(4)]), path)).toEqual({ timeline: 1, lsn: at(4), archivedOn: 1 });
  expect(endOnPath(ranges([1, at(5, 16)]), path)).toEqual({ timeline: 3, lsn: at(5, 16), archivedOn: 1 });
  expect(endOnPath(ranges([1, at(9)]), path)).toEqual({ timeline: 3, lsn: at(5, 16), archivedOn: 1 });
  expect(endOnPath(ranges([1, at(5)], [3, at(8)]), path)).toEqual({ timeline: 3, lsn: at(8), archivedOn: 3 });
  expect(endOnPath(ranges([2, at(8)]), path)).toBeNull();
});
