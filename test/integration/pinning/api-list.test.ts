import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { resolveUserId } from "../../../src/lib/identity/user-id.ts";
import { type ApiAnswer, makeTestApi, type TestApi } from "../../support/api.ts";
import { anyContent, twoSpellings } from "../../support/contents.ts";

const USER = "lists@example.org";
const ALL = "queued,pinning,pinned,failed";
let api: TestApi;

/** Created a second apart, the last one newest. */
const ROWS = [
  { id: "a", cid: twoSpellings("a")[0], name: "Photos of May", status: "pinned", meta: { app: "x", year: "2026" } },
  { id: "b", cid: anyContent("b"), name: "photos", status: "pinned", meta: { app: "x" } },
  { id: "c", cid: anyContent("c"), name: "100%_sure", status: "pinned", meta: {} },
  { id: "d", cid: anyContent("d"), name: "ÄRGER", status: "queued", meta: { app: "y" } },
  { id: "e", cid: anyContent("e"), name: "", status: "pinning", meta: {} },
  { id: "f", cid: anyContent("f"), name: "photos", status: "failed", meta: {} },
] as const;

beforeAll(async () => {
  api = await makeTestApi({ "api.requestsPerMinute": "100000" });
  for (const [index, { id, cid, name, status, meta }] of ROWS.entries()) {
    await api.database.pool.query(
      `insert into pins (requestid, user_id, cid, name, name_lowercase, status, meta, created_at)
       values ($1, $2, $3, $4, $5, $6, $7, '2026-01-01T00:00:00Z'::timestamptz + $8 * interval '1 second')`,
      [id, resolveUserId(USER), cid, name, name.toLowerCase(), status, JSON.stringify(meta), index],
    );
  }
  // Nobody sees these.
  await api.database.pool.query(
    "insert into pins (requestid, user_id, cid, status) values ('g', $1, 'bafy', 'deleted'), ('h', 'another', 'bafy', 'pinned')",
    [resolveUserId(USER)],
  );
});
afterAll(async () => {
  await api[Symbol.asyncDispose]();
});

async function list(question: Readonly<Record<string, string>>, user = USER): Promise<ApiAnswer> {
  return await api.call({ url: `/pins?${new URLSearchParams(question).toString()}`, headers: await api.bearer(user) });
}

async function idsOf(question: Readonly<Record<string, string>>): Promise<string> {
  const { status, json } = await list(question);
  expect(status).toBe(200);
  return json.results.map(({ requestid }: { readonly requestid: string }) => requestid).join("");
}

test("a user who has asked for nothing gets an empty list, and no error", async () => {
  expect(await list({}, "nobody@example.org")).toMatchObject({ status: 200, json: { count: 0, results: [] } });
});

test.each<[string, Readonly<Record<string, string>>, string]>([
  ["only what is pinned, where no status is asked for; newest first", {}, "cba"],
  ["every status that is asked for", { status: ALL }, "fedcba"],
  ["one status", { status: "queued" }, "d"],
  ["a CID in whatever spelling, whoever wrote the row", { cid: twoSpellings("a")[1] }, "a"],
  ["several CIDs", { cid: `${anyContent("b")},${anyContent("c")},${anyContent("nothing")}` }, "cb"],
  ["a name as it is", { name: "photos", status: ALL }, "fb"],
  ["a name in upper or lower case", { name: "pHOTOS", match: "iexact", status: ALL }, "fb"],
  ["a part of a name", { name: "photos", match: "partial" }, "b"],
  ["a part of a name in upper or lower case", { name: "PHOTOS", match: "ipartial" }, "ba"],
  ["letters beyond ASCII in upper or lower case", { name: "ärg", match: "ipartial", status: ALL }, "d"],
  ["signs that SQL would take for patterns as they are", { name: "%_", match: "partial" }, "c"],
  ["no pattern where none is meant", { name: "_", match: "exact" }, ""],
  ["what was created before", { before: "2026-01-01T00:00:02Z" }, "ba"],
  ["what was created after", { after: "2026-01-01T00:00:00.000000Z" }, "cb"],
  ["what was created between", { after: "2026-01-01T00:00:00Z", before: "2026-01-01T00:00:02Z" }, "b"],
  ["times of other zones", { before: "2026-01-01T01:00:01+01:00" }, "a"],
  ["metadata, all of what is asked for", { meta: '{"app":"x","year":"2026"}' }, "a"],
  ["metadata, part of what there is", { meta: '{"app":"x"}' }, "ba"],
  ["metadata that nothing has", { meta: '{"app":"x\\" or 1=1"}' }, ""],
  [
    "all of it together",
    { cid: anyContent("b"), name: "o", match: "partial", meta: "{}", before: "2027-01-01T00:00:00Z" },
    "b",
  ],
  ["at most as many as are asked for", { limit: "2" }, "cb"],
])("finds %s", async (_what, question, expected) => {
  expect(await idsOf(question)).toBe(expected);
});

test("count is that of all that match, not of the page", async () => {
  expect((await list({ limit: "1", status: ALL })).json).toMatchObject({ count: 6, results: [{ requestid: "f" }] });
  expect((await list({ limit: "1", name: "photos", status: ALL })).json.count).toBe(2);
  expect((await list({ before: "2020-01-01T00:00:00Z" })).json).toEqual({ count: 0, results: [] });
});

test.each<[Readonly<Record<string, string>>, string]>([
  [{ status: "deleted" }, "PIN_REQUEST"],
  [{ match: "regex" }, "INVALID_REQUEST"],
  [{ limit: "0" }, "INVALID_REQUEST"],
  [{ limit: "1001" }, "INVALID_REQUEST"],
  [{ limit: "ten" }, "INVALID_REQUEST"],
  [{ before: "yesterday" }, "PIN_REQUEST"],
  [{ before: "2026-13-01T00:00:00Z" }, "PIN_REQUEST"],
  [{ after: "0000-01-01T00:00:00Z" }, "PIN_REQUEST"],
  [{ after: "2026-01-01" }, "PIN_REQUEST"],
  [{ before: "2026-02-30T00:00:00Z" }, "PIN_REQUEST"],
  [{ cid: "bafynothing" }, "CID_INVALID"],
  [{ cid: Array.from({ length: 101 }, (_, index) => anyContent(index)).join(",") }, "PIN_REQUEST"],
  [{ name: "x".repeat(256) }, "PIN_REQUEST"],
  [{ name: "a\0" }, "PIN_REQUEST"],
  [{ meta: "[]" }, "PIN_REQUEST"],
  [{ meta: "{" }, "PIN_REQUEST"],
  [{ meta: '{"a":1}' }, "PIN_REQUEST"],
])("refuses the filter %j", async (question, reason) => {
  const { status, json } = await list(question);
  expect([status, json.error?.reason]).toEqual([400, reason]);
});

test("what other software wrote is shown, whatever is in it", async () => {
  const user = "strange@example.org";
  await api.database.pool.query(
    `insert into pins (requestid, user_id, cid, name, name_lowercase, origins, meta, delegates, info, status)
     values ('s1', $1, 'no cid', null, null, 'nothing', '{"size":1,"tags":["a"]}', '{}', '[]', 'pinned'),
            ('s2', $1, 'bafy', 'Name', '', '["/ip4/10.0.0.1/tcp/1"]', '{"nul":"\\u0000"}', null, null, 'pinned')`,
    [resolveUserId(user)],
  );
  const { json } = await list({ name: "NAME", match: "iexact" }, user);
  expect(json.results).toMatchObject([{ requestid: "s2", pin: { name: "Name", origins: ["/ip4/10.0.0.1/tcp/1"] } }]);
  // Both were written in one transaction and have one time: the page does not end among them.
  const { json: page } = await list({ limit: "1", meta: "{}" }, user);
  expect(page.results).toMatchObject([{ requestid: "s1", pin: { origins: [], meta: { size: "1", tags: '["a"]' } } }]);
  const { json: both } = await list({ limit: "1" }, user);
  expect([both.count, both.results.length]).toEqual([2, 2]);
});

describe("times of creation", () => {
  test("no two requests of an account have the same millisecond, however many come at once; texts sort as times", async () => {
    const user = "storm@example.org";
    const headers = await api.bearer(user);
    await Promise.all(
      Array.from({ length: 150 }, async (_, index) =>
        api.call({ method: "POST", url: "/pins", body: { cid: anyContent(index) }, headers }),
      ),
    );
    const { json } = await list({ status: "queued", limit: "1000" }, user);
    const created: readonly string[] = json.results.map((pin: { readonly created: string }) => pin.created);
    expect(created).toHaveLength(150);
    expect(created.toSorted().toReversed()).toEqual(created);
    expect(new Set(created.map((time) => Date.parse(time))).size).toBe(150);
    expect(created.every((time) => time.length === "2026-11-21T20:00:00.000000Z".length)).toBe(true);
  });

  test("a clock that went back makes no later request an earlier one", async () => {
    const user = "clock@example.org";
    await api.database.pool.query(
      "insert into pins (requestid, user_id, cid, status, created_at) values ('future', $1, 'bafy', 'pinned', now() + interval '1 hour')",
      [resolveUserId(user)],
    );
    await api.call({
      method: "POST",
      url: "/pins",
      body: { cid: anyContent("late") },
      headers: await api.bearer(user),
    });
    const { json } = await list({ status: "queued,pinned" }, user);
    expect(json.results.map((pin: { readonly requestid: string }) => pin.requestid).at(-1)).toBe("future");
  });
});

test("3,000 requests are paged through by the last time of each page, none twice and none left out", async () => {
  const user = "pages@example.org";
  // As the fleet wrote them: anywhere within a millisecond, two of them in the very same microsecond.
  await api.database.pool.query(
    `insert into pins (requestid, user_id, cid, status, created_at)
     select 'page-' || n, $1, 'bafy' || n, 'pinned',
            '2026-03-01T00:00:00Z'::timestamptz + (n / 2) * interval '333 microseconds' from generate_series(1, 3000) n`,
    [resolveUserId(user)],
  );
  const seen: string[] = [];
  for (let before: string | null = null; ; ) {
    const { json }: ApiAnswer = await list({ limit: "1000", ...(before !== null && { before }) }, user);
    const page: readonly { readonly requestid: string; readonly created: string }[] = json.results;
    seen.push(...page.map(({ requestid }) => requestid));
    before = page.at(-1)?.created ?? null;
    if (page.length < 1_000) break;
  }
  expect(seen).toHaveLength(3_000);
  expect(new Set(seen).size).toBe(3_000);
});
