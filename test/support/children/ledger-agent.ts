/**
 * Does for a master what the ledger's epoch asks of its server, as its serve would, until it is killed.
 * Argument: the base directory.
 */
import { loadConfig } from "../../../src/lib/config/load.ts";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { silentLog } from "../../../src/lib/kernel/log.ts";
import { systemRandom } from "../../../src/lib/kernel/random.ts";
import { startLedgerAgent } from "../../../src/lib/server/ledger-agent-start.ts";

const [baseDir] = process.argv.slice(2);
if (baseDir === undefined) throw new Error("usage: ledger-agent.ts <base directory>");

const loaded = await loadConfig({ globals: { baseDir }, env: {}, cwd: "/" });
startLedgerAgent(loaded, { clock: systemClock, random: systemRandom, log: silentLog });
process.stdout.write("runs\n");
