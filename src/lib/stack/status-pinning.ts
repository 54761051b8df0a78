import type { LoadedConfig } from "../config/load.ts";
import { peekLedger } from "./ledger-peek.ts";
import type { LookLimits } from "./look.ts";
import { readPinQueueReport } from "./pins-report.ts";
import { bad, judgementOf, lookAtPart } from "./status-part.ts";
import type { PinningPart } from "./status-report.ts";

/** Looks how the pin queue stands. */
export async function readPinningPart(loaded: LoadedConfig, limits: LookLimits): Promise<PinningPart> {
  const nothing = {
    waiting: null,
    claimed: null,
    failing: null,
    oldestSeconds: null,
    overdueSeconds: null,
    dead: null,
  };
  return await lookAtPart<PinningPart>(limits, nothing, async (signal) => {
    const report = await peekLedger(loaded, readPinQueueReport, signal);
    if (report === null) return { ...nothing, ...bad("the embedded PostgreSQL does not run. Try: fula-master start") };
    const { problems, ...figures } = report;
    return { ...figures, ...judgementOf(problems) };
  });
}
