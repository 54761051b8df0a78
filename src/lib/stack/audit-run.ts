import { type AuditRecord, listAudit } from "../identity/audit.ts";
import { FulaError } from "../kernel/errors.ts";
import { type BillingContext, withMasterLedger } from "./billing-ledger.ts";

/** Which entries are asked for, as the command line has it. */
export interface AuditOptions {
  /** A time in UTC, or how long ago: `36h`. */
  readonly since: string | undefined;
  readonly actor: string | undefined;
  readonly action: string | undefined;
  readonly target: string | undefined;
  readonly limit: number;
}

/** An entry, as `audit list --json` prints it. */
export interface AuditLine extends Omit<AuditRecord, "id"> {
  readonly id: string;
}

const AGO_MS = { m: 60_000, h: 3_600_000, d: 86_400_000 } as const;

/** @throws FulaError FULA_USAGE */
function parseSince(text: string | undefined, nowMs: number): number | null {
  if (text === undefined) return null;
  const [, count, unit] = /^(\d{1,6})([mhd])$/.exec(text) ?? [];
  if (unit === "m" || unit === "h" || unit === "d") return nowMs - Number(count) * AGO_MS[unit];
  const isTime = /^\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d{1,3})?)?Z)?$/.test(text);
  const ms = isTime ? Date.parse(text) : Number.NaN;
  if (!Number.isNaN(ms)) return ms;
  throw new FulaError("FULA_USAGE", `--since ${text} is neither a time nor how long ago.`, {
    hint: "give one in UTC, such as 2026-06-12 or 2026-06-12T14:30:00Z, or 90m, 36h, 7d.",
  });
}

/**
 * Entries of the audit log, the newest first.
 * @throws FulaError FULA_USAGE, and what `withMasterLedger` throws
 */
export async function runAuditList(context: BillingContext, options: AuditOptions): Promise<readonly AuditLine[]> {
  const sinceMs = parseSince(options.since, context.clock.nowMs());
  const { actor = null, action = null, target = null, limit } = options;
  return await withMasterLedger(context, "audit", async (pool) => {
    const records = await listAudit(pool, { sinceMs, actor, action, target, limit });
    return records.map((record) => ({ ...record, id: record.id.toString() }));
  });
}
