/*
 * A process of its own on the control plane in the file of its first argument: adds one operator after the other, numbered
 * from its second argument on, and says each number once it was acknowledged; until it is killed, or has added as many as
 * its third argument says.
 */
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { openSqliteStore } from "../../../src/lib/membership/sqlite/sqlite-store.ts";
import { newOperator } from "../membership.ts";

const [file = "", from = "0", count = "0"] = process.argv.slice(2);
await using store = await openSqliteStore(file, { clock: systemClock, timeoutMs: 60_000, create: true });
for (let number = Number(from); number < Number(from) + Number(count); number += 1) {
  await store.addOperator(newOperator(`0x${number.toString(16).padStart(40, "0")}`));
  process.stdout.write(`${number}\n`);
}
