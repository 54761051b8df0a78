import { systemClock } from "../../src/lib/kernel/clock.ts";
import { setUpInfra } from "./setup.ts";

/** `npm run infra`: makes the test infrastructure and says what it had to make. */
const startedMs = systemClock.monotonicMs();
const say = (text: string): void => {
  process.stderr.write(`infra: ${text}\n`);
};
const made = await setUpInfra(say);
const seconds = ((systemClock.monotonicMs() - startedMs) / 1_000).toFixed(1);
process.stdout.write(`${JSON.stringify({ seconds: Number(seconds), ...made })}\n`);
