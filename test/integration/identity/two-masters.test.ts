import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { compareUsage } from "../../../src/lib/billing/reconcile.ts";
import { verifyLedger } from "../../../src/lib/billing/verify.ts";
import { ownAccountOf } from "../../../src/lib/identity/subject.ts";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { signToken } from "../../support/api.ts";
import { runCliForTest } from "../../support/cli.ts";
import { type Answer, sendHttp } from "../../support/http.ts";
import { makeServingBox, type ServingBox, startTestServer } from "../../support/serving.ts";
import { shareState } from "../../support/two-gateways.ts";
import { until } from "../../support/until.ts";
import { keptUsage } from "../../support/usage.ts";

const WALLET = `0x${"c5".repeat(20)}`;
const OWN = ownAccountOf(WALLET);
/** Within which every master refuses what was revoked. */
const BOUND_MS = 5_000;
/** A process that is late by more than this was not let run. */
const STALL_MS = 200;
const BYTES = 3_000_000;
const opened = new AsyncDisposableStack();
let boxes: readonly [ServingBox, ServingBox];

beforeAll(async () => {
  const settings = { billing: { freeTierBytes: 0, enabled: "off" } };
  const one = opened.use(await makeServingBox(settings));
  const other = opened.use(await makeServingBox(settings, one));
  await shareState(one, other);
  opened.use(await startTestServer(one));
  opened.use(await startTestServer(other));
  boxes = [one, other];
});

afterAll(async () => {
  await opened.disposeAsync();
});

async function walletToken(jti = "1"): Promise<string> {
  const iat = Math.floor(systemClock.nowMs() / 1_000);
  return await signToken(boxes[0].secrets["JWT_SECRET"] ?? "", { sub: WALLET, scope: "storage:*", iat, jti });
}

async function send(
  box: ServingBox,
  token: string,
  method: string,
  target: string,
  body?: Uint8Array,
): Promise<Answer> {
  return await sendHttp(box.ports.gateway, {
    method,
    target,
    headers: [
      ["host", `127.0.0.1:${box.ports.gateway}`],
      ["authorization", `Bearer ${token}`],
      ["content-length", String(body?.byteLength ?? 0)],
    ],
    ...(body !== undefined && { body }),
  });
}

async function bytesByApi(box: ServingBox, token: string): Promise<number> {
  const url = `http://127.0.0.1:${box.ports.api}/api/v1/storage`;
  const answer = await fetch(url, { headers: { authorization: `Bearer ${token}` } });
  return z.object({ currentStorageBytes: z.number() }).parse(await answer.json()).currentStorageBytes;
}

/** Adds up how long this process, with both masters in it, was kept from doing anything: no master's bound runs meanwhile. */
function watchStalls(): { readonly stalledMs: () => number } & Disposable {
  let stalledMs = 0;
  const end = new AbortController();
  const watch = async (): Promise<void> => {
    while (!end.signal.aborted) {
      const sinceMs = systemClock.monotonicMs();
      await systemClock.sleep(STALL_MS);
      const lateMs = systemClock.monotonicMs() - sinceMs - STALL_MS;
      if (lateMs > STALL_MS) stalledMs += lateMs;
    }
  };
  void watch();
  return {
    stalledMs: () => stalledMs,
    [Symbol.dispose]: () => {
      end.abort();
    },
  };
}

test("what a wallet stores at one master is read at the other, counts as its own, and is billed", async () => {
  const token = await walletToken();
  const [one, other] = boxes;
  expect((await send(one, token, "PUT", "/photos")).status).toBe(200);
  const body = Buffer.alloc(BYTES, 7);
  expect((await send(one, token, "PUT", "/photos/a.jpg", body)).status).toBe(200);
  const read = await send(other, token, "GET", "/photos/a.jpg");
  expect([read.status, read.body.byteLength]).toEqual([200, BYTES]);
  const { pool } = one.database;
  expect(Object.fromEntries(await keptUsage(pool))).toEqual({ [OWN]: BigInt(BYTES) });
  expect(await bytesByApi(other, token)).toBe(BYTES);
  expect((await compareUsage(pool, 10)).differences).toEqual([]);
  // Three hours later, as far as the ledger knows; counted from the hour of the upload, which may just have ended.
  await pool.query(`
    update user_usage set changed_hour = changed_hour - interval '3 hours' where bytes > 0;
    update usage_history set hour = hour - interval '3 hours';
    update usage_clock set closed_through = (select max(changed_hour) from user_usage where bytes > 0) - interval '1 hour';
    insert into billing_mode (mode, changed_at, changed_by, first_hour)
    select 'keyed', now(), 'a test', max(changed_hour) + interval '1 hour' from user_usage where bytes > 0`);
  const billed = await runCliForTest(["billing", "run", "--json"], { baseDir: one.baseDir });
  expect([billed.exitCode, billed.stderr]).toEqual([0, ""]);
  const { rows } = await pool.query<{ fees: string }>(
    "select count(*) as fees from credit_history where user_id = $1 and tx_type = 'hourly_deduction' and amount_fula < 0",
    [OWN],
  );
  expect(Number(rows[0]?.fees)).toBeGreaterThan(0);
  expect((await verifyLedger(pool)).checks.filter(({ ok }) => !ok)).toEqual([]);
});

test("a credential that is revoked while it is used is refused by both within the bound, and never again let in", async () => {
  const token = await walletToken();
  const over = new AbortController();
  const ask = async (place: 0 | 1): Promise<readonly number[]> => {
    const statuses: number[] = [];
    while (!over.signal.aborted) statuses.push((await send(boxes[place], token, "GET", "/")).status);
    return statuses;
  };
  const asking = Promise.all([ask(0), ask(1)]);
  await until("both have let it in", async () => (await send(boxes[1], token, "GET", "/")).status === 200);
  const denying = ["auth", "deny", "--token-file", "-", "--reason", "stolen", "--json"];
  const denied = await runCliForTest(denying, { baseDir: boxes[0].baseDir, stdin: token });
  const sinceMs = systemClock.monotonicMs();
  using stalls = watchStalls();
  expect(denied.exitCode).toBe(0);
  for (const box of boxes) {
    await until("it is refused", async () => (await send(box, token, "GET", "/")).status === 403);
  }
  expect(systemClock.monotonicMs() - sinceMs - stalls.stalledMs()).toBeLessThan(BOUND_MS);
  over.abort();
  for (const statuses of await asking) {
    const first = statuses.indexOf(403);
    expect(new Set(statuses.slice(0, first === -1 ? undefined : first))).toEqual(new Set([200]));
    if (first !== -1) expect(new Set(statuses.slice(first))).toEqual(new Set([403]));
  }
  // Another one of the same wallet is still good.
  expect((await send(boxes[1], await walletToken("2"), "GET", "/")).status).toBe(200);
});
