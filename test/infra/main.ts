import { systemClock } from "../../src/lib/kernel/clock.ts";
import { sayOnStderr } from "./run.ts";
import { setUpInfra } from "./setup.ts";

/** `npm run infra`: makes the test infrastructure and says what it had to make. */
const startedMs = systemClock.monotonicMs();
const made = await setUpInfra(sayOnStderr);
const seconds = ((systemClock.monotonicMs() - startedMs) / 1_000).toFixed(1);
process.stdout.write(`${JSON.stringify({ seconds: Number(seconds), ...made })}\n`);
