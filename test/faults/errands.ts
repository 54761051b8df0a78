import { adjustUser } from "../../src/lib/billing/adjustments.ts";
import { creditUser } from "../../src/lib/billing/credits.ts";
import { createPool, type Pool } from "../../src/lib/postgres/pool.ts";
import { FaultProxy } from "../support/fault-proxy.ts";
import type { TestDatabase } from "../support/postgres.ts";
import type { Errand, Scenario } from "./scenario.ts";

/** Whoever sends an errand sends it again until it hears that it is done. */
const ATTEMPTS = 20;

async function runErrand(pool: Pool, errand: Errand, userId: string): Promise<void> {
  switch (errand.kind) {
    case "deposit": {
      const { units: amountUnits, reference } = errand;
      await creditUser(pool, { type: "deposit", userId, amountUnits, reference, referralBonuses: true });
      break;
    }
    case "adjustment": {
      const { units: amountUnits, key } = errand;
      await adjustUser(pool, { userId, amountUnits, key, reason: "a test", operator: "test" });
      break;
    }
    case "pin":
      await pool.query(
        `insert into pins (requestid, user_id, cid, status, size) values ($1, $2, $1, 'pinned', $3)
             on conflict (requestid) do nothing`,
        [errand.cid, userId, errand.bytes],
      );
      break;
  }
}

async function runUntilDone(pool: Pool, errand: Errand, userId: string): Promise<string | null> {
  const errors: string[] = [];
  while (errors.length < ATTEMPTS) {
    try {
      await runErrand(pool, errand, userId);
      return null;
    } catch (error) {
      errors.push(String(error));
    }
  }
  return `${errand.kind} for ${userId} failed ${ATTEMPTS} times: ${[...new Set(errors)].join("; ")}`;
}

/** Runs the errands one after another, over connections that are cut as the scenario says. @returns what never succeeded */
export async function runErrands(scenario: Scenario, ledger: TestDatabase): Promise<readonly string[]> {
  let sent = 0;
  const { host, port } = ledger.options;
  await using proxy = new FaultProxy(host, port, () => {
    sent += 1;
    return scenario.errandCuts.get(sent) ?? "pass";
  });
  const pool = createPool({ ...ledger.options, port: await proxy.listen(), part: "errands", max: 2 });
  const complaints: string[] = [];
  for (const errand of scenario.errands) {
    const complaint = await runUntilDone(pool, errand, scenario.accounts[errand.account]?.userId ?? "");
    if (complaint !== null) complaints.push(complaint);
  }
  await pool.end();
  return complaints;
}
