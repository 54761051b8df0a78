import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  formatLsn,
  parseLsn,
  parseWalFileName,
  segmentOf,
  segmentStart,
  walFileName,
} from "../../../src/lib/recovery/lsn.ts";
import { pinName, sessionOfPin } from "../../../src/lib/recovery/pins.ts";
import { property } from "../../support/property.ts";

const MIB = 1 << 20;
const anyLsn = fc.bigInt({ min: 0n, max: (1n << 64n) - 1n });
const anySegmentBytes = fc.constantFrom(MIB, 16 * MIB, 64 * MIB, 1024 * MIB);

describe("positions in the WAL", () => {
  test.each([
    ["0/0", 0n],
    ["16/B374D848", 0x16_b374_d848n],
    ["ffffffff/ffffffff", (1n << 64n) - 1n],
    [" 0/3000060\n", 0x300_0060n],
  ])("%j is read", (text, lsn) => {
    expect(parseLsn(text)).toBe(lsn);
  });

  test.each(["", "0", "0/", "/0", "0/123456789", "g/0", "0/0/0", "physical"])("%j is refused", (text) => {
    expect(() => parseLsn(text)).toThrow(expect.objectContaining({ code: "FULA_RECOVERY_WAL_POSITION" }));
  });

  test("every position is written as it is read", () => {
    fc.assert(
      fc.property(anyLsn, (lsn) => {
        expect(parseLsn(formatLsn(lsn))).toBe(lsn);
      }),
      property(),
    );
  });
});

describe("names of WAL files", () => {
  // pg_walfile_name names the file before where a position is the first byte of one: the last byte written is in there.
  test.each([
    [1, "0/1000028", 16 * MIB, "000000010000000000000001"],
    [2, "16/B374D848", 16 * MIB, "0000000200000016000000B3"],
    [31, "0/FFFFFFFF", 16 * MIB, "0000001F00000000000000FF"],
    [1, "1/0", 16 * MIB, "000000010000000100000000"],
    [1, "0/12345678", MIB, "000000010000000000000123"],
  ])("timeline %i at %s with segments of %i bytes is %s", (timeline, lsn, segmentBytes, name) => {
    expect(walFileName(timeline, parseLsn(lsn), segmentBytes)).toBe(name);
  });

  test("a name tells timeline and segment of the position that it was made for", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 0xffffffff }), anyLsn, anySegmentBytes, (timeline, lsn, segmentBytes) => {
        const file = parseWalFileName(walFileName(timeline, lsn, segmentBytes), segmentBytes);
        const segment = segmentOf(lsn, segmentBytes);
        expect(file).toEqual({ timeline, segment, startLsn: segmentStart(segment, segmentBytes) });
      }),
      property(),
    );
  });

  test.each([
    "00000002.history",
    "000000010000000000000001.partial",
    "00000001000000000000000",
    "archive_status",
    "000000010000000000000100",
  ])("%s is no WAL file with segments of 16 MiB", (name) => {
    expect(parseWalFileName(name, 16 * MIB)).toBeNull();
  });
});

describe("names of pins", () => {
  test.each(["wal", "snapshot", "base"] as const)("a %s pin tells its session", (kind) => {
    expect(sessionOfPin(pinName(42n, kind))).toBe(42n);
  });

  test.each(["fm_floor", "fm_pin_x_wal", "fm_pin_42_other", "xfm_pin_42_wal", "fm_pin_42_wal_2"])(
    "%s is the pin of no session",
    (name) => {
      expect(sessionOfPin(name)).toBeNull();
    },
  );
});
