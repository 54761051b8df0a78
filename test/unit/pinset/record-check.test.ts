import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { makePin } from "../../../src/lib/cluster/pins.ts";
import { canonicalPin } from "../../../src/lib/pinset/canonical.ts";
import { RECORD_BYTES_MAX } from "../../../src/lib/pinset/format.ts";
import { parseRecord, RecordCheck } from "../../../src/lib/pinset/record-check.ts";
import { anyPin } from "../../support/any-pin.ts";
import { fullPin } from "../../support/pins.ts";
import { property } from "../../support/property.ts";

const TIME = "2026-01-01T00:00:00Z";

function check(text: string | Uint8Array, chunkBytes = 1 << 20): { readonly count: number; readonly codes: string[] } {
  const bytes = Buffer.from(text);
  const records = new RecordCheck();
  for (let start = 0; start < bytes.length; start += chunkBytes) records.add(bytes.subarray(start, start + chunkBytes));
  const codes = records.finish().map(({ code }) => code);
  return { count: records.count, codes };
}

const lines = (...cids: string[]): string => cids.map((cid) => `${canonicalPin(makePin(cid, TIME))}\n`).join("");

describe("records of a snapshot", () => {
  test("every pin passes, in chunks of any size", () => {
    fc.assert(
      fc.property(anyPin(), fc.integer({ min: 1, max: 700 }), (pin, chunkBytes) => {
        expect(check(`${canonicalPin(pin)}\n`, chunkBytes)).toEqual({ count: 1, codes: [] });
      }),
      property(),
    );
  });

  // The check has a fast way for what is surely good; it must never let through what the slow one refuses.
  test("a line that was changed anywhere passes only where it still is the canonical record of a pin", () => {
    let refused = 0;
    fc.assert(
      fc.property(
        anyPin(),
        fc.nat(),
        fc.integer({ min: 0, max: 255 }),
        fc.constantFrom(0, 1),
        (pin, at, byte, removed) => {
          const line = Buffer.from(canonicalPin(pin));
          const position = at % line.length;
          const changed = Buffer.concat([
            line.subarray(0, position),
            Buffer.of(byte),
            line.subarray(position + removed),
          ]);
          fc.pre(byte !== 0x0a);
          let isRecord = true;
          try {
            parseRecord(changed);
          } catch {
            isRecord = false;
            refused += 1;
          }
          expect(check(Buffer.concat([changed, Buffer.from("\n")])).codes).toEqual(
            isRecord ? [] : ["FULA_SNAPSHOT_RECORD"],
          );
        },
      ),
      property(3_000),
    );
    expect(refused).toBeGreaterThan(1_000);
  });

  test.each([
    ["a blank between fields", (line: string) => line.replace(",", ", ")],
    [
      "keys in another order",
      (line: string) => line.replace(/"max_depth":-1,(.*?),"mode":"recursive"/, '"mode":"recursive",$1,"max_depth":-1'),
    ],
    ["a field too much", (line: string) => line.replace(/\}$/, ',"zzz":1}')],
    ["a field too few", (line: string) => line.replace('"shard_size":0,', "")],
    ["an escape that is not needed", (line: string) => line.replace('"pin"', String.raw`"\u0070in"`)],
    ["an upper-case escape", (line: string) => line.replace('"name":""', String.raw`"name":"\u000F"`)],
    ["an escaped slash", (line: string) => line.replace('"name":""', String.raw`"name":"\/"`)],
    ["an escaped tab in the long form", (line: string) => line.replace('"name":""', String.raw`"name":"\u0009"`)],
    ["a lone surrogate", (line: string) => line.replace('"name":""', String.raw`"name":"\ud800"`)],
    ["metadata out of order", (line: string) => line.replace('"metadata":{}', '"metadata":{"b":"1","a":"2"}')],
    ["a metadata key twice", (line: string) => line.replace('"metadata":{}', '"metadata":{"a":"1","a":"2"}')],
    ["a number with a leading zero", (line: string) => line.replace('"shard_size":0', '"shard_size":00')],
    ["a number with a fraction", (line: string) => line.replace('"shard_size":0', '"shard_size":0.5')],
    ["minus zero", (line: string) => line.replace('"shard_size":0', '"shard_size":-0')],
    [
      "a factor out of range",
      (line: string) => line.replace('"replication_factor_max":-1', '"replication_factor_max":10001'),
    ],
    ["a time with an offset", (line: string) => line.replace(TIME, "2026-01-01T00:00:00+01:00")],
    ["a number for a name", (line: string) => line.replace('"name":""', '"name":1')],
    ["a CID with a blank", (line: string) => line.replace('"cid":"bafya"', '"cid":"bafy a"')],
    ["a CID with an umlaut", (line: string) => line.replace('"cid":"bafya"', '"cid":"bäfya"')],
    ["an empty CID", (line: string) => line.replace('"cid":"bafya"', '"cid":""')],
    ["a byte-order mark", (line: string) => `\u{feff}${line}`],
    ["a carriage return", (line: string) => `${line}\r`],
    ["nothing", () => ""],
    ["another document", () => "[]"],
  ])("a line with %s is not a record", (_what, change) => {
    const line = lines("bafya").trimEnd();
    expect(change(line)).not.toBe(line);
    expect(check(`${change(line)}\n`).codes).toEqual(["FULA_SNAPSHOT_RECORD"]);
  });

  test.each([
    ["10000 copies", fullPin(1, { replication_factor_max: 10_000 })],
    ["a shard size of 2^53-1", fullPin(1, { shard_size: Number.MAX_SAFE_INTEGER })],
    ["a name as long as a record may be", fullPin(1, { name: "n".repeat(RECORD_BYTES_MAX - 2_000) })],
    ["a long name of characters that are escaped", fullPin(1, { name: '"'.repeat(RECORD_BYTES_MAX / 2 - 1_000) })],
    ["a thousand origins", fullPin(1, { origins: Array.from({ length: 1_000 }, (_, index) => `/dns/${index}`) })],
  ])("a pin with %s is a record", (_what, pin) => {
    expect(check(`${canonicalPin(pin)}\n`)).toEqual({ count: 1, codes: [] });
  });

  test("bytes that are not UTF-8 are told, and only their line", () => {
    const bad = Buffer.from(lines("bafya").replace('"name":""', '"name":"?"'));
    bad[bad.indexOf("?")] = 0xff;
    const result = check(Buffer.concat([Buffer.from(lines("bafy0")), bad, Buffer.from(lines("bafyb"))]));
    expect(result).toEqual({ count: 3, codes: ["FULA_SNAPSHOT_RECORD"] });
  });

  test("a line that is too long is told, and no more than it is held", () => {
    const line = `${canonicalPin(fullPin(1, { name: "n".repeat(RECORD_BYTES_MAX) }))}\n`;
    expect(check(line, 64 * 1024).codes).toEqual(["FULA_SNAPSHOT_RECORD"]);
    expect(check(line).codes).toEqual(["FULA_SNAPSHOT_RECORD"]);
    const endless = new RecordCheck();
    for (let chunk = 0; chunk < 100; chunk += 1) endless.add(Buffer.alloc(256 * 1024, "x"));
    expect(endless.finish().map(({ code }) => code)).toEqual(["FULA_SNAPSHOT_RECORD"]);
  });

  test("a last line without an end is told", () => {
    expect(check(lines("bafya", "bafyb").slice(0, -1))).toEqual({ count: 1, codes: ["FULA_SNAPSHOT_RECORD"] });
  });

  test("a CID that comes twice or too late is told", () => {
    expect(check(lines("bafya", "bafya")).codes).toEqual(["FULA_SNAPSHOT_ORDER"]);
    expect(check(lines("bafyb", "bafya")).codes).toEqual(["FULA_SNAPSHOT_ORDER"]);
    // By bytes, as LC_ALL=C sort does: upper case first, digits before letters.
    expect(check(lines("Qm9", "QmA", "Qma", "bafya")).codes).toEqual([]);
  });

  test("of a thousand bad lines ten are told and the rest is counted", () => {
    const records = new RecordCheck();
    records.add(Buffer.from("{}\n".repeat(1_000)));
    const problems = records.finish();
    expect(problems).toHaveLength(11);
    expect(problems.at(-1)?.message).toBe("And 990 more lines like these.");
  });

  test("no records at all are no problem of the records", () => {
    expect(check("")).toEqual({ count: 0, codes: [] });
  });
});
