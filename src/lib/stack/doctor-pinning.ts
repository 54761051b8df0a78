import { formatCount } from "../kernel/units.ts";
import type { Pool } from "../postgres/pool.ts";
import { doubtful, failed, fine } from "./doctor.ts";
import { readPinQueueReport } from "./pins-report.ts";
import type { Finding } from "./preflight.ts";

/** Checks that somebody does what users of the pinning service asked for, and that nothing was given up. */
export async function checkPinning(pool: Pool): Promise<readonly Finding[]> {
  const { problems, waiting, failing } = await readPinQueueReport(pool);
  if (problems.length > 0) {
    return problems.map(({ severity, message, remedy }) => (severity === "bad" ? failed : doubtful)(message, remedy));
  }
  const trouble = failing === 0 ? "" : `, ${failing} of them after a try that failed`;
  return [fine(`${formatCount(waiting, "content")} on the queue${trouble}`)];
}
