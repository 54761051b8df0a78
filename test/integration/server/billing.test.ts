import { describe, expect, test } from "vitest";
import { z } from "zod";
import { isFulaError } from "../../../src/lib/kernel/errors.ts";
import type { Pool } from "../../../src/lib/postgres/pool.ts";
import { leaveHourEnd } from "../../support/hours.ts";
import { sendHttp } from "../../support/http.ts";
import { makeServingBox, type ServingBox, startTestServer, type TestServer } from "../../support/serving.ts";
import { until } from "../../support/until.ts";

const BILLING_ON = { billing: { vaultAddress: "0x00000000000000000000000000000000000000ff" } };
const GIB = 1_073_741_824;

const readiness = z.object({
  checks: z.array(
    z.object({
      name: z.string(),
      state: z.string(),
      error: z.string().nullable(),
      details: z.record(z.string(), z.unknown()).optional(),
    }),
  ),
});

async function get(port: number, target: string): Promise<string> {
  return (await sendHttp(port, { method: "GET", target, headers: [["host", "x"]] })).body.toString();
}

async function billingCheck(box: ServingBox): Promise<z.infer<typeof readiness>["checks"][number] | undefined> {
  const { checks } = readiness.parse(JSON.parse(await get(box.ports.server, "/readyz")));
  return checks.find(({ name }) => name === "billing");
}

/** An account that stores 10 GiB, in a ledger that has not been billed for three hours. */
async function missThreeHours(pool: Pool): Promise<void> {
  await leaveHourEnd();
  await pool.query(
    `with account as (insert into user_credits (user_id, balance_fula, opening_fula) values ($1, 100, 100) returning id)
     insert into user_usage (account_id, bytes) select id, $2 from account`,
    ["a".repeat(64), 10 * GIB],
  );
  await pool.query(
    `insert into billing_mode (mode, first_hour, changed_by)
     values ('keyed', date_trunc('hour', now(), 'UTC') - interval '3 hours', 'test')`,
  );
}

async function doneHours(pool: Pool): Promise<readonly { by: string; epoch: string; users: string }[]> {
  const { rows } = await pool.query<{ by: string; epoch: string; users: string }>(
    "select ended_by as by, ended_epoch as epoch, users from billing_hours where state = 'done' order by hour",
  );
  return rows;
}

function eventsOf({ logged }: TestServer, event: string): readonly Readonly<Record<string, unknown>>[] {
  return logged.filter((line) => line["event"] === event);
}

describe("a serving master", () => {
  test("charges the hours that were missed while nobody ran as soon as it is up, and says how it stands", async () => {
    await using box = await makeServingBox(BILLING_ON);
    const { pool } = box.database;
    await missThreeHours(pool);
    await using serving = await startTestServer(box);
    await until("all of them are billed", async () => (await doneHours(pool)).length === 3);
    expect(await doneHours(pool)).toEqual(Array.from({ length: 3 }, () => ({ by: "box-1", epoch: "1", users: "1" })));
    expect((await pool.query("select from credit_history where tx_type = 'hourly_deduction'")).rowCount).toBe(3);
    expect(eventsOf(serving, "acquired cron lease")).toMatchObject([{ holder: "box-1", epoch: "1", level: "info" }]);
    const metrics = await until("the run is counted", async () => {
      const text = await get(box.ports.server, "/metrics");
      return /^fula_job_last_success_timestamp_seconds\{job="deduction"\} \d{10}$/m.test(text) ? text : null;
    });
    expect(metrics).toMatch(/^fula_lease_held 1$/m);
    expect(metrics).toMatch(/^fula_lease_epoch 1$/m);
    expect(metrics).toMatch(/^fula_billing_fees_total 3$/m);
    expect(metrics).toMatch(/^fula_billing_alerts 0$/m);
    expect(metrics).toMatch(/^fula_dependency_up\{dependency="billing"\} 1$/m);
    expect((await billingCheck(box))?.details).toMatchObject({ leader: "box-1", epoch: 1 });
  });

  test("stands by while another one bills, and goes on when that one ends", async () => {
    await using box = await makeServingBox(BILLING_ON);
    await using other = await makeServingBox(BILLING_ON, box);
    const first = await startTestServer(box);
    await until("the first one leads", async () => await Promise.resolve(eventsOf(first, "acquired cron lease")[0]));
    await using second = await startTestServer(other);
    const standby = "standby (lease held by another master)";
    await until("the second one stands by", async () => await Promise.resolve(eventsOf(second, standby)[0]));
    expect(eventsOf(second, standby)).toMatchObject([{ holder: "box-1", epoch: "1" }]);
    expect(await get(other.ports.server, "/metrics")).toMatch(/^fula_lease_held 0$/m);
    await first.server.close();
    await until("the second one leads", async () => await Promise.resolve(eventsOf(second, "acquired cron lease")[0]));
    expect(eventsOf(second, "acquired cron lease")).toMatchObject([{ holder: "box-2", epoch: "2" }]);
    expect(await get(other.ports.server, "/metrics")).toMatch(/^fula_lease_epoch 2$/m);
  });

  test("whose flag differs from that of the one that bills is refused at its start, by name", async () => {
    await using box = await makeServingBox(BILLING_ON);
    await using other = await makeServingBox({ billing: { ...BILLING_ON.billing, idempotency: false } }, box);
    await using first = await startTestServer(box);
    await until("the first one leads", async () => await Promise.resolve(eventsOf(first, "acquired cron lease")[0]));
    const refusal = await startTestServer(other).then(
      async (serving) => {
        await serving.server.close();
        return null;
      },
      (error: unknown) => error,
    );
    expect(isFulaError(refusal, "FULA_BILLING_MODE_MIXED") && refusal.message).toContain("box-1");
  });

  test("without a vault bills nobody, says so, and takes no part in the lease", async () => {
    await using box = await makeServingBox();
    await using serving = await startTestServer(box);
    expect(eventsOf(serving, "billing.off")).toMatchObject([{ because: "billing.vaultAddress is not set" }]);
    expect(await billingCheck(box)).toBeUndefined();
    expect(await get(box.ports.server, "/metrics")).not.toMatch(/^fula_lease_held \d/m);
    const { rowCount } = await box.database.pool.query(
      "select from pg_stat_activity where datname = current_database() and application_name like 'fula-master/lease@%'",
    );
    expect(rowCount).toBe(0);
  });
});
