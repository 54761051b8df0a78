import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { migrateUp } from "../../../src/lib/postgres/migrator.ts";
import { createPool } from "../../../src/lib/postgres/pool.ts";

// One installer in a process of its own: connects, says "ready", waits until its standard input ends and then migrates.
// Prints the versions that it applied.
const [optionsText, dir, delayText] = process.argv.slice(2);
if (optionsText === undefined || dir === undefined)
  throw new Error("usage: migrate-up.ts <pool options> <dir> <delay ms>");
const pool = createPool(JSON.parse(optionsText));
await pool.query("select 1");
process.stdout.write("ready\n");
for await (const _chunk of process.stdin);
await systemClock.sleep(Number(delayText ?? 0));
const { applied } = await migrateUp(pool, { dir });
process.stdout.write(`${JSON.stringify(applied.map(({ version }) => version))}\n`);
await pool.end();
