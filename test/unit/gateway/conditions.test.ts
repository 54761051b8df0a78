import { describe, expect, test } from "vitest";
import { allowsRange, judgeRead, writeConditionOf } from "../../../src/lib/gateway/conditions.ts";
import { S3Error } from "../../../src/lib/gateway/s3-error.ts";
import { RequestHeaders } from "../../../src/lib/identity/raw-request.ts";

const OBJECT = { etag: "now", modifiedMs: Date.parse("2026-11-20T03:00:00.700Z") };
const BEFORE = "Fri, 20 Nov 2026 02:59:59 GMT";
const THEN = "Fri, 20 Nov 2026 03:00:00 GMT";
const AFTER = "Fri, 20 Nov 2026 03:00:01 GMT";

function headersOf(given: Readonly<Record<string, string>>): RequestHeaders {
  return new RequestHeaders(Object.entries(given).flat());
}

function outcome(call: () => unknown): unknown {
  try {
    return call();
  } catch (error) {
    if (error instanceof S3Error) return error.code;
    throw error;
  }
}

describe("a read", () => {
  test.each([
    [{}, "send"],
    [{ "if-match": '"now"' }, "send"],
    [{ "if-match": "now" }, "send"],
    [{ "if-match": "*" }, "send"],
    [{ "if-match": '"old", "now"' }, "send"],
    [{ "if-match": '"old"' }, "PreconditionFailed"],
    [{ "if-match": 'W/"now"' }, "PreconditionFailed"],
    [{ "if-none-match": '"now"' }, "not-modified"],
    [{ "if-none-match": 'W/"now"' }, "not-modified"],
    [{ "if-none-match": "*" }, "not-modified"],
    [{ "if-none-match": '"old","older"' }, "send"],
    [{ "if-modified-since": BEFORE }, "send"],
    [{ "if-modified-since": THEN }, "not-modified"],
    [{ "if-modified-since": AFTER }, "not-modified"],
    [{ "if-unmodified-since": BEFORE }, "PreconditionFailed"],
    [{ "if-unmodified-since": THEN }, "send"],
    // An ETag outweighs a date, whichever way.
    [{ "if-match": '"now"', "if-unmodified-since": BEFORE }, "send"],
    [{ "if-match": '"old"', "if-unmodified-since": AFTER }, "PreconditionFailed"],
    [{ "if-none-match": '"now"', "if-modified-since": BEFORE }, "not-modified"],
    [{ "if-none-match": '"old"', "if-modified-since": AFTER }, "send"],
    // What must hold comes before what may spare the bytes.
    [{ "if-match": '"old"', "if-none-match": '"now"' }, "PreconditionFailed"],
    [{ "if-match": '"now"', "if-none-match": '"now"' }, "not-modified"],
    [{ "if-match": '"a' }, "InvalidArgument"],
    [{ "if-match": "" }, "InvalidArgument"],
    [{ "if-none-match": '*, "a"' }, "InvalidArgument"],
    [{ "if-modified-since": "yesterday" }, "InvalidArgument"],
    [{ "if-unmodified-since": "2026-11-20" }, "InvalidArgument"],
  ])("with %j: %s", (given, expected) => {
    expect(outcome(() => judgeRead(headersOf(given), OBJECT))).toBe(expected);
  });

  test("of a copy's source has conditions of its own", () => {
    const given = headersOf({ "x-amz-copy-source-if-match": '"old"', "if-match": '"now"' });
    expect(outcome(() => judgeRead(given, OBJECT, "x-amz-copy-source-"))).toBe("PreconditionFailed");
    expect(outcome(() => judgeRead(given, OBJECT))).toBe("send");
  });

  test.each([
    [{}, true],
    [{ "if-range": '"now"' }, true],
    [{ "if-range": '"old"' }, false],
    [{ "if-range": 'W/"now"' }, false],
    [{ "if-range": "*" }, false],
    [{ "if-range": THEN }, true],
    [{ "if-range": BEFORE }, false],
  ])("of a part with %j may be of the part alone: %s", (given, expected) => {
    expect(allowsRange(headersOf(given), OBJECT)).toBe(expected);
  });
});

describe("a change", () => {
  test.each([
    [{}, null],
    [{ "if-none-match": "*" }, { ifMatch: null, ifNoneMatch: "*" }],
    [{ "if-match": '"a,b", c' }, { ifMatch: ["a,b", "c"], ifNoneMatch: null }],
    // A weak ETag can be no proof that the object is the very same, so that nothing matches.
    [{ "if-match": 'W/"a"' }, { ifMatch: [], ifNoneMatch: null }],
    [
      { "if-match": "*", "if-none-match": '"a"' },
      { ifMatch: "*", ifNoneMatch: ["a"] },
    ],
  ])("with %j depends on %j", (given, expected) => {
    expect(writeConditionOf(headersOf(given))).toEqual(expected);
  });
});
