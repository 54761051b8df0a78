import { z } from "zod";
import { startWorkers } from "../../../src/lib/pinning/queue/worker.ts";
import { createPool } from "../../../src/lib/postgres/pool.ts";
import { filePinset } from "../file-pinset.ts";
import { MemoryBlocks } from "../memory-blocks.ts";
import { workerParts } from "../pin-queue.ts";

/**
 * A master that does nothing but work on the pin queue, from when it is told to go until it is told to stop or killed. As `bare` it takes rows off a
 * table of their own and does nothing with them, or no more than to mark their pins: what a queue costs at the least.
 */
const options = z
  .object({
    connection: z.object({
      host: z.string(),
      port: z.number(),
      database: z.string(),
      user: z.string(),
      password: z.string(),
      part: z.string(),
      node: z.string(),
    }),
    pinsetDir: z.string(),
    workers: z.number(),
    claimMs: z.number(),
    bare: z.enum(["take", "tell"]).optional(),
  })
  .parse(JSON.parse(process.argv[2] ?? ""));

const { connection, workers, claimMs, bare, pinsetDir } = options;
const pool = createPool({ ...connection, max: workers * 2 });

const TAKE = `
  with taken as (
    delete from bare_jobs where cid = any (array(select cid from bare_jobs order by due_at limit 8 for update skip locked))
    returning cid
  )`;
const TELL = `, told as (
    update pins p set status = 'pinned', size = 1 from taken t
     where p.cid_key = t.cid and p.status in ('queued', 'pinning', 'pinned')
  )`;

async function takeBare(how: "take" | "tell"): Promise<void> {
  const text = `${TAKE}${how === "tell" ? TELL : ""} select from taken`;
  for (let taken = -1; taken !== 0; ) {
    const { rowCount } = await pool.query({ name: "bare_take", text });
    taken = rowCount ?? 0;
  }
}

const going = Promise.withResolvers<void>();
const stopped = Promise.withResolvers<void>();
process.on("message", (message) => {
  (message === "go" ? going : stopped).resolve();
});
process.send?.("ready");
await Promise.race([going.promise, stopped.promise]);
if (bare !== undefined) {
  await Promise.all(Array.from({ length: workers }, async () => await takeBare(bare)));
  process.send?.("done");
  await stopped.promise;
} else {
  const stores = { pool, pins: filePinset(pinsetDir), blocks: new MemoryBlocks() };
  const parts = workerParts(stores, { node: connection.node, workers, claimMs, measure: async () => 1n });
  await using _ = startWorkers({ ...parts, random: { ...parts.random, uuid: () => crypto.randomUUID() } });
  await stopped.promise;
}
await pool.end();
process.disconnect();
