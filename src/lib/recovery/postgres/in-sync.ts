import { relateEpoch } from "../epoch.ts";
import type { Lsn } from "../lsn.ts";
import { readEpochRows } from "./epoch-row.ts";
import { type Following, viewOfPrimary } from "./follow.ts";
import { askOne, type LedgerServer } from "./ledger-server.ts";

/** Whether a standby has what its primary has, seen from both sides. */
export interface InSync {
  readonly ok: boolean;
  /** What is not so, each a sentence; empty where all is. */
  readonly lacks: readonly string[];
}

/**
 * Looks whether this box's server is in sync: the primary says that it streams through its own slot and has everything up to
 * the target, and this server's data name the same epoch and receive its timeline. A server that is up and in recovery need
 * be neither.
 * @throws FulaError FULA_DATABASE_UNREACHABLE where one of the two does not answer; FULA_LEDGER_ROLE
 */
export async function lookInSync(server: LedgerServer, following: Following, targetLsn: Lsn): Promise<InSync> {
  const { node } = server;
  const { primary, epoch, slot } = following;
  const lacks: string[] = [];
  await using there = await primary.connect();
  await using here = await server.connect();
  const view = await viewOfPrimary(there, node, following);
  if (view?.streaming !== true) lacks.push(`${primary.node} does not say that ${node} streams`);
  else if (view.flushedLsn === null || view.flushedLsn < targetLsn) lacks.push(`${node} has not flushed all yet`);
  const { active, timeline } = await askOne<{ active: boolean; timeline: number }>(there, {
    name: "recovery_slot_active",
    text: `
      select exists (select from pg_replication_slots where slot_name = $1 and active) as active,
             ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int as timeline`,
    values: [slot],
  });
  if (!active) lacks.push(`the slot ${slot} of ${primary.node} is not used`);
  const [newest] = await readEpochRows(here);
  if (newest === undefined || relateEpoch(newest, epoch) !== "same")
    lacks.push(`the data of ${node} are of another epoch`);
  const received = await here.query<{ timeline: number }>({
    name: "recovery_received_timeline",
    text: "select received_tli as timeline from pg_stat_wal_receiver where status = 'streaming'",
    values: [],
  });
  if (received.rows[0]?.timeline !== timeline) lacks.push(`${node} does not receive timeline ${timeline}`);
  return { ok: lacks.length === 0, lacks };
}
