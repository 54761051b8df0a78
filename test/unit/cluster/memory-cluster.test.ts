import { describePinCluster } from "../../contract/pin-cluster.contract.ts";
import { createMemoryCluster } from "../../support/memory-cluster.ts";

for (const sorted of [true, false]) {
  describePinCluster(`the cluster in memory (${sorted ? "sorted" : "unsorted"})`, async () => {
    const cluster = createMemoryCluster({ sorted });
    return {
      cluster,
      provide: async () => {},
      lose: async (pin) => {
        cluster.reported.set(pin.cid, "unexpectedly_unpinned");
      },
      close: async () => {},
    };
  });
}
