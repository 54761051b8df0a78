/*
 * A process of its own on the pinset that its second argument names. `write <from> <to>` pins those numbers and removes
 * every third again; `read` lists the pinset until a line arrives on stdin, and says how often and what it saw.
 */
import { createInterface } from "node:readline";
import { openLocalBlockStore } from "../../../src/lib/blocks/local.ts";
import { openLocalCluster } from "../../../src/lib/cluster/local.ts";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { blockPin } from "../pin-of-block.ts";

const [mode = "", dbFile = "", blocksDir = "", clusterId = "", from = "0", to = "0"] = process.argv.slice(2);
const blocks = await openLocalBlockStore(blocksDir);
await using cluster = await openLocalCluster({ dbFile, clusterId, peerId: "child", blocks, clock: systemClock });

async function write(): Promise<object> {
  let written = 0;
  for (let number = Number(from); number < Number(to); number += 1) {
    await cluster.put(blockPin(number));
    if (number % 3 === 0) await cluster.remove(blockPin(number).cid);
    written += 1;
  }
  return { written };
}

async function read(): Promise<object> {
  const stopped = { now: false };
  const lines = createInterface({ input: process.stdin });
  lines.once("line", () => {
    stopped.now = true;
  });
  let listings = 0;
  let unordered = 0;
  let fewest = Number.POSITIVE_INFINITY;
  while (!stopped.now) {
    let previous = "";
    let pins = 0;
    for await (const pin of cluster.pins()) {
      if (pin.cid <= previous) unordered += 1;
      previous = pin.cid;
      pins += 1;
    }
    fewest = Math.min(fewest, pins);
    listings += 1;
  }
  lines.close();
  return { listings, unordered, fewest };
}

console.log("ready");
console.log(JSON.stringify(mode === "write" ? await write() : await read()));
