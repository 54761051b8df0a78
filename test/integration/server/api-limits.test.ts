import { afterAll, beforeAll, expect, test } from "vitest";
import { type ApiAnswer, type ApiCall, makeTestApi, type TestApi } from "../../support/api.ts";

const GATEWAY = "203.0.113.20";
const PER_USER = 20;
let api: TestApi;

beforeAll(async () => {
  api = await makeTestApi({ "api.requestsPerMinute": String(PER_USER), "api.trustedProxies": "10.0.0.0/8" });
});
afterAll(async () => {
  await api[Symbol.asyncDispose]();
});

async function statuses(calls: readonly ApiCall[]): Promise<Readonly<Record<string, number>>> {
  const counts: Record<string, number> = {};
  for (const call of calls) {
    const { status } = await api.call(call);
    counts[status] = (counts[status] ?? 0) + 1;
  }
  return counts;
}

function repeated(times: number, call: ApiCall): readonly ApiCall[] {
  return Array.from({ length: times }, () => call);
}

test("a gateway with the system key checks 500 times in a minute and is always answered (defect 15)", async () => {
  const headers = { ...(await api.bearer("busy@example.org")), "x-system-key": api.secrets.system };
  expect(await statuses(repeated(500, { url: "/api/v1/storage", headers, from: GATEWAY }))).toEqual({ 200: 500 });
});

test("200 users behind one gateway without the key are all answered (defect 15)", async () => {
  const calls = await Promise.all(
    Array.from(
      { length: 200 },
      async (_, index): Promise<ApiCall> => ({
        url: "/api/v1/storage",
        headers: await api.bearer(`user${index}@example.org`),
        from: GATEWAY,
      }),
    ),
  );
  expect(await statuses(calls)).toEqual({ 200: 200 });
});

test("what gateways ask before they take an object is always answered, since they take a refusal for a yes (defect 15)", async () => {
  const headers = await api.bearer("suspended@example.org");
  const url = "/api/v1/storage";
  expect(await statuses(repeated(PER_USER * 3, { url, headers, from: GATEWAY }))).toEqual({ 200: PER_USER * 3 });
  // Nor does what the user asks beside it take anything of it.
  await statuses(repeated(PER_USER * 2, { url: "/api/v1/credits", headers, from: GATEWAY }));
  expect((await api.call({ url, headers, from: GATEWAY })).status).toBe(200);
});

test("one user who asks too often waits, wherever from, and nobody else does", async () => {
  const headers = await api.bearer("eager@example.org");
  const url = "/api/v1/credits";
  expect(await statuses(repeated(PER_USER, { url, headers, from: GATEWAY }))).toEqual({ 200: PER_USER });
  const late: ApiAnswer = await api.call({ url, headers, from: "203.0.113.99" });
  expect(late).toMatchObject({ status: 429, json: { error: { reason: "TOO_MANY_REQUESTS" } } });
  expect(Number(late.headers["retry-after"])).toBeGreaterThan(0);
  expect(Number(late.headers["retry-after"])).toBeLessThanOrEqual(60);
  const other = await api.call({ url, headers: await api.bearer("calm@example.org"), from: GATEWAY });
  expect(other.status).toBe(200);
});

test("a wrong system key opens nothing, and whoever goes on trying is told to wait", async () => {
  const from = "203.0.113.30";
  const call: ApiCall = { url: "/api/admin/suspended", headers: { "x-system-key": "guessed" }, from };
  const counts = await statuses(repeated(50, call));
  expect(counts).toEqual({ 401: 30, 429: 20 });
  const right = { "x-system-key": api.secrets.system };
  expect((await api.call({ url: "/api/admin/suspended", headers: right, from })).status).toBe(200);
});

test("a wrong system key lifts no limit", async () => {
  const headers = { ...(await api.bearer("wrongkey@example.org")), "x-system-key": `${api.secrets.system}x` };
  const counts = await statuses(repeated(PER_USER + 5, { url: "/api/v1/credits", headers, from: GATEWAY }));
  expect(counts).toEqual({ 200: PER_USER, 429: 5 });
});

test("wrong tokens of one address use up nothing of the good ones that come from there", async () => {
  const from = "203.0.113.40";
  const headers = { authorization: "Bearer wrong" };
  expect(await statuses(repeated(40, { url: "/api/v1/storage", headers, from }))).toEqual({ 401: 30, 429: 10 });
  const good = await api.bearer("good@example.org");
  expect((await api.call({ url: "/api/v1/storage", headers: good, from })).status).toBe(200);
});

test("strangers are counted by the address that a trusted proxy names, and by no other", async () => {
  const call = (from: string, forwarded: string): ApiCall => ({
    url: "/api/v1/storage",
    headers: { "x-forwarded-for": forwarded },
    from,
  });
  const behindProxy = Array.from({ length: 60 }, (_, index) => call("10.0.0.1", `198.51.100.${index}`));
  expect(await statuses(behindProxy)).toEqual({ 401: 60 });
  const madeUp = Array.from({ length: 60 }, (_, index) => call("203.0.113.50", `198.51.100.${index}`));
  expect(await statuses(madeUp)).toEqual({ 401: 30, 429: 30 });
});

test("what is public is limited by address", async () => {
  const counts = await statuses(repeated(310, { url: "/api/credits/pricing", from: "203.0.113.60" }));
  expect(counts).toEqual({ 200: 300, 429: 10 });
});
