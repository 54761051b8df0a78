import { createCid, RAW_CODEC } from "../../../src/lib/blocks/cid.ts";
import { openLocalBlockStore } from "../../../src/lib/blocks/local.ts";
import { FulaError } from "../../../src/lib/kernel/errors.ts";

// Gives up root's rights (root may write everywhere), then reads a block and tries to put and delete one.
const [dir = "", uid = "", gid = ""] = process.argv.slice(2);
if (uid !== "") {
  process.setgroups?.([]);
  process.setgid?.(Number(gid));
  process.setuid?.(Number(uid));
}
async function codeOf(action: () => Promise<unknown>): Promise<string> {
  try {
    await action();
    return "done";
  } catch (error) {
    return error instanceof FulaError ? error.code : String(error);
  }
}
const there = Buffer.from("there");
const fresh = Buffer.from("fresh");
const store = await openLocalBlockStore(dir);
const report = {
  get: Buffer.from(await store.get(createCid(RAW_CODEC, there))).toString(),
  put: await codeOf(async () => store.put(createCid(RAW_CODEC, fresh), fresh)),
  putAgain: await codeOf(async () => store.put(createCid(RAW_CODEC, there), there)),
  delete: await codeOf(async () => store.delete(createCid(RAW_CODEC, there))),
  openBelow: await codeOf(async () => openLocalBlockStore(`${dir}/below`)),
};
process.stdout.write(JSON.stringify(report));
