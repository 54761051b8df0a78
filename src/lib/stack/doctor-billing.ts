import type { LoadedConfig } from "../config/load.ts";
import type { Pool } from "../postgres/pool.ts";
import type { BillingProblem } from "./billing-judge.ts";
import { readBillingReport } from "./billing-report.ts";
import { doubtful, failed, fine } from "./doctor.ts";
import type { Finding } from "./preflight.ts";

function findingOf({ severity, message, remedy }: BillingProblem): Finding {
  return severity === "bad" ? failed(message, remedy) : doubtful(message, remedy);
}

/** Checks that somebody bills, that no hour waits, that no alert stands, and that this master fits in with the others. */
export async function checkBilling({ config }: LoadedConfig, pool: Pool): Promise<readonly Finding[]> {
  const { problems, on, because, leader, lastHour } = await readBillingReport(pool, config);
  if (problems.length > 0) return problems.map(findingOf);
  const last = lastHour === null ? "no hour is billed yet" : `${lastHour.hour} is billed`;
  const who = leader.holder === null ? "" : `${leader.holder} leads (epoch ${leader.epoch}); `;
  return [fine(on ? `${who}${last}, and none waits` : `${who}this master takes no part: ${because}`)];
}
