import { FulaError } from "../kernel/errors.ts";
import type { Random } from "../kernel/random.ts";
import type { Pool } from "../postgres/pool.ts";
import { runQuery } from "../postgres/run-query.ts";
import { type TransactionClient, withTransaction } from "../postgres/transaction.ts";
import {
  type AccessKey,
  type AccessKeyPair,
  digestOfKey,
  generateAccessKey,
  hashOfSecret,
  isScope,
  type Scope,
} from "./access-key.ts";
import { noteAudit } from "./audit.ts";
import { assertMayIssue, denyCredentials } from "./denial-table.ts";
import type { SecretSealer } from "./sealed-secret.ts";
import { SESSION_LIFETIME_MAX_MS } from "./session-token.ts";
import { ownAccountOf, type Subject } from "./subject.ts";

/** A key without its secret, as it is listed. Times are RFC 3339, UTC. */
export interface KeyRecord {
  readonly keyId: string;
  /** Whose it is, 64 hex digits; of a wallet's key, the wallet's own account. */
  readonly userId: string;
  /** The wallet whose buckets it opens, `0x` and 40 hex digits; null of a user's key. */
  readonly wallet: string | null;
  readonly scopes: readonly Scope[];
  readonly label: string;
  /** True where no Signature V4 can be checked with it. */
  readonly bearerOnly: boolean;
  /** `denied`: good by itself, and refused because of a denial of the key or of its owner; that may be lifted. */
  readonly state: "active" | "denied" | "expired" | "revoked";
  readonly createdAt: string;
  /** Null of keys that were made before this was noted. */
  readonly createdBy: string | null;
  /** Null for never. */
  readonly expiresAt: string | null;
  /** To the minute; null where it was never used. */
  readonly lastUsedAt: string | null;
  readonly revokedAt: string | null;
  readonly revokedBy: string | null;
}

/** What is chosen when a key is made. */
export interface NewKey {
  readonly subject: Subject;
  readonly scopes: readonly Scope[];
  readonly label: string;
  /** Milliseconds since 1970; null for never. */
  readonly expiresMs: number | null;
  /** True keeps its hash alone. */
  readonly bearerOnly: boolean;
  /** Who makes it, as the audit log has it. */
  readonly actor: string;
}

interface KeyRow {
  readonly key_id: string;
  readonly user_id: string;
  readonly wallet: string | null;
  readonly scopes: readonly string[];
  readonly label: string;
  readonly bearer_only: boolean;
  readonly state: KeyRecord["state"];
  readonly created_at: Date;
  readonly created_by: string | null;
  readonly expires_at: Date | null;
  readonly last_used_at: Date | null;
  readonly revoked_at: Date | null;
  readonly revoked_by: string | null;
}

const DENIED = `exists (
         select from credential_denials d
          where d.lifted_at is null and (d.expires_at is null or d.expires_at > clock_timestamp())`;
const COLUMNS = `key_id, user_id, wallet, scopes, label, sealed_secret is null as bearer_only,
  case when revoked_at is not null then 'revoked' when expires_at <= clock_timestamp() then 'expired'
       when ${DENIED} and d.kind = 'digest' and d.subject = encode(sha256(convert_to(key_id, 'UTF8')), 'hex'))
         or ${DENIED} and d.kind = case when wallet is null then 'user' else 'wallet' end
                      and d.subject = coalesce(wallet, user_id) and d.issued_before > created_at) then 'denied'
       else 'active' end as state,
  created_at, created_by, expires_at, last_used_at, revoked_at, revoked_by`;

/** Keys in force that one user or wallet may have: whoever makes one for each request fills the ledger. */
const KEYS_MAX = 1_000;

function recordOf(row: KeyRow): KeyRecord {
  return {
    keyId: row.key_id,
    userId: row.user_id,
    wallet: row.wallet,
    scopes: row.scopes.filter(isScope),
    label: row.label,
    bearerOnly: row.bearer_only,
    state: row.state,
    createdAt: row.created_at.toISOString(),
    createdBy: row.created_by,
    expiresAt: row.expires_at?.toISOString() ?? null,
    lastUsedAt: row.last_used_at?.toISOString() ?? null,
    revokedAt: row.revoked_at?.toISOString() ?? null,
    revokedBy: row.revoked_by,
  };
}

/** How a subject stands in a row: the account that it is listed under, and its wallet. */
function columnsOf(subject: Subject): { readonly userId: string; readonly wallet: string | null } {
  return subject.kind === "wallet"
    ? { userId: ownAccountOf(subject.wallet), wallet: subject.wallet }
    : { userId: subject.userId, wallet: null };
}

function subjectOf({ user_id: userId, wallet }: Pick<KeyRow, "user_id" | "wallet">): Subject {
  return wallet === null ? { kind: "user", userId } : { kind: "wallet", wallet };
}

/** Binds a sealed secret to its row. */
function sealContext(keyId: string, subject: Subject): string {
  const owner = subject.kind === "wallet" ? `wallet ${subject.wallet}` : `user ${subject.userId}`;
  return `access key ${keyId} of ${owner}`;
}

/** The same of a row. */
export function accessKeyContext(row: Pick<KeyRow, "key_id" | "user_id" | "wallet">): string {
  return sealContext(row.key_id, subjectOf(row));
}

async function insertKey(
  client: TransactionClient,
  key: NewKey,
  pair: AccessKeyPair,
  sealed: Uint8Array | null,
): Promise<KeyRecord> {
  const { userId, wallet } = columnsOf(key.subject);
  const { rows } = await client.query<KeyRow>({
    name: "access_key_create",
    text: `
      insert into access_keys
             (key_id, user_id, wallet, sealed_secret, secret_hash, scopes, label, expires_at, created_by)
      select $1::text, $2::text, $3::text, $4::bytea, $5::bytea, $6::text[], $7::text,
             to_timestamp($8::float8 / 1000), $9::text
       where (select count(*) from access_keys
               where user_id = $2 and wallet is not distinct from $3
                 and revoked_at is null and (expires_at is null or expires_at > clock_timestamp())) < $10
      returning ${COLUMNS}`,
    values: [
      pair.keyId,
      userId,
      wallet,
      sealed,
      Buffer.from(hashOfSecret(pair.secret.reveal()), "hex"),
      key.scopes,
      key.label,
      key.expiresMs,
      key.actor,
      KEYS_MAX,
    ],
  });
  const row = rows[0];
  if (row !== undefined) return recordOf(row);
  throw new FulaError("FULA_KEYS_TOO_MANY", `${wallet ?? userId} has ${KEYS_MAX} access keys in force already.`, {
    hint: "revoke those that nobody uses: the list says when each was last used.",
  });
}

/**
 * Makes a key and stores it.
 * @returns the pair; nobody can read the secret again
 * @throws FulaError FULA_KEYS_TOO_MANY, FULA_SUBJECT_DENIED
 */
export async function createAccessKey(
  pool: Pool,
  key: NewKey,
  { sealer, random }: { readonly sealer: SecretSealer; readonly random: Random },
): Promise<{ readonly pair: AccessKeyPair; readonly record: KeyRecord }> {
  const pair = generateAccessKey(random);
  const context = sealContext(pair.keyId, key.subject);
  const sealed = key.bearerOnly ? null : Buffer.from(sealer.seal(pair.secret, context, random));
  return await withTransaction(pool, async (client) => {
    await assertMayIssue(client, key.subject);
    const record = await insertKey(client, key, pair, sealed);
    const { keyId, userId, wallet, scopes, label, expiresAt, bearerOnly } = record;
    const details = { userId, wallet, scopes, label, expiresAt, bearerOnly };
    await noteAudit(client, { actor: key.actor, action: "key.create", target: keyId, details });
    return { pair, record };
  });
}

/** Every key, or those of one user or wallet, newest first. */
export async function listAccessKeys(pool: Pool, subject: Subject | null): Promise<readonly KeyRecord[]> {
  const of = subject === null ? { userId: null, wallet: null } : columnsOf(subject);
  const { rows } = await runQuery<KeyRow>(pool, {
    name: "access_key_list",
    text: `
      select ${COLUMNS} from access_keys
       where $1::text is null or (user_id = $1 and wallet is not distinct from $2)
       order by created_at desc, key_id`,
    values: [of.userId, of.wallet],
  });
  return rows.map(recordOf);
}

/** One key without its secret. @throws FulaError FULA_KEY_NOT_FOUND */
export async function readAccessKey(pool: Pool, keyId: string): Promise<KeyRecord> {
  const { rows } = await runQuery<KeyRow>(pool, {
    name: "access_key_read",
    text: `select ${COLUMNS} from access_keys where key_id = $1`,
    values: [keyId],
  });
  const row = rows[0];
  if (row !== undefined) return recordOf(row);
  throw keyNotFound(keyId);
}

function keyNotFound(keyId: string): FulaError {
  return new FulaError("FULA_KEY_NOT_FOUND", `There is no access key ${keyId}.`, {
    hint: "fula-master key list shows them.",
  });
}

/** Who revokes a key, and whose it must be. */
export interface Revocation {
  readonly keyId: string;
  /** Null where it may be anybody's. */
  readonly owner: Subject | null;
  readonly actor: string;
}

/**
 * Revokes a key, and every session token that was made with it: each request that arrives with one from now on is
 * refused.
 * @returns null where it was revoked already
 * @throws FulaError FULA_KEY_NOT_FOUND where it is not there, or another one's
 */
export async function revokeAccessKey(pool: Pool, revocation: Revocation): Promise<KeyRecord | null> {
  const { keyId, owner, actor } = revocation;
  const of = owner === null ? { userId: null, wallet: null } : columnsOf(owner);
  const revoked = await withTransaction(pool, async (client) => {
    const { rows } = await client.query<KeyRow>({
      name: "access_key_revoke",
      text: `
        update access_keys set revoked_at = now(), revoked_by = $4
         where key_id = $1 and revoked_at is null
           and ($2::text is null or (user_id = $2 and wallet is not distinct from $3))
        returning ${COLUMNS}`,
      values: [keyId, of.userId, of.wallet, actor],
    });
    const row = rows[0];
    if (row === undefined) return null;
    await denyCredentials(client, {
      kind: "digest",
      subject: digestOfKey(keyId),
      issuedBeforeMs: null,
      expiresMs: (row.revoked_at?.getTime() ?? 0) + SESSION_LIFETIME_MAX_MS,
      reason: `access key ${keyId} was revoked`,
      deniedBy: actor,
    });
    await noteAudit(client, { actor, action: "key.revoke", target: keyId, details: columnsOf(subjectOf(row)) });
    return recordOf(row);
  });
  if (revoked !== null) return revoked;
  const present = await readAccessKey(pool, keyId);
  if (owner !== null && (present.userId !== of.userId || present.wallet !== of.wallet)) throw keyNotFound(keyId);
  return null;
}

interface FoundRow {
  readonly key_id: string;
  readonly user_id: string;
  readonly wallet: string | null;
  readonly scopes: readonly string[];
  readonly sealed_secret: Buffer | null;
  readonly secret_hash: Buffer | null;
  readonly created_at: Date;
  readonly expires_at: Date | null;
  readonly revoked_at: Date | null;
}

/** Rows of the time before hashes were kept get theirs. */
async function storeHash(pool: Pool, keyId: string, secretHash: string): Promise<void> {
  await runQuery(pool, {
    name: "access_key_hash",
    text: "update access_keys set secret_hash = $2 where key_id = $1 and secret_hash is null",
    values: [keyId, Buffer.from(secretHash, "hex")],
  });
}

/** Finds a key with its secret opened; null where there is none. @throws FulaError FULA_ENCRYPTION_KEY_WRONG */
export async function findAccessKey(pool: Pool, sealer: SecretSealer, keyId: string): Promise<AccessKey | null> {
  const { rows } = await runQuery<FoundRow>(pool, {
    name: "access_key_find",
    text: `
      select key_id, user_id, wallet, scopes, sealed_secret, secret_hash, created_at, expires_at, revoked_at
        from access_keys where key_id = $1`,
    values: [keyId],
  });
  const row = rows[0];
  if (row === undefined) return null;
  const subject = subjectOf(row);
  const secret = row.sealed_secret === null ? null : sealer.open(row.sealed_secret, sealContext(keyId, subject));
  const secretHash = row.secret_hash?.toString("hex") ?? hashOfSecret(secret?.reveal() ?? "");
  if (row.secret_hash === null) await storeHash(pool, keyId, secretHash);
  return {
    keyId,
    secret,
    secretHash,
    subject,
    scopes: row.scopes.filter(isScope),
    revoked: row.revoked_at !== null,
    createdMs: row.created_at.getTime(),
    expiresMs: row.expires_at?.getTime() ?? null,
  };
}

/**
 * Opens the newest sealed key in force, so that a wrong ENCRYPTION_KEY is found at the start and not by the first client.
 * @returns false where there is none, so that nothing is known of ENCRYPTION_KEY
 * @throws FulaError FULA_ENCRYPTION_KEY_WRONG
 */
export async function assertSealerFits(pool: Pool, sealer: SecretSealer): Promise<boolean> {
  const { rows } = await runQuery<{ key_id: string }>(pool, {
    name: "access_key_newest",
    text: `
      select key_id from access_keys
       where revoked_at is null and sealed_secret is not null
       order by created_at desc limit 1`,
    values: [],
  });
  const newest = rows[0];
  if (newest === undefined) return false;
  await findAccessKey(pool, sealer, newest.key_id);
  return true;
}
