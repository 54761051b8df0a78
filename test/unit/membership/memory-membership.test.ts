import { MemoryMembership } from "../../support/memory-membership.ts";
import { describeMembershipStore } from "../../integration/membership/store-suite.ts";

describeMembershipStore("What the stores are compared with", async () => {
  const store = new MemoryMembership();
  return {
    store,
    again: async () => store,
    another: async () => new MemoryMembership(),
    close: async () => {},
  };
});
