import type { Pool } from "../postgres/pool.ts";
import { runQuery } from "../postgres/run-query.ts";
import type { Clock } from "../kernel/clock.ts";
import { FulaError } from "../kernel/errors.ts";
import type { Random } from "../kernel/random.ts";
import { type AccessKey, type AccessKeyPair, generateAccessKey, isScope, type Scope } from "./access-key.ts";
import type { SecretSealer } from "./sealed-secret.ts";

/** A key without its secret, as it is listed. Times are RFC 3339, UTC. */
export interface KeyRecord {
  readonly keyId: string;
  readonly userId: string;
  readonly scopes: readonly Scope[];
  readonly label: string;
  readonly createdAt: string;
  /** To the minute; null where it was never used. */
  readonly lastUsedAt: string | null;
  readonly revokedAt: string | null;
}

/** What is chosen when a key is made. */
export interface NewKey {
  readonly userId: string;
  readonly scopes: readonly Scope[];
  readonly label: string;
}

interface KeyRow {
  readonly key_id: string;
  readonly user_id: string;
  readonly scopes: readonly string[];
  readonly label: string;
  readonly created_at: Date;
  readonly last_used_at: Date | null;
  readonly revoked_at: Date | null;
}

const COLUMNS = "key_id, user_id, scopes, label, created_at, last_used_at, revoked_at";

function recordOf(row: KeyRow): KeyRecord {
  return {
    keyId: row.key_id,
    userId: row.user_id,
    scopes: row.scopes.filter(isScope),
    label: row.label,
    createdAt: row.created_at.toISOString(),
    lastUsedAt: row.last_used_at?.toISOString() ?? null,
    revokedAt: row.revoked_at?.toISOString() ?? null,
  };
}

/** Binds a sealed secret to its row. */
function sealContext(keyId: string, userId: string): string {
  return `access key ${keyId} of user ${userId}`;
}

/** Makes a key and stores it. @returns the pair; nobody can read the secret again */
export async function createAccessKey(
  pool: Pool,
  key: NewKey,
  deps: { readonly sealer: SecretSealer; readonly random: Random },
): Promise<{ readonly pair: AccessKeyPair; readonly record: KeyRecord }> {
  const pair = generateAccessKey(deps.random);
  const sealed = deps.sealer.seal(pair.secret, sealContext(pair.keyId, key.userId), deps.random);
  const { rows } = await runQuery<KeyRow>(pool, {
    name: "access_key_create",
    text: `
      insert into access_keys (key_id, user_id, sealed_secret, scopes, label)
      values ($1, $2, $3, $4, $5)
      returning ${COLUMNS}`,
    values: [pair.keyId, key.userId, Buffer.from(sealed), key.scopes, key.label],
  });
  const row = rows[0];
  if (row === undefined) throw new Error("The insert of an access key returned no row");
  return { pair, record: recordOf(row) };
}

/** Every key, or those of one user, newest first. */
export async function listAccessKeys(pool: Pool, userId: string | null): Promise<readonly KeyRecord[]> {
  const { rows } = await runQuery<KeyRow>(pool, {
    name: "access_key_list",
    text: `
      select ${COLUMNS} from access_keys
       where $1::text is null or user_id = $1
       order by created_at desc, key_id`,
    values: [userId],
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
  throw new FulaError("FULA_KEY_NOT_FOUND", `There is no access key ${keyId}.`, {
    hint: "fula-master key list shows them.",
  });
}

/**
 * Revokes a key; every request that arrives from now on with it is refused.
 * @returns null where it was revoked already
 * @throws FulaError FULA_KEY_NOT_FOUND
 */
export async function revokeAccessKey(pool: Pool, keyId: string): Promise<KeyRecord | null> {
  const { rows } = await runQuery<KeyRow>(pool, {
    name: "access_key_revoke",
    text: `
      update access_keys set revoked_at = now()
       where key_id = $1 and revoked_at is null
      returning ${COLUMNS}`,
    values: [keyId],
  });
  const row = rows[0];
  if (row !== undefined) return recordOf(row);
  await readAccessKey(pool, keyId);
  return null;
}

/** Finds a key with its secret opened; null where there is none. @throws FulaError FULA_ENCRYPTION_KEY_WRONG */
export async function findAccessKey(pool: Pool, sealer: SecretSealer, keyId: string): Promise<AccessKey | null> {
  const { rows } = await runQuery<
    Pick<KeyRow, "key_id" | "user_id" | "scopes" | "revoked_at"> & { sealed_secret: Buffer }
  >(pool, {
    name: "access_key_find",
    text: "select key_id, user_id, scopes, revoked_at, sealed_secret from access_keys where key_id = $1",
    values: [keyId],
  });
  const row = rows[0];
  if (row === undefined) return null;
  return {
    keyId: row.key_id,
    userId: row.user_id,
    scopes: row.scopes.filter(isScope),
    revoked: row.revoked_at !== null,
    secret: sealer.open(row.sealed_secret, sealContext(row.key_id, row.user_id)),
  };
}

/**
 * Opens the newest key in force, so that a wrong ENCRYPTION_KEY is found at the start and not by the first client.
 * @throws FulaError FULA_ENCRYPTION_KEY_WRONG
 */
export async function assertSealerFits(pool: Pool, sealer: SecretSealer): Promise<void> {
  const { rows } = await runQuery<{ key_id: string }>(pool, {
    name: "access_key_newest",
    text: "select key_id from access_keys where revoked_at is null order by created_at desc limit 1",
    values: [],
  });
  const newest = rows[0];
  if (newest !== undefined) await findAccessKey(pool, sealer, newest.key_id);
}

/** Notes when keys were last used, at most once a minute each, so that reading stays reading. */
export interface KeyUsage {
  /** Returns at once. */
  used(keyId: string): void;
  /** Waits for what is being written. */
  settle(): Promise<void>;
}

const USAGE_INTERVAL_MS = 60_000;

/** Makes the record of uses of one server. @param onError gets what went wrong; the use itself is not affected */
export function createKeyUsage(pool: Pool, clock: Clock, onError: (error: unknown) => void): KeyUsage {
  const writtenMs = new Map<string, number>();
  const writing = new Set<Promise<void>>();
  const write = async (keyId: string, nowMs: number): Promise<void> => {
    try {
      await runQuery(pool, {
        name: "access_key_used",
        text: "update access_keys set last_used_at = greatest(last_used_at, to_timestamp($2 / 1000.0)) where key_id = $1",
        values: [keyId, nowMs],
      });
    } catch (error) {
      writtenMs.delete(keyId);
      onError(error);
    }
  };
  return {
    used: (keyId) => {
      const nowMs = clock.nowMs();
      if (nowMs - (writtenMs.get(keyId) ?? Number.NEGATIVE_INFINITY) < USAGE_INTERVAL_MS) return;
      writtenMs.set(keyId, nowMs);
      const done = write(keyId, nowMs).finally(() => writing.delete(done));
      writing.add(done);
    },
    settle: async () => {
      await Promise.all(writing);
    },
  };
}
