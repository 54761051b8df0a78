import fc from "fast-check";
import { expect, test } from "vitest";
import { parseCid } from "../../../src/lib/blocks/cid.ts";
import { checkPinFilter } from "../../../src/lib/pinning/pin-filter.ts";
import { pinRecordOf } from "../../../src/lib/pinning/pin-record.ts";
import { spellingsOf } from "../../../src/lib/pinning/pin-spellings.ts";
import { checkPinWish } from "../../../src/lib/pinning/pin-wish.ts";
import { anyContent, twoSpellings } from "../../support/contents.ts";
import { property } from "../../support/property.ts";

const cid = anyContent("wish");
/** With NUL and halves of characters among the rest. */
const anyText = fc
  .array(fc.oneof(fc.integer({ min: 0, max: 0xffff }), fc.integer({ min: 0x20, max: 0x7e })), { maxLength: 300 })
  .map((codes) => String.fromCharCode(...codes));
const QUESTION = { cid: [], match: "exact", status: [], limit: 10 } as const;

function codeOf(act: () => unknown): string {
  try {
    act();
    return "taken";
  } catch (error) {
    return error instanceof Error && "code" in error ? String(error.code) : `a bug: ${String(error)}`;
  }
}

test("whatever a wish says, it is taken as it is or refused with a code", () => {
  fc.assert(
    fc.property(
      fc.record({
        cid: fc.oneof(fc.constant(cid), fc.string()),
        name: anyText,
        origins: fc.array(
          fc.oneof(
            fc.string(),
            fc.ipV4().map((ip) => `/ip4/${ip}/tcp/4001`),
          ),
          { maxLength: 22 },
        ),
        meta: fc.dictionary(fc.string(), anyText),
      }),
      (wish) => {
        const code = codeOf(() => checkPinWish(wish));
        expect(["taken", "FULA_PIN_REQUEST", "FULA_CID_INVALID"]).toContain(code);
        if (code !== "taken") return;
        const { name, meta } = checkPinWish(wish);
        expect([name, meta]).toEqual([wish.name, wish.meta]);
      },
    ),
    property(),
  );
});

test("whatever is asked for, it is a question for the ledger or refused with a code", () => {
  fc.assert(
    fc.property(
      fc.record({
        cid: fc.array(fc.oneof(fc.constant(cid), fc.string())),
        name: anyText,
        status: fc.array(fc.oneof(fc.constantFrom("queued", "pinned"), fc.string())),
        before: fc.oneof(
          fc.date({ noInvalidDate: true }).map((date) => date.toISOString()),
          fc.string(),
        ),
        meta: fc.oneof(fc.json(), fc.string()),
      }),
      (question) => {
        const code = codeOf(() => checkPinFilter({ ...QUESTION, ...question }));
        expect(["taken", "FULA_PIN_REQUEST", "FULA_CID_INVALID"]).toContain(code);
      },
    ),
    property(),
  );
});

test("a name may have 255 characters, however many bytes each of them has", () => {
  expect(checkPinWish({ cid, name: "🗝".repeat(255) }).name).toBe("🗝".repeat(255));
  expect(codeOf(() => checkPinWish({ cid, name: "🗝".repeat(256) }))).toBe("FULA_PIN_REQUEST");
});

test("an origin that is named twice is one", () => {
  const origin = "/dnsaddr/example.org";
  expect(checkPinWish({ cid, origins: [origin, origin] }).origins).toEqual([origin]);
});

test.each<[string, string]>([
  ["2026-11-21T20:00:00Z", "2026-11-21T20:00:00.0Z"],
  ["2026-11-21T20:00:00.1234567899Z", "2026-11-21T20:00:00.123456Z"],
  ["2026-11-21t20:00:00.5z", "2026-11-21T20:00:00.5Z"],
  ["2026-11-21T22:00:00+02:00", "2026-11-21T20:00:00.0Z"],
  ["2026-11-21T22:00:00 02:00", "2026-11-21T20:00:00.0Z"],
  ["2026-11-21T22:00:00.25-23:59", "2026-11-22T21:59:00.25Z"],
  ["0001-01-01T00:00:00Z", "0001-01-01T00:00:00.0Z"],
])("reads the time %s", (text, expected) => {
  expect(checkPinFilter({ ...QUESTION, before: text }).before).toBe(expected);
});

test("a content is looked for in every spelling that other software may have written", () => {
  const [v0, v1] = twoSpellings("spelled");
  expect(spellingsOf(v0)).toEqual([v0, v1]);
  expect(spellingsOf(v1)).toEqual([v1, v0]);
  expect(spellingsOf(cid)).toEqual([cid]);
  expect(checkPinFilter({ ...QUESTION, cid: [v0, v1] }).contents?.keys).toEqual([parseCid(v1).toString()]);
});

test("a row of other software is shown, whatever stands in it", () => {
  fc.assert(
    fc.property(
      fc.record({ origins: fc.option(fc.string()), meta: fc.option(fc.json()), info: fc.option(fc.json()) }),
      (columns) => {
        const row = { requestid: "r", status: "pinned", created: "", cid: "", name: null, delegates: "null" } as const;
        const { origins, meta, info } = pinRecordOf({ ...row, ...columns });
        expect(
          [...origins, ...Object.values(meta), ...Object.values(info)].every((text) => typeof text === "string"),
        ).toBe(true);
      },
    ),
    property(),
  );
});
