import { writeSync } from "node:fs";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { type Log, silentLog } from "../../../src/lib/kernel/log.ts";
import { systemRandom } from "../../../src/lib/kernel/random.ts";
import { ALLOWABLE } from "../../../src/lib/stack/resync-rungs.ts";
import { resync } from "../../../src/lib/stack/resync-run.ts";
import { MemoryLedger } from "../memory-ledger-store.ts";

// Started by a test with a box's directory, the records of the control plane, and what is logged or said at the moment at
// which it is to be killed: brings the box's server back as the command does. Prints the records as it left them.
const [baseDir, control, place] = process.argv.slice(2);
if (baseDir === undefined || control === undefined || place === undefined) {
  throw new Error("usage: run-resync.ts <base dir> <records> <place>");
}

const ledger = MemoryLedger.parse(control);
const dieAt = (what: string): void => {
  if (!what.includes(place)) return;
  writeSync(1, ledger.text());
  process.kill(process.pid, "SIGKILL");
};
const log: Log = { ...silentLog, info: dieAt, child: () => log };
await resync(
  {
    globals: { baseDir },
    env: {},
    cwd: "/",
    clock: systemClock,
    random: systemRandom,
    log,
    signal: new AbortController().signal,
    openStore: async () => await Promise.resolve(ledger.open()),
  },
  { allowed: new Set(ALLOWABLE), confirm: async () => await Promise.resolve(), onProgress: dieAt },
);
