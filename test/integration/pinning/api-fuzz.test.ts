import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { makeTestApi, type TestApi } from "../../support/api.ts";
import { anyContent } from "../../support/contents.ts";
import { property, PROPERTY_TIMEOUT_MS } from "../../support/property.ts";

const USER = "fuzz@example.org";
let api: TestApi;
let headers: Readonly<Record<string, string>>;

beforeAll(async () => {
  api = await makeTestApi({ "api.requestsPerMinute": "1000000" });
  headers = await api.bearer(USER);
});
afterAll(async () => {
  await api[Symbol.asyncDispose]();
});

/** With NUL and halves of characters among the rest. */
const text = fc
  .array(fc.oneof(fc.integer({ min: 0, max: 0xffff }), fc.integer({ min: 0x20, max: 0x7e })), { maxLength: 20 })
  .map((codes) => String.fromCharCode(...codes));
const cid = fc.oneof(fc.integer({ min: 0, max: 20 }).map(anyContent), text);
const wish = fc.oneof(
  fc.record(
    {
      cid,
      name: fc.oneof(text, fc.constant(null)),
      origins: fc.array(fc.oneof(text, fc.constant("/ip4/10.0.0.1/tcp/1")), { maxLength: 3 }),
      meta: fc.dictionary(text, text, { maxKeys: 3 }),
    },
    { requiredKeys: ["cid"] },
  ),
  fc.jsonValue(),
);
const question = fc.record(
  {
    cid,
    name: text,
    match: fc.oneof(fc.constantFrom("exact", "iexact", "partial", "ipartial"), text),
    status: fc.oneof(fc.constantFrom("queued", "pinned,failed"), text),
    before: fc.oneof(
      fc.date({ noInvalidDate: true }).map((date) => date.toISOString()),
      text,
    ),
    after: fc.oneof(
      fc.date({ noInvalidDate: true }).map((date) => date.toISOString()),
      text,
    ),
    limit: fc.oneof(fc.integer({ min: 1, max: 1_000 }).map(String), text),
    meta: fc.oneof(
      fc.dictionary(text, text).map((meta) => JSON.stringify(meta)),
      text,
    ),
  },
  { requiredKeys: [] },
);
/** A lone half of a character cannot stand in a URL at all. */
const requestId = text.filter((id) => id.isWellFormed() && !/^\.{0,2}$/.test(id)).map(encodeURIComponent);

// Every answer is held against the document, too: one that it does not know fails.
test("whatever a request to the pinning service holds, it is answered as documented, and never as a fault of ours", {
  timeout: PROPERTY_TIMEOUT_MS,
}, async () => {
  const call = fc.oneof(
    wish.map((body) => ({ method: "POST" as const, url: "/pins", body })),
    question.map((asked) => ({ method: "GET" as const, url: `/pins?${new URLSearchParams(asked).toString()}` })),
    fc.tuple(requestId, wish).map(([id, body]) => ({ method: "POST" as const, url: `/pins/${id}`, body })),
    requestId.map((id) => ({ method: "GET" as const, url: `/pins/${id}` })),
    requestId.map((id) => ({ method: "DELETE" as const, url: `/pins/${id}` })),
  );
  await fc.assert(
    fc.asyncProperty(call, async (request) => {
      const { status, json } = await api.call({ ...request, headers });
      expect([status, json]).toEqual([status < 500 ? status : "below 500", json]);
    }),
    property(250, 10_000),
  );
  const { json } = await api.call({ url: "/pins?status=queued,pinning,pinned,failed&limit=1000", headers });
  expect(json.count).toBeGreaterThan(3);
});
