import { systemClock } from "../../src/lib/kernel/clock.ts";
import { until } from "./until.ts";

const HOUR_MS = 3_600_000;
/** What a test of hours takes on a busy machine; a test that waits for so long still has most of its time before it. */
const MARGIN_MS = 45_000;

/**
 * Waits for the next hour where the running one is about to end, so that no test sees it turn. The tests' databases run on
 * this machine and go by its clock.
 * @returns the hour that runs, in hours since 1970
 */
export async function leaveHourEnd(): Promise<number> {
  await until("the hour is not about to turn", async () => systemClock.nowMs() % HOUR_MS < HOUR_MS - MARGIN_MS);
  return Math.floor(systemClock.nowMs() / HOUR_MS);
}
