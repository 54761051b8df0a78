import { describe, expect, test } from "vitest";
import { FulaError } from "../../../src/lib/kernel/errors.ts";
import { type CheckOutcome, createHealth, type HealthCheck } from "../../../src/lib/server/health.ts";
import { createReadiness } from "../../../src/lib/server/readiness.ts";
import { ManualClock } from "../../support/manual-clock.ts";

const OK: CheckOutcome = { state: "ok" };

function check(name: string, run: HealthCheck["run"], more: Partial<HealthCheck> = {}): HealthCheck {
  return { name, critical: true, timeoutMs: 1_000, cacheMs: 500, run, ...more };
}

describe("readiness", () => {
  test.each([
    ["ready", ["ok", "ok"]],
    ["degraded", ["ok", "degraded"]],
    ["unready", ["ok", "failed"]],
    ["unready", ["degraded", "failed"]],
  ] as const)("is %s where the checks are %j", async (expected, states) => {
    const checks = states.map((state, index) => check(`check-${index}`, async () => ({ state })));
    expect((await createHealth(checks, new ManualClock()).report()).status).toBe(expected);
  });

  test("is degraded where a check fails that requests do not need", async () => {
    const snapshot = check("snapshot", async () => await Promise.reject(new Error("unreadable")), { critical: false });
    const report = await createHealth([snapshot, check("disk", async () => OK)], new ManualClock()).report();
    expect(report).toMatchObject({
      status: "degraded",
      checks: [{ state: "failed", critical: false }, { state: "ok" }],
    });
  });

  test("fails where a check throws, with code and message", async () => {
    const failing = check("database", async () => {
      throw new FulaError("FULA_DATABASE_UNREACHABLE", "PostgreSQL does not answer.");
    });
    const report = await createHealth([failing, check("disk", async () => OK)], new ManualClock()).report();
    expect(report).toMatchObject({
      status: "unready",
      checks: [
        { name: "database", state: "failed", error: "FULA_DATABASE_UNREACHABLE: PostgreSQL does not answer." },
        { name: "disk", state: "ok", error: null },
      ],
    });
  });

  test("fails where a check does not answer in time, starts no second one beside it, and takes its answer when it comes", async () => {
    const clock = new ManualClock();
    const answer = Promise.withResolvers<CheckOutcome>();
    let runs = 0;
    const hanging = check("database", async () => {
      runs += 1;
      return await answer.promise;
    });
    const health = createHealth([hanging], clock);
    const first = health.report();
    await clock.step(1_000);
    expect(await first).toMatchObject({
      status: "unready",
      checks: [{ error: "no answer within 1000 ms", latencyMs: 1_000 }],
    });
    const second = health.report();
    await clock.step(0);
    expect((await second).status).toBe("unready");
    expect(runs).toBe(1);
    answer.resolve(OK);
    await clock.step(10);
    expect((await health.report()).status).toBe("ready");
    expect(runs).toBe(1);
  });

  test("is looked at once for all who ask at the same time, and again only when the answer is old", async () => {
    const clock = new ManualClock();
    let runs = 0;
    const counting = check("blocks", async () => {
      runs += 1;
      return OK;
    });
    const health = createHealth([counting], clock);
    await Promise.all([health.report(), health.report(), health.report()]);
    expect(runs).toBe(1);
    await clock.step(499);
    expect((await health.report()).checks[0]?.ageMs).toBe(499);
    expect(runs).toBe(1);
    await clock.step(1);
    expect((await health.report()).checks[0]?.ageMs).toBe(0);
    expect(runs).toBe(2);
  });

  test("is well again within half a second of what failed, however long its answers are kept", async () => {
    const clock = new ManualClock();
    let isUp = false;
    const checkOfLedger = check(
      "ledger",
      async () => {
        if (!isUp) throw new Error("down");
        return OK;
      },
      { cacheMs: 10_000 },
    );
    const health = createHealth([checkOfLedger], clock);
    expect((await health.report()).status).toBe("unready");
    isUp = true;
    await clock.step(499);
    expect((await health.report()).status).toBe("unready");
    await clock.step(1);
    expect((await health.report()).status).toBe("ready");
    isUp = false;
    await clock.step(9_999);
    expect((await health.report()).status).toBe("ready");
  });

  test("of a server that ends is stopping, whatever its dependencies are", async () => {
    const clock = new ManualClock();
    const health = createHealth([check("disk", async () => OK)], clock);
    const readiness = createReadiness(health, { version: "1.0.0", node: "box-1", clock });
    await clock.step(65_000);
    expect(await readiness.report()).toMatchObject({ ready: true, status: "ready", uptimeSeconds: 65, node: "box-1" });
    readiness.stop();
    expect(await readiness.report()).toMatchObject({ ready: false, status: "stopping" });
  });
});
