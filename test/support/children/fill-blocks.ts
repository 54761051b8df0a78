import { readdirSync } from "node:fs";
import { join } from "node:path";
import { createCid, RAW_CODEC } from "../../../src/lib/blocks/cid.ts";
import { openLocalBlockStore } from "../../../src/lib/blocks/local.ts";
import { FulaError } from "../../../src/lib/kernel/errors.ts";

// Puts blocks of 256 KiB until a put fails, then says in JSON how it failed and what the store still holds.
const dir = join(process.argv[2] ?? "", "blocks");
const store = await openLocalBlockStore(dir);
let stored = 0;
let code: string | null = null;
for (let index = 0; code === null && index < 1_000; index += 1) {
  const bytes = new Uint8Array(262_144).fill(index);
  new DataView(bytes.buffer).setUint32(0, index);
  const cid = createCid(RAW_CODEC, bytes);
  try {
    await store.put(cid, bytes);
    stored += 1;
  } catch (error) {
    code = error instanceof FulaError ? error.code : String(error);
  }
}
let readable = 0;
for await (const cid of store.list()) {
  await store.get(cid);
  readable += 1;
}
process.stdout.write(JSON.stringify({ code, stored, readable, temps: readdirSync(join(dir, ".temp")) }));
