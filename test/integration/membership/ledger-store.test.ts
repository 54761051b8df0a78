import { openKvLedgerStore } from "../../../src/lib/membership/kv/ledger-store.ts";
import { KV_DEPS, kvTarget } from "../../support/kv-stores.ts";
import { MemoryLedger } from "../../support/memory-ledger-store.ts";
import { startNatsServers } from "../../support/nats-servers.ts";
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
