import { test } from "vitest";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import type { Log } from "../../../src/lib/kernel/log.ts";
import { silentLog } from "../../../src/lib/kernel/log.ts";
import { listFederationNodes, registerNode } from "../../../src/lib/membership/federation-nodes.ts";
import { keepNodeSeen } from "../../../src/lib/server/presence.ts";
import { makeRegistration } from "../../support/federation.ts";
import { freshDatabase } from "../../support/postgres.ts";
import { until } from "../../support/until.ts";

test("a master that serves is seen in the ledger, and one whose ledger is gone goes on and says so", async () => {
  const database = await freshDatabase();
  const { pool } = database;
  await registerNode(pool, makeRegistration(), { clock: systemClock });
  await pool.query("update federation_nodes set seen_at = now() - interval '1 day'");
  const [before] = await listFederationNodes(pool);
  await using _ = keepNodeSeen({ pool, own: async () => makeRegistration(), clock: systemClock, log: silentLog });
  await until("it is seen", async () => {
    const [node] = await listFederationNodes(pool);
    return node !== undefined && before !== undefined && node.seenAt > before.seenAt;
  });
  await database.drop();
  const warnings: string[] = [];
  const log: Log = { ...silentLog, warn: (event) => warnings.push(event) };
  await using __ = keepNodeSeen({ pool, own: async () => makeRegistration(), clock: systemClock, log });
  await until("it says so", async () => warnings.includes("federation.seen_not_noted"));
});
