import { FulaError } from "../kernel/errors.ts";
import type { Pool } from "../postgres/pool.ts";
import { runQuery } from "../postgres/run-query.ts";
import type { TransactionClient } from "../postgres/transaction.ts";
import { ISSUER_SKEW_SECONDS } from "./issuer-clock.ts";
import { type Subject, subjectText } from "./subject.ts";

/** What a denial is about: one credential, or all of a wallet or a user that were issued before a time. */
export const DENIAL_KINDS = ["digest", "wallet", "user"] as const;
export type DenialKind = (typeof DENIAL_KINDS)[number];

/** A credential, or a subject, as denials name it. */
export interface DenialTarget {
  readonly kind: DenialKind;
  /** 64 hex digits: a digest or a user id; of a wallet `0x` and 40 hex digits, lower case. */
  readonly subject: string;
}

/** One row of `credential_denials`. Times are RFC 3339, UTC. */
export interface Denial extends DenialTarget {
  readonly revision: bigint;
  /** Null where it is about one credential. */
  readonly issuedBefore: string | null;
  /** From then on no credential that it is about can be in force; null = never. */
  readonly expiresAt: string | null;
  readonly reason: string;
  readonly deniedBy: string;
  readonly deniedAt: string;
  /** Null while it is in force. */
  readonly liftedAt: string | null;
  readonly liftedBy: string | null;
}

/** What is to be denied, and why. */
export interface NewDenial extends DenialTarget {
  /**
   * Milliseconds since 1970; null takes the database's present and {@link ISSUER_SKEW_SECONDS} more, so that nothing that
   * was issued by now is left out, whatever clock it is dated by. Not for one credential.
   */
  readonly issuedBeforeMs: number | null;
  /** Milliseconds since 1970; null where credentials may be in force for ever. */
  readonly expiresMs: number | null;
  readonly reason: string;
  readonly deniedBy: string;
}

interface DenialRow {
  readonly kind: DenialKind;
  readonly subject: string;
  readonly revision: string;
  readonly issued_before: Date | null;
  readonly expires_at: Date | null;
  readonly reason: string;
  readonly denied_by: string;
  readonly denied_at: Date;
  readonly lifted_at: Date | null;
  readonly lifted_by: string | null;
}

const COLUMNS = `kind, subject, revision, issued_before, expires_at, reason, denied_by, denied_at, lifted_at, lifted_by`;

function denialOf(row: DenialRow): Denial {
  return {
    kind: row.kind,
    subject: row.subject,
    revision: BigInt(row.revision),
    issuedBefore: row.issued_before?.toISOString() ?? null,
    expiresAt: row.expires_at?.toISOString() ?? null,
    reason: row.reason,
    deniedBy: row.denied_by,
    deniedAt: row.denied_at.toISOString(),
    liftedAt: row.lifted_at?.toISOString() ?? null,
    liftedBy: row.lifted_by,
  };
}

/** The number of the change that this transaction makes; nobody else changes a denial until it ends. */
async function nextRevision(client: TransactionClient): Promise<string> {
  const { rows } = await client.query<{ revision: string }>({
    name: "denial_revision",
    text: "update credential_denial_clock set revision = revision + 1 returning revision",
  });
  const [row] = rows;
  if (row !== undefined) return row.revision;
  throw new FulaError("FULA_DENY_LIST_STALE", "The table credential_denial_clock has lost its row.", {
    hint: "restore the ledger from a backup, or insert the row with the greatest revision of credential_denials.",
  });
}

/** A master whose clock is behind the ledger's takes a credential a while longer, and must know so long that it is denied. */
const CLOCK_MARGIN = "interval '1 hour'";

/** Takes away rows that nobody needs any more: what has expired, and what was lifted so long ago that all have heard. */
async function prune(client: TransactionClient): Promise<void> {
  await client.query({
    name: "denials_prune",
    text: `
      delete from credential_denials
       where expires_at < clock_timestamp() - ${CLOCK_MARGIN} or lifted_at < clock_timestamp() - interval '1 day'`,
  });
}

/**
 * Denies, in the caller's transaction. What is denied already stays so: the later "before" and the later end count.
 * @returns the denial as it stands, and whether anything was changed
 */
export async function denyCredentials(
  client: TransactionClient,
  denial: NewDenial,
): Promise<{ readonly denial: Denial; readonly changed: boolean }> {
  const revision = await nextRevision(client);
  await prune(client);
  const { rows } = await client.query<DenialRow>({
    name: "denial_deny",
    text: `
      insert into credential_denials as d (kind, subject, revision, issued_before, expires_at, reason, denied_by)
      values ($1, $2, $3, case when $1 <> 'digest'
                               then coalesce(to_timestamp($4::float8 / 1000), clock_timestamp() + $8 * interval '1 second') end,
              to_timestamp($5::float8 / 1000), $6, $7)
          on conflict (kind, subject) do update
         set revision = excluded.revision, reason = excluded.reason, denied_by = excluded.denied_by,
             denied_at = excluded.denied_at, lifted_at = null, lifted_by = null,
             issued_before = case when d.lifted_at is null then greatest(d.issued_before, excluded.issued_before)
                                  else excluded.issued_before end,
             expires_at = case when d.lifted_at is not null then excluded.expires_at
                               when d.expires_at is null or excluded.expires_at is null then null
                               else greatest(d.expires_at, excluded.expires_at) end
       where d.lifted_at is not null or d.issued_before < excluded.issued_before
          or (d.expires_at is not null and (excluded.expires_at is null or d.expires_at < excluded.expires_at))
      returning ${COLUMNS}`,
    values: [
      denial.kind,
      denial.subject,
      revision,
      denial.issuedBeforeMs,
      denial.expiresMs,
      denial.reason,
      denial.deniedBy,
      ISSUER_SKEW_SECONDS,
    ],
  });
  const [row] = rows;
  if (row !== undefined) return { denial: denialOf(row), changed: true };
  return { denial: await readDenial(client, denial), changed: false };
}

const READ_DENIAL = `select ${COLUMNS} from credential_denials where kind = $1 and subject = $2`;

async function readDenial(client: TransactionClient, target: DenialTarget): Promise<Denial> {
  const { rows } = await client.query<DenialRow>({
    name: "denial_read",
    text: READ_DENIAL,
    values: [target.kind, target.subject],
  });
  const [row] = rows;
  if (row !== undefined) return denialOf(row);
  throw new FulaError("FULA_DENIAL_NOT_FOUND", `Nothing is denied for the ${target.kind} ${target.subject}.`, {
    hint: "fula-master auth denials shows what is.",
  });
}

/** A denial; null where there is none. */
export async function findDenial(pool: Pool, { kind, subject }: DenialTarget): Promise<Denial | null> {
  const { rows } = await runQuery<DenialRow>(pool, { name: "denial_find", text: READ_DENIAL, values: [kind, subject] });
  return rows[0] === undefined ? null : denialOf(rows[0]);
}

/**
 * Lifts a denial, in the caller's transaction.
 * @returns the denial as it stands, and false where it had been lifted before
 * @throws FulaError FULA_DENIAL_NOT_FOUND
 */
export async function liftDenial(
  client: TransactionClient,
  target: DenialTarget,
  liftedBy: string,
): Promise<{ readonly denial: Denial; readonly changed: boolean }> {
  const revision = await nextRevision(client);
  const { rows } = await client.query<DenialRow>({
    name: "denial_lift",
    text: `
      update credential_denials set revision = $3, lifted_at = clock_timestamp(), lifted_by = $4
       where kind = $1 and subject = $2 and lifted_at is null
      returning ${COLUMNS}`,
    values: [target.kind, target.subject, revision, liftedBy],
  });
  const [row] = rows;
  if (row !== undefined) return { denial: denialOf(row), changed: true };
  return { denial: await readDenial(client, target), changed: false };
}

/**
 * Sees that what is issued to a subject now would be good, in the caller's transaction. What a denial reaches a little
 * ahead of is not to be made: it would be refused for good, and whoever was just denied might make it.
 * @throws FulaError FULA_SUBJECT_DENIED
 */
export async function assertMayIssue(client: TransactionClient, subject: Subject): Promise<void> {
  const who = subjectText(subject);
  const { rows } = await client.query<{ issued_before: Date }>({
    name: "denial_reaches_now",
    text: `
      select issued_before from credential_denials
       where kind = $1 and subject = $2 and lifted_at is null and (expires_at is null or expires_at > clock_timestamp())
         and issued_before > clock_timestamp()`,
    values: [subject.kind, who],
  });
  const [row] = rows;
  if (row === undefined) return;
  const until = row.issued_before.toISOString();
  throw new FulaError(
    "FULA_SUBJECT_DENIED",
    `All that the ${subject.kind} ${who} is given before ${until} is refused.`,
    {
      hint: "make it after that; or lift the denial, and deny again with --before and the present time.",
    },
  );
}

/** Denials, newest first. @param isAll true gives those that were lifted or have expired, too */
export async function listDenials(pool: Pool, isAll: boolean, limit: number): Promise<readonly Denial[]> {
  const { rows } = await runQuery<DenialRow>(pool, {
    name: "denials_list",
    text: `
      select ${COLUMNS} from credential_denials
       where $1 or (lifted_at is null and (expires_at is null or expires_at > clock_timestamp()))
       order by revision desc limit $2`,
    values: [isAll, limit],
  });
  return rows.map(denialOf);
}

/** What a master reads of a denial. */
export interface DenialFact extends DenialTarget {
  /** Milliseconds since 1970, rounded up, as the times of credentials are rounded down; null where it is about one. */
  readonly issuedBeforeMs: number | null;
  /** The same for what the ledger itself has dated, which needs no margin for another clock. */
  readonly sessionsBeforeMs: number | null;
  readonly isLifted: boolean;
}

/** What changed since a revision, and where the list stands. */
export interface DenialNews {
  readonly revision: bigint;
  /** Another one stands for another table, which may have forgotten what this one told. */
  readonly origin: string;
  readonly facts: readonly DenialFact[];
}

/** Names the table that answers: a server that was started anew, a database or a table that was put in its place. */
const ORIGIN = `
  select concat_ws('/', extract(epoch from pg_postmaster_start_time()), t.oid, pg_relation_filenode(t.oid)) as origin
    from pg_class t where t.oid = 'credential_denials'::regclass`;

/** Reads what is newer than a revision; -1 gives all that is in force. All of it is as it was at one time. */
export async function readDenialNews(pool: Pool, after: bigint): Promise<DenialNews> {
  const { rows } = await runQuery<{
    now_at: string;
    origin: string;
    kind: DenialKind | null;
    subject: string;
    issued_before_ms: number | null;
    sessions_before_ms: number | null;
    lifted: boolean;
  }>(pool, {
    name: "denials_news",
    text: `
      select c.revision as now_at, o.origin, d.kind, d.subject, d.lifted_at is not null as lifted,
             ceil(extract(epoch from d.issued_before) * 1000)::float8 as issued_before_ms,
             ceil(extract(epoch from least(d.issued_before, greatest(d.denied_at, d.issued_before - $2 * interval '1 second')))
                  * 1000)::float8 as sessions_before_ms
        from credential_denial_clock c cross join (${ORIGIN}) o
        left join credential_denials d
          on d.revision > $1 and ($1 >= 0 or (d.lifted_at is null and (d.expires_at is null or d.expires_at > clock_timestamp() - ${CLOCK_MARGIN})))`,
    values: [after.toString(), ISSUER_SKEW_SECONDS],
  });
  const [first] = rows;
  if (first === undefined) {
    throw new FulaError("FULA_DENY_LIST_STALE", "The table credential_denial_clock has lost its row.", {
      hint: "restore the ledger from a backup, or insert the row with the greatest revision of credential_denials.",
    });
  }
  const facts = rows.flatMap(({ kind, subject, issued_before_ms, sessions_before_ms, lifted }) =>
    kind === null
      ? []
      : [
          {
            kind,
            subject,
            issuedBeforeMs: issued_before_ms,
            sessionsBeforeMs: sessions_before_ms,
            isLifted: lifted,
          },
        ],
  );
  return { revision: BigInt(first.now_at), origin: first.origin, facts };
}
