/**
 * Changes a control plane, and dies by SIGKILL at a given write: before it is sent, or as soon as it is acknowledged.
 * Arguments: JSON of {url, seed, act, write, when}; prints the number of writes when it gets to the end.
 */
import { Bucket } from "../../../src/lib/membership/kv/bucket.ts";
import type { MembershipStore } from "../../../src/lib/membership/store.ts";
import { openTestKv } from "../kv-stores.ts";
import { newKey, newMember, sealedTo, endpointOf } from "../membership.ts";

interface Order {
  readonly url: string;
  readonly seed: string;
  readonly act: "add" | "remove" | "rekey" | "delete";
  /** Counted from 1; 0 lets it live. */
  readonly write: number;
  readonly when: "before" | "after";
}

const order: Order = JSON.parse(process.argv[2] ?? "");
let writes = 0;

type Publish = Bucket<"pool">["publish"];

// oxlint-disable-next-line typescript/unbound-method -- it is called with the bucket that it was called on
const publish: Publish = Bucket.prototype.publish;
Bucket.prototype.publish = async function counted(this: Bucket<"pool">, ...args: Parameters<Publish>) {
  writes += 1;
  const isTheOne = writes === order.write;
  if (isTheOne && order.when === "before") process.kill(process.pid, "SIGKILL");
  const revision = await publish.apply(this, args);
  if (isTheOne) process.kill(process.pid, "SIGKILL");
  return revision;
};

async function change(store: MembershipStore): Promise<void> {
  if (order.act === "add") {
    await store.addMember(newMember("masters", "fula-3"), [
      newKey("masters", "fula-3", 1),
      newKey("masters", "fula-3", 2),
    ]);
  } else if (order.act === "remove") await store.removeMember("masters", endpointOf("fula-2"));
  else if (order.act === "rekey") {
    await store.rekey({ pool: "masters", expectedEpoch: 2, sealed: sealedTo(["fula-1", "fula-2"], "third") });
  } else await store.deletePool("masters");
}

await using store = await openTestKv({ urls: [order.url], user: { publicKey: "", seed: order.seed } });
await change(store);
process.stdout.write(`${writes}\n`);
