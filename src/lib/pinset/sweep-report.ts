import { z } from "zod";
import { readTextIfExists, SECRET_FILE_MODE, writeFileAtomic } from "../kernel/files.ts";

const pinOfReport = z.object({
  cid: z.string(),
  name: z.string(),
  verdict: z.enum(["pinning", "under", "lost"]),
  pinned: z.number(),
  required: z.number(),
  reason: z.string(),
  since: z.string(),
});

const peerOfReport = z.object({
  peer: z.string(),
  name: z.string(),
  trouble: z.enum(["silent", "hiding", "gone", "kubo"]),
  reason: z.string(),
  allocatedPins: z.number(),
  since: z.string(),
  remedy: z.string(),
});

const ledgerCidOfReport = z.object({
  cid: z.string(),
  name: z.string(),
  problem: z.string(),
  reason: z.string(),
  since: z.string(),
});

const ledgerOfReport = z.object({
  cids: z.number(),
  missing: z.number(),
  waiting: z.number(),
  repinned: z.number(),
  shown: z.array(ledgerCidOfReport).readonly(),
  notInLedger: z.number(),
  notInLedgerShown: z.array(z.string()).readonly(),
});

const reportSchema = z.object({
  formatVersion: z.literal(1),
  clusterId: z.string(),
  startedAt: z.string(),
  finishedAt: z.string(),
  outcome: z.enum(["ok", "below", "problems", "unreadable", "refused", "failed"]),
  deep: z.boolean(),
  pins: z.number(),
  statuses: z.number(),
  ok: z.number(),
  pinning: z.number(),
  under: z.number(),
  lost: z.number(),
  expired: z.number(),
  withoutPin: z.number(),
  belowBefore: z.number(),
  belowAfter: z.number(),
  recovered: z.number(),
  reallocated: z.number(),
  alertsRaised: z.number(),
  alertsCleared: z.number(),
  worst: z.array(pinOfReport).readonly(),
  peers: z.array(peerOfReport).readonly(),
  ledger: ledgerOfReport.nullable(),
  alertCommand: z.object({ alerts: z.number(), error: z.string().nullable() }).nullable(),
  error: z.object({ code: z.string(), message: z.string() }).nullable(),
  lastPins: z.number().nullable(),
});

/** One pin that is not well, as the report names it. */
export type SweepReportPin = z.infer<typeof pinOfReport>;

/** One peer that cannot be counted on, as the report names it. */
export type SweepReportPeer = z.infer<typeof peerOfReport>;

/** One CID that the ledger wants pinned and the pinset does not have, as the report names it. */
export type SweepLedgerCid = z.infer<typeof ledgerCidOfReport>;

/**
 * What one sweep found; `sweep --json` prints it and `state/sweep-last.json` keeps the last one, also when it failed.
 *
 * - `outcome`: `ok`; `below`, some pins are held by too few peers; `problems`, all pins are held, but a peer cannot be
 *   counted on, peers hold what is not in the pinset, or the ledger wants something pinned that is not; `unreadable`, pinset, statuses or ledger could not be
 *   read in full, so nothing is known; `refused`, the pinset was empty where it had pins before; `failed`, a bug.
 * - `pins`, `statuses`: how many of each were read. `withoutPin`: CIDs that peers hold and that are not in the pinset.
 * - `ok`, `pinning`, `under`, `lost`, `expired`: how the pins stand at the end; they add up to `pins`. `pinning` is also
 *   what users of the pinning service wait for, whoever has it: nobody was told that it is pinned.
 * - `belowBefore`: pins held by too few peers when they were first read; `belowAfter`: those that still were after the
 *   peers were asked to try again. `recovered` is the difference made.
 * - `reallocated`: pins that were written again so that the cluster chose other peers for them.
 * - `peers`: those that cannot be counted on. `ledger`: how it compares with the pinset; null where it was left out.
 * - `alertCommand`: how many alerts it was given, and why it did not take them; null where there was nothing to give.
 * - `worst`: the first few of them. `lastPins`: how many pins the last sweep that could be trusted found, this one included.
 */
export type SweepReport = Readonly<z.infer<typeof reportSchema>>;

/** The report of the last sweep; null where there was none or it cannot be read. */
export async function readSweepReport(path: string): Promise<SweepReport | null> {
  const text = await readTextIfExists(path);
  if (text === null) return null;
  try {
    const parsed = reportSchema.safeParse(JSON.parse(text));
    return parsed.success ? parsed.data : null;
  } catch {
    return null;
  }
}

/** Keeps the report of this sweep as the last one. @throws FulaError FULA_DISK_FULL, FULA_PATH_NOT_WRITABLE */
export async function writeSweepReport(path: string, report: SweepReport): Promise<void> {
  await writeFileAtomic(path, `${JSON.stringify(report, null, 2)}\n`, { mode: SECRET_FILE_MODE });
}
