import { describe, expect, test } from "vitest";
import { assert, unreachable } from "../../../src/lib/kernel/assert.ts";
import { ERROR_CODES } from "../../../src/lib/kernel/error-codes.ts";
import { FulaError, isFulaError, messageOf, systemErrorCode } from "../../../src/lib/kernel/errors.ts";

describe("FulaError", () => {
  test("carries code, hint, details and cause, and takes its kind from the table", () => {
    const cause = new Error("ECONNREFUSED");
    const error = new FulaError("FULA_LOCKED", "Held.", { hint: "wait.", details: { pid: 1 }, cause });
    expect(error).toMatchObject({ code: "FULA_LOCKED", message: "Held.", hint: "wait.", details: { pid: 1 }, cause });
    expect(error.kind).toBe(ERROR_CODES.FULA_LOCKED.kind);
  });

  test("without a cause it has no cause at all, so that none is printed", () => {
    expect("cause" in new FulaError("FULA_USAGE", "no")).toBe(false);
  });

  test("isFulaError tells one code from another, and from other errors", () => {
    const error = new FulaError("FULA_USAGE", "no");
    expect([isFulaError(error), isFulaError(error, "FULA_USAGE"), isFulaError(error, "FULA_LOCKED")]).toEqual([
      true,
      true,
      false,
    ]);
    expect(isFulaError(Object.assign(new Error("no"), { code: "FULA_USAGE" }))).toBe(false);
  });
});

test("a system error gives its code, and nothing else gives one", () => {
  expect(systemErrorCode(Object.assign(new Error("no"), { code: "ENOENT" }))).toBe("ENOENT");
  expect([new Error("no"), { code: "ENOENT" }, null, "ENOENT"].map(systemErrorCode)).toEqual([
    undefined,
    undefined,
    undefined,
    undefined,
  ]);
});

test("whatever was thrown has a message", () => {
  expect([new Error("no"), "text", 7, null].map(messageOf)).toEqual(["no", "text", "7", "null"]);
});

test("a broken invariant is an error that is no FulaError", () => {
  expect(() => {
    assert(false, "two leaders");
  }).toThrow("Assertion failed: two leaders");
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- what the types forbid is what unreachable() is for
  expect(() => unreachable("odd" as never, "state")).toThrow('Unreachable state: "odd"');
});
