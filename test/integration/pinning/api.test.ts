import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { resolveUserId } from "../../../src/lib/identity/user-id.ts";
import {
  type ApiAnswer,
  DELEGATE,
  insertSession,
  makeTestApi,
  signServiceAuth,
  type TestApi,
} from "../../support/api.ts";
import { anyContent, twoSpellings } from "../../support/contents.ts";
import { until } from "../../support/until.ts";

const OTHER = "eve@example.org";
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const CREATED = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/;
let api: TestApi;

beforeAll(async () => {
  api = await makeTestApi({ "api.requestsPerMinute": "100000" });
});
afterAll(async () => {
  await api[Symbol.asyncDispose]();
});

async function post(user: string, body: unknown, path = "/pins"): Promise<ApiAnswer> {
  return await api.call({ method: "POST", url: path, body, headers: await api.bearer(user) });
}

async function get(user: string, url: string): Promise<ApiAnswer> {
  return await api.call({ url, headers: await api.bearer(user) });
}

async function remove(user: string, requestId: string): Promise<ApiAnswer> {
  return await api.call({ method: "DELETE", url: `/pins/${requestId}`, headers: await api.bearer(user) });
}

/** What the worker does when the pinset holds it. */
async function setPinned(requestId: string, sizeBytes = 10): Promise<void> {
  await api.database.pool.query(
    "update pins set status = 'pinned', size = $2, measured_at = now() where requestid = $1",
    [requestId, sizeBytes],
  );
}

async function jobRevision(content: string): Promise<number> {
  const { rows } = await api.database.pool.query("select revision from pin_jobs where cid = $1", [content]);
  return Number(rows[0]?.revision ?? 0);
}

describe("POST /pins", () => {
  test("is 202 with the request as it is queued, and a job stands in the ledger", async () => {
    const cid = anyContent("first");
    const pin = { cid, name: "first", origins: [DELEGATE], meta: { app: "test" } };
    const { status, json } = await post("post@example.org", pin);
    expect(status).toBe(202);
    expect(json).toEqual({
      requestid: expect.stringMatching(UUID),
      status: "queued",
      created: expect.stringMatching(CREATED),
      pin,
      delegates: [DELEGATE],
      info: {},
    });
    expect(await jobRevision(cid)).toBe(1);
    const { json: read } = await get("post@example.org", `/pins/${json.requestid}`);
    expect(read).toEqual(json);
  });

  test("of what the user has already is 200 with the request that there is, however the CID is written", async () => {
    const [v0, v1] = twoSpellings("twice");
    const { json: first } = await post("twice@example.org", { cid: v0, name: "first" });
    const again = await post("twice@example.org", { cid: v1, name: "second" });
    expect([again.status, again.json]).toEqual([200, first]);
    await setPinned(first.requestid);
    expect(await post("twice@example.org", { cid: v1 })).toMatchObject({
      status: 200,
      json: { requestid: first.requestid, status: "pinned", pin: { cid: v0, name: "first" } },
    });
    // Another user's is his own.
    expect((await post(OTHER, { cid: v0 })).status).toBe(202);
  });

  test("of what is still on its way is tried at once, from where the user says now, too", async () => {
    const cid = anyContent("hurried");
    await post("hurry@example.org", { cid, origins: [DELEGATE] });
    const origin = "/ip4/203.0.113.7/tcp/4001";
    const { json } = await post("hurry@example.org", { cid, origins: [origin] });
    expect(json.pin.origins).toEqual([origin, DELEGATE]);
    expect(await jobRevision(cid)).toBe(2);
  });

  test("that comes while the user takes the same content back is a new request: what is gone is given to nobody", async () => {
    const user = "undecided@example.org";
    const cid = anyContent("undecided");
    const { json: first } = await post(user, { cid });
    const client = await api.database.pool.connect();
    try {
      await client.query("begin");
      await client.query("update pins set status = 'deleted' where requestid = $1", [first.requestid]);
      const asked = post(user, { cid });
      await until("the request waits for the row", async () => {
        const { rows } = await api.database.pool.query(
          "select from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()",
        );
        return rows.length > 0;
      });
      await client.query("commit");
      const { status, json } = await asked;
      expect([status, json.status]).toEqual([202, "queued"]);
      expect(json.requestid).not.toBe(first.requestid);
    } finally {
      client.release();
    }
  });

  test("of what has failed is a new request in its place", async () => {
    const cid = anyContent("failed");
    const { json: first } = await post("failed@example.org", { cid });
    await api.database.pool.query("update pins set status = 'failed' where requestid = $1", [first.requestid]);
    const { status, json } = await post("failed@example.org", { cid });
    expect([status, json.status]).toEqual([202, "queued"]);
    expect(json.requestid).not.toBe(first.requestid);
    expect((await get("failed@example.org", `/pins/${first.requestid}`)).status).toBe(404);
  });

  test("ten at once of one content are one request", async () => {
    const cid = anyContent("at once");
    const answers = await Promise.all(Array.from({ length: 10 }, async () => await post("race@example.org", { cid })));
    expect(answers.filter(({ status }) => status === 202)).toHaveLength(1);
    expect(new Set(answers.map(({ json }) => json.requestid)).size).toBe(1);
  });

  test.each([
    ["no CID", {}, "INVALID_REQUEST"],
    ["a CID that is none", { cid: "bafynothing" }, "CID_INVALID"],
    ["a name of 256 characters", { cid: anyContent(1), name: "é".repeat(256) }, "PIN_REQUEST"],
    ["a name with a NUL", { cid: anyContent(1), name: "a\0b" }, "PIN_REQUEST"],
    ["a name with half of a character", { cid: anyContent(1), name: "a\ud800" }, "PIN_REQUEST"],
    [
      "21 origins",
      { cid: anyContent(1), origins: Array.from({ length: 21 }, (_, i) => `/ip4/10.0.0.${i}/tcp/1`) },
      "PIN_REQUEST",
    ],
    ["an origin that is no multiaddress", { cid: anyContent(1), origins: ["https://example.org"] }, "PIN_REQUEST"],
    ["an origin of an unknown protocol", { cid: anyContent(1), origins: ["/nothing/1"] }, "PIN_REQUEST"],
    ["metadata that is no text", { cid: anyContent(1), meta: { size: 1 } }, "INVALID_REQUEST"],
    [
      "65 keys of metadata",
      { cid: anyContent(1), meta: Object.fromEntries(Array.from({ length: 65 }, (_, i) => [i, ""])) },
      "PIN_REQUEST",
    ],
    ["metadata of more than 8 KiB", { cid: anyContent(1), meta: { a: "x".repeat(8_192) } }, "PIN_REQUEST"],
    ["a list", [], "INVALID_REQUEST"],
  ])("refuses %s", async (_what, body, reason) => {
    const { status, json } = await post("wrong@example.org", body);
    expect([status, json.error.reason]).toEqual([400, reason]);
  });

  test("takes what is just within the limits, and gives a name back byte for byte", async () => {
    const name = "🗝".repeat(255);
    const meta = Object.fromEntries(Array.from({ length: 64 }, (_, i) => [`key ${i}`, "ü'\"\\%_"]));
    const origins = Array.from(
      { length: 20 },
      (_, i) => `/ip4/10.0.0.${i}/udp/4001/quic-v1/p2p/${DELEGATE.split("/").at(-1)}`,
    );
    const { status, json } = await post("limits@example.org", {
      cid: anyContent("limits"),
      name,
      meta,
      origins,
      more: 1,
    });
    expect([status, json.pin]).toEqual([202, { cid: anyContent("limits"), name, meta, origins }]);
  });

  test("takes JSON with null where a field is not given, as some clients write it", async () => {
    const { status, json } = await post("null@example.org", {
      cid: anyContent("null"),
      name: null,
      origins: null,
      meta: null,
    });
    expect([status, json.pin]).toEqual([202, { cid: anyContent("null"), origins: [], meta: {} }]);
  });

  test("is 402 for a user who may not store, who still sees and ends what he has", async () => {
    const user = "broke@example.org";
    const { json } = await post(user, { cid: anyContent("before") });
    await api.database.pool.query(
      "insert into user_credits (user_id, is_suspended, suspended_at) values ($1, 1, now())",
      [resolveUserId(user)],
    );
    const refused = await post(user, { cid: anyContent("after") });
    expect([refused.status, refused.json.error.reason]).toEqual([402, "INSUFFICIENT_CREDITS"]);
    expect((await post(user, { cid: anyContent("after") }, `/pins/${json.requestid}`)).status).toBe(402);
    // Another name for what is there takes no room.
    const renamed = await post(user, { cid: anyContent("before"), name: "new" }, `/pins/${json.requestid}`);
    expect(renamed.status).toBe(202);
    expect((await get(user, "/pins?status=queued")).json.count).toBe(1);
    expect((await remove(user, renamed.json.requestid)).status).toBe(202);
  });

  test("an account that cannot be asked about may not store, and nothing is written", async () => {
    const { pool } = api.database;
    await pool.query("alter table user_credits rename to user_credits_away");
    try {
      const { status } = await post("unasked@example.org", { cid: anyContent("unasked") });
      expect(status).toBeGreaterThanOrEqual(500);
    } finally {
      await pool.query("alter table user_credits_away rename to user_credits");
    }
    expect(await jobRevision(anyContent("unasked"))).toBe(0);
    expect((await get("unasked@example.org", "/pins?status=queued")).json.count).toBe(0);
  });

  test("is 451 for a content that the operators have blocked, however its CID is written", async () => {
    const [v0, v1] = twoSpellings("blocked");
    await api.database.pool.query("insert into blocked_cids (cid, reason) values ($1, 'court order')", [v0]);
    for (const cid of [v0, v1]) {
      const { status, json } = await post("blocked@example.org", { cid });
      expect([status, json.error.reason]).toEqual([451, "UNAVAILABLE_FOR_LEGAL_REASONS"]);
    }
    expect(await jobRevision(v1)).toBe(0);
  });
});

describe("POST /pins/{requestid}", () => {
  test("puts a new request in the place of the old one, whose content is let go in the same step", async () => {
    const user = "replace@example.org";
    const { json: old } = await post(user, { cid: anyContent("old"), name: "old" });
    const { status, json } = await post(user, { cid: anyContent("new"), name: "new" }, `/pins/${old.requestid}`);
    expect(status).toBe(202);
    expect(json).toMatchObject({ status: "queued", pin: { cid: anyContent("new"), name: "new" } });
    expect(json.requestid).not.toBe(old.requestid);
    expect((await get(user, `/pins/${old.requestid}`)).status).toBe(404);
    expect((await get(user, "/pins?status=queued,pinning,pinned,failed")).json.count).toBe(1);
    const { rows } = await api.database.pool.query("select replaces from pin_jobs where cid = $1", [anyContent("new")]);
    expect(rows).toEqual([{ replaces: anyContent("old") }]);
    expect(await jobRevision(anyContent("old"))).toBe(2);
  });

  test("of the same content changes what is said of it and nothing of what it is or costs", async () => {
    const user = "rename@example.org";
    const cid = anyContent("renamed");
    const { json: old } = await post(user, { cid, name: "old" });
    await setPinned(old.requestid, 4_096);
    const { json } = await post(user, { cid, name: "new", meta: { a: "b" } }, `/pins/${old.requestid}`);
    expect(json).toMatchObject({ status: "pinned", pin: { name: "new", meta: { a: "b" } } });
    const storage = await get(user, "/api/v1/storage");
    expect(storage.json.currentStorageBytes).toBe(4_096);
    expect((await get(user, "/pins")).json.results).toEqual([json]);
  });

  test("of what another request has already costs nothing more, however the CID is written", async () => {
    const user = "respelled@example.org";
    const [v0, v1] = twoSpellings("respelled");
    const { json: first } = await post(user, { cid: v0 });
    await setPinned(first.requestid, 4_096);
    const { json: other } = await post(user, { cid: anyContent("other than it") });
    const { json: second } = await post(user, { cid: v1 }, `/pins/${other.requestid}`);
    await setPinned(second.requestid, 4_096);
    expect((await get(user, "/api/v1/storage")).json.currentStorageBytes).toBe(4_096);
    await remove(user, first.requestid);
    expect((await get(user, "/api/v1/storage")).json.currentStorageBytes).toBe(4_096);
    expect((await get(user, "/pins")).json.count).toBe(1);
  });

  test("is 404 for another user's request, which stays as it is", async () => {
    const { json } = await post("owner@example.org", { cid: anyContent("owned") });
    const { status } = await post(OTHER, { cid: anyContent("stolen") }, `/pins/${json.requestid}`);
    expect(status).toBe(404);
    expect((await get("owner@example.org", `/pins/${json.requestid}`)).json).toEqual(json);
  });

  test("two at once of one request: one is taken, the other finds it gone", async () => {
    const user = "tworeplace@example.org";
    const { json } = await post(user, { cid: anyContent("both") });
    const answers = await Promise.all(
      [1, 2].map(async (n) => await post(user, { cid: anyContent(`both ${n}`) }, `/pins/${json.requestid}`)),
    );
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([202, 404]));
    expect((await get(user, "/pins?status=queued")).json.count).toBe(1);
  });
});

describe("DELETE /pins/{requestid}", () => {
  test("is 202 without a body, once; the bytes stop counting and the pinset is told", async () => {
    const user = "delete@example.org";
    const cid = anyContent("deleted");
    const { json } = await post(user, { cid });
    await setPinned(json.requestid, 4_096);
    const gone = await remove(user, json.requestid);
    expect([gone.status, gone.json]).toEqual([202, null]);
    expect((await get(user, "/api/v1/storage")).json.currentStorageBytes).toBe(0);
    expect(await jobRevision(cid)).toBe(2);
    expect((await remove(user, json.requestid)).status).toBe(404);
    expect((await get(user, `/pins/${json.requestid}`)).status).toBe(404);
    // And it may come again.
    expect((await post(user, { cid })).status).toBe(202);
  });

  test("is 404 for another user's request and for one that never was", async () => {
    const { json } = await post("keeper@example.org", { cid: anyContent("kept") });
    for (const requestId of [json.requestid, "nothing", "%00", "x".repeat(200)]) {
      expect((await remove(OTHER, requestId)).status).toBeOneOf([400, 404]);
    }
    expect((await get("keeper@example.org", `/pins/${json.requestid}`)).status).toBe(200);
  });

  test("ends what other software wrote, also where its CID is none", async () => {
    const user = "fleet@example.org";
    await api.database.pool.query(
      "insert into pins (requestid, user_id, cid, status) values ('fleet-1', $1, 'not a cid', 'pinned')",
      [resolveUserId(user)],
    );
    expect((await remove(user, "fleet-1")).status).toBe(202);
  });
});

describe("who may", () => {
  test("pages of any site may ask with their user's token, and read what is refused", async () => {
    const preflight = await api.preflight("/pins/x");
    expect([preflight.status, preflight.headers["access-control-allow-origin"]]).toEqual([204, "*"]);
    expect(preflight.headers["access-control-allow-methods"]).toContain("DELETE");
    expect(preflight.headers["access-control-allow-headers"]).toContain("authorization");
    expect((await api.call({ url: "/pins" })).headers["access-control-allow-origin"]).toBe("*");
    expect((await api.call({ url: "/api/v1/storage" })).headers["access-control-allow-origin"]).toBeUndefined();
  });

  test("whoever has no credential or a wrong one is refused with 401 and the API's error", async () => {
    for (const headers of [{}, { authorization: "Bearer nothing" }, { authorization: "Bearer " }]) {
      const { status, json } = await api.call({ url: "/pins", headers });
      expect([status, json.error.reason]).toEqual([401, "UNAUTHORIZED"]);
    }
  });

  test("a session reads and writes, a token that may only read reads", async () => {
    const user = "scopes@example.org";
    const session = { authorization: `Bearer ${await insertSession(api.database, user)}` };
    const body = { cid: anyContent("session") };
    expect((await api.call({ method: "POST", url: "/pins", body, headers: session })).status).toBe(202);
    const reader = await api.bearer(user, { scope: "storage:read" });
    expect((await api.call({ url: "/pins?status=queued", headers: reader })).json.count).toBe(1);
    expect((await api.call({ method: "POST", url: "/pins", body, headers: reader })).status).toBe(403);
  });

  test("a gateway pins for its user, as often as it has objects for him", async () => {
    const user = resolveUserId("s3@example.org");
    const limited = await makeTestApi({ "api.requestsPerMinute": "5" });
    try {
      const auth = signServiceAuth(limited.secrets.service, user, Math.floor(Date.now() / 1_000) + 60);
      const answers = await Promise.all(
        Array.from({ length: 20 }, async (_, index) =>
          limited.call({
            method: "POST",
            url: "/pins",
            body: { cid: anyContent(index), name: `object:photos/${index}` },
            headers: { "x-fula-service-auth": auth },
          }),
        ),
      );
      expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([202]));
      const own = await limited.bearer("s3@example.org");
      const counts = [];
      for (let n = 0; n < 7; n += 1) counts.push((await limited.call({ url: "/pins", headers: own })).status);
      expect(counts).toEqual([200, 200, 200, 200, 200, 429, 429]);
    } finally {
      await limited[Symbol.asyncDispose]();
    }
  });
});
