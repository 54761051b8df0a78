import type { Pool } from "../postgres/pool.ts";
import { runQuery } from "../postgres/run-query.ts";
import type { TransactionClient } from "../postgres/transaction.ts";

/** What somebody did that operators may have to account for. Never a secret. */
export interface AuditEntry {
  /** `operator@<node>`, `admin:<user id>`, `user:<id>`, `wallet:<address>` or `system`. */
  readonly actor: string;
  /** Area and verb: `key.create`, `credential.deny`. */
  readonly action: string;
  /** What it was done to: a user id, a wallet, a digest, the id of a key; at most 64 characters. */
  readonly target: string;
  readonly details: Readonly<Record<string, string | number | boolean | null | readonly string[]>>;
}

/** Writes down what is done, in the transaction that does it: both are there, or neither. */
export async function noteAudit(
  client: TransactionClient,
  { actor, action, target, details }: AuditEntry,
): Promise<void> {
  await client.query({
    name: "audit_note",
    text: "insert into admin_audit_log (actor, action, target_id, details) values ($1, $2, $3, $4)",
    values: [actor, action, target, JSON.stringify(details)],
  });
}

/** An entry as it is listed. */
export interface AuditRecord {
  readonly id: bigint;
  /** RFC 3339, UTC; null where other software wrote none. */
  readonly at: string | null;
  readonly actor: string | null;
  readonly action: string;
  /** Null where other software named none. */
  readonly target: string | null;
  readonly details: Readonly<Record<string, unknown>>;
}

/** Which entries are listed. */
export interface AuditQuestion {
  /** Milliseconds since 1970; null for all. */
  readonly sinceMs: number | null;
  /** The whole name, or how it begins where it ends in `*`; null for everybody. */
  readonly actor: string | null;
  /** As `actor`. */
  readonly action: string | null;
  readonly target: string | null;
  readonly limit: number;
}

/** A pattern of `like` for a text that may end in `*`. */
function patternOf(text: string | null): string | null {
  if (text === null) return null;
  const literal = text.replace(/\*$/, "").replaceAll(/[\\%_]/g, String.raw`\$&`);
  return text.endsWith("*") ? `${literal}%` : literal;
}

/** Entries of the audit log, the newest first. */
export async function listAudit(pool: Pool, question: AuditQuestion): Promise<readonly AuditRecord[]> {
  const { sinceMs, actor, action, target, limit } = question;
  const { rows } = await runQuery<{
    id: string;
    created_at: Date | null;
    actor: string | null;
    action: string;
    target: string | null;
    details: Readonly<Record<string, unknown>> | null;
  }>(pool, {
    name: "audit_list",
    text: `
      select id, created_at, coalesce(actor, actor_id) as actor, action, coalesce(target_id, target_email) as target, details
        from admin_audit_log
       where ($1::float8 is null or created_at >= to_timestamp($1::float8 / 1000))
         and ($2::text is null or coalesce(actor, actor_id) like $2)
         and ($3::text is null or action like $3)
         and ($4::text is null or coalesce(target_id, target_email) = $4)
       order by id desc limit $5`,
    values: [sinceMs, patternOf(actor), patternOf(action), target, limit],
  });
  return rows.map((row) => ({
    id: BigInt(row.id),
    at: row.created_at?.toISOString() ?? null,
    actor: row.actor,
    action: row.action,
    target: row.target,
    details: row.details ?? {},
  }));
}
