import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parseLsn } from "../../../src/lib/recovery/lsn.ts";
import { endOfRecord, parseWalRecord, redoOfCheckpoint } from "../../../src/lib/recovery/postgres/wal-record.ts";
import { property } from "../../support/property.ts";

const LAYOUT = { segmentBytes: 1024 * 1024, walBlockBytes: 8192 };

// As pg_waldump of PostgreSQL 15 prints them.
const SHUTDOWN =
  "rmgr: XLOG        len (rec/tot):    114/   114, tx:          0, lsn: 0/01518D38, prev 0/01518D00, desc: CHECKPOINT_SHUTDOWN redo 0/1518D38; tli 1; prev tli 1; fpw true; xid 0:725";
const SWITCH =
  "rmgr: XLOG        len (rec/tot):     24/    24, tx:          0, lsn: 0/01600150, prev 0/01600118, desc: SWITCH ";
const INSERT =
  "rmgr: Heap        len (rec/tot):     54/  8150, tx:        736, lsn: 0/01601FC8, prev 0/01601F88, desc: INSERT off 1 flags 0x00, blkref #0: rel 1663/5/16384 blk 0 FPW";

describe("a record of the WAL", () => {
  test("is read from a line of pg_waldump, and nothing else is", () => {
    expect(parseWalRecord(SHUTDOWN)).toMatchObject({ lsn: parseLsn("0/1518D38"), bytes: 114, manager: "XLOG" });
    expect(parseWalRecord(INSERT)).toMatchObject({ bytes: 8150, manager: "Heap" });
    expect(parseWalRecord("first record is after 0/1500000, at 0/1500028, skipping over 40 bytes")).toBeNull();
    expect(parseWalRecord("pg_waldump: error: error in WAL record at 0/1518D38: invalid record length")).toBeNull();
    expect(parseWalRecord("")).toBeNull();
  });

  test("says where a replay from it begins, if it is a checkpoint", () => {
    const of = (line: string) => {
      const record = parseWalRecord(line);
      return record === null ? null : redoOfCheckpoint(record);
    };
    expect(of(SHUTDOWN)).toBe(parseLsn("0/1518D38"));
    expect(of(SWITCH)).toBeNull();
    expect(of(INSERT.replace("INSERT off 1", "CHECKPOINT_ONLINE redo 0/1;"))).toBeNull();
  });

  test("ends after its bytes, aligned, and after the headers of the pages that it crosses", () => {
    const end = (line: string) => {
      const record = parseWalRecord(line);
      return record === null ? null : endOfRecord(record, LAYOUT);
    };
    expect(end(SHUTDOWN)).toBe(parseLsn("0/1518DB0"));
    // 56 bytes are left on its page; the others follow a header of 24.
    expect(end(INSERT)).toBe(0x1602000n + 24n + BigInt(8150 - 56) + 2n);
    // Nothing more goes into the segment.
    expect(end(SWITCH)).toBe(parseLsn("0/1700000"));
  });

  test("never ends within the header of a page", () => {
    const starts = fc.bigInt({ min: 0n, max: 40_000n }).map((n) => n * 8n + 40n);
    const records = fc.tuple(starts, fc.integer({ min: 24, max: 200_000 }));
    fc.assert(
      fc.property(records, ([start, bytes]) => {
        const block = BigInt(LAYOUT.walBlockBytes);
        fc.pre(start % block >= 40n);
        const record = { lsn: start, bytes, manager: "Heap", description: "INSERT" };
        const end = endOfRecord(record, LAYOUT);
        const offset = end % block;
        expect(offset === 0n || offset >= 24n).toBe(true);
        expect(end % 8n).toBe(0n);
        // Without headers it is as long as it says, up to the alignment.
        const pages = (end - 1n) / block - start / block;
        const segments = (end - 1n) / BigInt(LAYOUT.segmentBytes) - start / BigInt(LAYOUT.segmentBytes);
        const padding = end - start - BigInt(bytes) - pages * 24n - segments * 16n;
        expect(padding).toBeGreaterThanOrEqual(0n);
        expect(padding).toBeLessThan(8n);
      }),
      property(),
    );
  });
});
