import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { openSqliteStore } from "../../../src/lib/membership/sqlite/sqlite-store.ts";
import type { MembershipStore } from "../../../src/lib/membership/store.ts";
import { describeMembershipStore } from "./store-suite.ts";

describeMembershipStore("SQLite", async () => {
  const dir = mkdtempSync(join(tmpdir(), "fula-test-"));
  const opened: MembershipStore[] = [];
  const open = async (file: string): Promise<MembershipStore> => {
    const store = await openSqliteStore(join(dir, file), { clock: systemClock, timeoutMs: 60_000, create: true });
    opened.push(store);
    return store;
  };
  return {
    store: await open("control-plane.sqlite"),
    again: async () => await open("control-plane.sqlite"),
    another: async () => await open(`other-${opened.length}.sqlite`),
    close: async () => {
      for (const store of opened) await store.close();
      rmSync(dir, { recursive: true, force: true });
    },
  };
});
