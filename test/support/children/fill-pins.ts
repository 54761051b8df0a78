import { join } from "node:path";
import { openLocalBlockStore } from "../../../src/lib/blocks/local.ts";
import { openLocalCluster } from "../../../src/lib/cluster/local.ts";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { FulaError } from "../../../src/lib/kernel/errors.ts";
import { blockPin } from "../pin-of-block.ts";

// Pins until a put fails, then says in JSON how it failed, and what a new process would read.
const dir = process.argv[2] ?? "";
const blocks = await openLocalBlockStore(join(dir, "blocks"));
const options = { dbFile: join(dir, "pins.sqlite"), clusterId: "full", peerId: "full", blocks, clock: systemClock };
const cluster = await openLocalCluster({ ...options, create: true });
let confirmed = 0;
let code: string | null = null;
while (code === null && confirmed < 20_000) {
  try {
    await cluster.put({ ...blockPin(confirmed), name: "x".repeat(4_000) });
    confirmed += 1;
  } catch (error) {
    code = error instanceof FulaError ? error.code : String(error);
  }
}
await cluster.close();
const again = await openLocalCluster(options);
let readable = 0;
for await (const pin of again.pins()) readable += pin.name.length === 4_000 ? 1 : 0;
await again.close();
process.stdout.write(JSON.stringify({ code, confirmed, readable }));
