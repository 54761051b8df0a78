/* Takes the lock that its first argument names, says "held" or the code of the refusal, and holds it until it is killed. */
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { isFulaError } from "../../../src/lib/kernel/errors.ts";
import { acquireLock } from "../../../src/lib/kernel/lock.ts";

try {
  await acquireLock(process.argv[2] ?? "", "test", systemClock);
  console.log("held");
  setInterval(() => {}, 60_000);
} catch (error) {
  console.log(isFulaError(error) ? error.code : String(error));
}
