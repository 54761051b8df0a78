import type { MembershipStore } from "../../../src/lib/membership/store.ts";
import { openTestKv } from "../../support/kv-stores.ts";
import { startNatsServers } from "../../support/nats-servers.ts";
import { describeMembershipStore } from "./store-suite.ts";

for (const [name, count] of [
  ["NATS JetStream on one server", 1],
  ["NATS JetStream on three servers", 3],
] as const) {
  describeMembershipStore(name, async () => {
    const servers = await startNatsServers(count);
    const opened: MembershipStore[] = [];
    const open = async (prefix: string): Promise<MembershipStore> => {
      const store = await openTestKv(servers, { prefix, replicas: count });
      opened.push(store);
      return store;
    };
    return {
      store: await open("FULA"),
      again: async () => await open("FULA"),
      another: async () => await open(`OTHER${opened.length}`),
      close: async () => {
        for (const store of opened) await store.close();
        await servers[Symbol.asyncDispose]();
      },
    };
  });
}
