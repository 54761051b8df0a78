import { jetstreamManager } from "@nats-io/jetstream";
import { expect, test } from "vitest";
import { connectNats } from "../../../src/lib/membership/kv/connect.ts";
import { handBucketOn } from "../../../src/lib/membership/kv/lead.ts";
import { openKvLedgerStore } from "../../../src/lib/membership/kv/ledger-store.ts";
import { KV_DEPS, kvTarget } from "../../support/kv-stores.ts";
import { MemoryLedger } from "../../support/memory-ledger-store.ts";
import { newEpoch } from "../../support/ledger-records.ts";
import { startNatsServers } from "../../support/nats-servers.ts";
import { until } from "../../support/until.ts";
import { describeLedgerStore } from "./ledger-store-suite.ts";

describeLedgerStore("its twin in memory", async () => ({
  fresh: async () => {
    const ledger = new MemoryLedger();
    return async () => ledger.open();
  },
  close: async () => {},
}));

describeLedgerStore("NATS JetStream", async () => {
  const servers = await startNatsServers(3);
  let made = 0;
  return {
    fresh: async () => {
      made += 1;
      const target = kvTarget(servers, { prefix: `FULA${made}`, replicas: 3 });
      return async () => await openKvLedgerStore(target, KV_DEPS);
    },
    close: async () => {
      await servers[Symbol.asyncDispose]();
    },
  };
});

test("a bucket whose lead is handed on is led by another server, and has all that was acknowledged", async () => {
  await using servers = await startNatsServers(3);
  const target = kvTarget(servers, { replicas: 3 });
  await using store = await openKvLedgerStore(target, KV_DEPS);
  const revision = await store.put("epoch", newEpoch(), 0);
  const user = await connectNats(target, target.timeoutMs);
  try {
    const manager = await jetstreamManager(user, { checkAPI: false, timeout: target.timeoutMs });
    const bucket = `${target.prefix}_ledger`;
    const leader = async (): Promise<string | null> =>
      (await manager.streams.info(`KV_${bucket}`)).cluster?.leader ?? null;
    const before = await until("somebody leads it", async () => await leader().catch(() => null));
    const how = { timeoutMs: target.timeoutMs, address: "the servers" };
    await handBucketOn(user, bucket, how);
    await until("another leads it", async () => {
      const now = await leader().catch(() => null);
      // They may choose the same one again: who looks after them asks again at the next look.
      if (now === before) await handBucketOn(user, bucket, how).catch(() => {});
      return now !== null && now !== before;
    });
    await expect(store.confirm("epoch")).resolves.toMatchObject({ revision });
  } finally {
    await user.close();
  }
});
