import { afterAll, beforeAll, expect, test } from "vitest";
import { insertSession, signToken } from "../../support/api.ts";
import { sendHttp } from "../../support/http.ts";
import { makeServingBox, type ServingBox, startTestServer, type TestServer } from "../../support/serving.ts";
import { until } from "../../support/until.ts";

let box: ServingBox;
let serving: TestServer;

beforeAll(async () => {
  box = await makeServingBox();
  serving = await startTestServer(box);
});
afterAll(async () => {
  await serving.server.close();
  await box[Symbol.asyncDispose]();
});

async function get(target: string, token?: string): Promise<{ readonly status: number; readonly json: unknown }> {
  const headers = [
    ["host", "x"] as const,
    ...(token === undefined ? [] : [["authorization", `Bearer ${token}`] as const]),
  ];
  const { status, body } = await sendHttp(box.ports.api, { method: "GET", target, headers });
  return { status, json: JSON.parse(body.toString()) };
}

test("serve answers accounts on a port of its own, with the secrets of its box", async () => {
  expect(serving.server.endpoints.api).toBe(`http://127.0.0.1:${box.ports.api}`);
  const token = await signToken(box.secrets["JWT_SECRET"] ?? "", { sub: "alice@example.org", scope: "storage:read" });
  expect(await get("/api/v1/storage", token)).toMatchObject({ status: 200, json: { canUpload: true } });
  const session = await insertSession(box.database, "alice@example.org");
  expect(await get("/api/v1/wallets", session)).toEqual({ status: 200, json: { wallets: [] } });
  expect((await get("/api/v1/storage")).status).toBe(401);
  expect(await get("/openapi.json")).toMatchObject({ status: 200, json: { openapi: "3.1.0" } });
});

test("what nobody serves is told in the API's own form", async () => {
  expect(await get("/api/v2")).toMatchObject({ status: 404, json: { error: { reason: "NOT_FOUND" } } });
});

test("its requests are counted and logged, and no token stands in the log", async () => {
  const session = await insertSession(box.database, "logged@example.org");
  await get("/api/v1/credits", session);
  const { body } = await sendHttp(box.ports.server, { method: "GET", target: "/metrics", headers: [["host", "x"]] });
  expect(body.toString()).toMatch(/^fula_http_requests_total\{listener="api",method="GET",status_class="2xx"\} [1-9]/m);
  expect(serving.logged).toContainEqual(
    expect.objectContaining({ listener: "api", route: "/api/v1/credits", status: 200, by: "session" }),
  );
  expect(serving.logText()).not.toContain(session);
});

test("what goes wrong inside lets nobody in and tells nothing of the inside", async () => {
  const session = await insertSession(box.database, "outage@example.org");
  await box.database.pool.query("alter table sessions rename to sessions_away");
  const { status, json } = await get("/api/v1/storage", session);
  await box.database.pool.query("alter table sessions_away rename to sessions");
  expect([status, json]).toEqual([500, { error: { reason: "INTERNAL", details: expect.any(String) } }]);
  expect(JSON.stringify(json)).not.toContain("sessions");
});

test("a stop finishes what is under way", async () => {
  const session = await insertSession(box.database, "last@example.org");
  const client = await box.database.pool.connect();
  await client.query("begin; lock table user_credits in access exclusive mode");
  const answer = get("/api/v1/storage", session);
  await until("the request waits for the table", async () => {
    const { rowCount } = await box.database.pool.query(
      "select from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()",
    );
    return rowCount === 1;
  });
  const closed = serving.server.close();
  await until("the listener is closed", async () => {
    return await get("/openapi.json").then(
      () => false,
      () => true,
    );
  });
  await client.query("commit");
  client.release();
  expect((await answer).status).toBe(200);
  await closed;
});
