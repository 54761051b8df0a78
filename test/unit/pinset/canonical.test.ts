import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Pin } from "../../../src/lib/cluster/pins.ts";
import { canonicalJson, canonicalPin } from "../../../src/lib/pinset/canonical.ts";
import { anyPin } from "../../support/any-pin.ts";
import { fullPin } from "../../support/pins.ts";
import { property } from "../../support/property.ts";

/** RFC 8785, appendix B: the bits of a double, and how it is written. */
const NUMBERS = [
  ["0000000000000000", "0"],
  ["8000000000000000", "0"],
  ["0000000000000001", "5e-324"],
  ["8000000000000001", "-5e-324"],
  ["7fefffffffffffff", "1.7976931348623157e+308"],
  ["ffefffffffffffff", "-1.7976931348623157e+308"],
  ["4340000000000000", "9007199254740992"],
  ["c340000000000000", "-9007199254740992"],
  ["4430000000000000", "295147905179352830000"],
  ["44b52d02c7e14af5", "9.999999999999997e+22"],
  ["44b52d02c7e14af6", "1e+23"],
  ["44b52d02c7e14af7", "1.0000000000000001e+23"],
  ["444b1ae4d6e2ef4e", "999999999999999700000"],
  ["444b1ae4d6e2ef4f", "999999999999999900000"],
  ["444b1ae4d6e2ef50", "1e+21"],
  ["3eb0c6f7a0b5ed8c", "9.999999999999997e-7"],
  ["3eb0c6f7a0b5ed8d", "0.000001"],
  ["41b3de4355555553", "333333333.3333332"],
  ["41b3de4355555554", "333333333.33333325"],
  ["41b3de4355555555", "333333333.3333333"],
  ["41b3de4355555556", "333333333.3333334"],
  ["41b3de4355555557", "333333333.33333343"],
  ["becbf647612f3696", "-0.0000033333333333333333"],
  ["43143ff3c1cb0959", "1424953923781206.2"],
] as const;

describe("canonical JSON", () => {
  test.each(NUMBERS)("the double %s is written %s (RFC 8785, appendix B)", (bits, expected) => {
    expect(canonicalJson(Buffer.from(bits, "hex").readDoubleBE())).toBe(expected);
  });

  test("the example of RFC 8785 §3.2.2 comes out as printed there", () => {
    const value: unknown = JSON.parse(
      String.raw`{"numbers":[333333333.33333329,1E30,4.50,2e-3,0.000000000000000000000000001],"string":"\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/","literals":[null,true,false]}`,
    );
    expect(canonicalJson(value)).toBe(
      String.raw`{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"string":"€$\u000f\nA'B\"\\\\\"/"}`,
    );
  });

  test("keys are sorted by UTF-16 code units, as in RFC 8785 §3.2.3", () => {
    const value = {
      "\u20ac": "Euro Sign",
      "\r": "Carriage Return",
      "\ufb33": "Hebrew Letter Dalet With Dagesh",
      "1": "One",
      "\ud83d\ude00": "Emoji: Grinning Face",
      "\u0080": "Control",
      "\u00f6": "Latin Small Letter O With Diaeresis",
    };
    expect([...canonicalJson(value).matchAll(/:"([^"]+)"/g)].map(([, name]) => name)).toEqual([
      "Carriage Return",
      "One",
      "Control",
      "Latin Small Letter O With Diaeresis",
      "Euro Sign",
      "Emoji: Grinning Face",
      "Hebrew Letter Dalet With Dagesh",
    ]);
  });

  test.each([
    ["NaN", Number.NaN],
    ["infinity", Number.POSITIVE_INFINITY],
    ["a lone surrogate", "\ud800"],
    ["a lone surrogate in a key", { "\udc00": 1 }],
    ["nothing", undefined],
  ])("%s has no canonical form", (_what, value) => {
    expect(() => canonicalJson(value)).toThrow();
  });

  test("reading a text and writing it again gives the same text", () => {
    fc.assert(
      fc.property(fc.jsonValue({ stringUnit: "binary" }), (value) => {
        const text = canonicalJson(value);
        expect(canonicalJson(JSON.parse(text))).toBe(text);
      }),
      property(),
    );
  });
});

describe("the record of a pin", () => {
  test("is what the general canonical form gives, for every pin", () => {
    fc.assert(
      fc.property(anyPin(), (pin) => {
        expect(canonicalPin(pin)).toBe(canonicalJson(pin));
      }),
      property(1_000),
    );
  });

  test("is the same whatever order the fields of the pin are in", () => {
    const pin = fullPin(1);
    const { timestamp, cid, ...rest } = pin;
    const reversed: Pin = { timestamp, ...rest, cid };
    expect(canonicalPin(reversed)).toBe(canonicalPin(pin));
  });

  test("has the fields of a pin and no others", () => {
    const more = { ...fullPin(1), extra: 1 };
    expect(canonicalPin(more)).toBe(canonicalPin(fullPin(1)));
  });

  test("sorts metadata as text, also keys that look like numbers", () => {
    const pin = fullPin(1, { metadata: { "10": "a", "9": "b", a: "c", "01": "d" } });
    expect(canonicalPin(pin)).toContain('"metadata":{"01":"d","10":"a","9":"b","a":"c"}');
  });

  test.each([
    ["name", fullPin(1, { name: "\ud800" })],
    ["metadata", fullPin(1, { metadata: { k: "\udfff" } })],
    ["a metadata key", fullPin(1, { metadata: { "\ud812": "v" } })],
  ])("is refused where %s holds a lone surrogate", (_field, pin) => {
    expect(() => canonicalPin(pin)).toThrow(/surrogate/i);
  });

  test("may hold the letters that an escaped surrogate has", () => {
    const pin = fullPin(1, { name: String.raw`\ud800` });
    expect(JSON.parse(canonicalPin(pin))).toEqual(pin);
  });
});
