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

const reportSchema = z.object({
  formatVersion: z.literal(1),
  clusterId: z.string(),
  startedAt: z.string(),
  finishedAt: z.string(),
  outcome: z.enum(["ok", "below", "unreadable", "refused", "failed"]),
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
  alertsRaised: z.number(),
  alertsCleared: z.number(),
  worst: z.array(pinOfReport),
  error: z.object({ code: z.string(), message: z.string() }).nullable(),
  lastPins: z.number().nullable(),
});

/** One pin that is not well, as the report names it. */
export type SweepReportPin = z.infer<typeof pinOfReport>;

/**
 * What one sweep found; `sweep --json` prints it and `state/sweep-last.json` keeps the last one, also when it failed.
 *
 * - `outcome`: `ok`; `below`, some pins are held by too few peers; `unreadable`, the pinset or the statuses could not
 *   be read in full, so nothing is known; `refused`, the pinset was empty where it had pins before; `failed`, a bug.
 * - `pins`, `statuses`: how many of each were read. `withoutPin`: statuses of CIDs that are not in the pinset.
 * - `ok`, `pinning`, `under`, `lost`, `expired`: how the pins stand at the end; they add up to `pins`.
 * - `belowBefore`: pins held by too few peers when they were first read; `belowAfter`: those that still were after the
 *   peers were asked to try again. `recovered` is the difference made.
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
