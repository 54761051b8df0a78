import { FulaError, isFulaError } from "../kernel/errors.ts";
import type { Random } from "../kernel/random.ts";
import { Secret } from "../kernel/secret.ts";
import type { Pool } from "../postgres/pool.ts";
import { runQuery } from "../postgres/run-query.ts";
import { type TransactionClient, withTransaction } from "../postgres/transaction.ts";
import { noteAudit } from "./audit.ts";
import type { SecretSealer } from "./sealed-secret.ts";

/** The name of JWT_SECRET among the keys: it lies in the settings of every master and not in the ledger. */
export const ENV_KID = "env";

/** A key without its secret, as it is listed. Times are RFC 3339, UTC. */
export interface SigningKeyRecord {
  readonly kid: string;
  /** `next`: every master knows it, none signs with it yet; `signs`; `verifies`: tokens of before are still good; `over`. */
  readonly state: "next" | "signs" | "verifies" | "over";
  readonly createdAt: string;
  readonly createdBy: string;
  readonly signsFrom: string;
  /** Null while no newer key has taken its place. */
  readonly verifiesUntil: string | null;
}

/** A key of the ledger as tokens are signed and verified with it. Times run by the ledger's clock, from the reading on. */
export interface SigningKey {
  readonly kid: string;
  /** Null of `env`, and of one that was sealed under another ENCRYPTION_KEY. */
  readonly secret: Secret | null;
  /** Milliseconds until it signs; not above 0 where it does already. */
  readonly signsInMs: number;
  /** Milliseconds for which it still verifies; null while nothing has taken its place. */
  readonly verifiesForMs: number | null;
}

/** What a rotation is to be. */
export interface Rotation {
  /** How long the keys of before still verify, once that the new one signs. */
  readonly overlapMs: number;
  /** Until the new key signs: so long every master has to hear of it. */
  readonly propagationMs: number;
  /** True also takes JWT_SECRET out of use. */
  readonly retireEnv: boolean;
  readonly actor: string;
}

/** A master reads the keys every few seconds; one that could not for a while asks when it sees a key that is new to it. */
export const PROPAGATION_MS = 30_000;

/** A token that names no key is tried with every one that verifies. */
const VERIFYING_MAX = 16;
const KID_BYTES = 8;
const SECRET_BYTES = 32;
/** How long keys that are over stay in the list. */
const KEEP_DAYS = 90;

interface RecordRow {
  readonly kid: string;
  readonly created_at: Date;
  readonly created_by: string;
  readonly signs_from: Date;
  readonly verifies_until: Date | null;
  readonly state: SigningKeyRecord["state"];
}

const COLUMNS = `kid, created_at, created_by, signs_from, verifies_until,
  case when verifies_until <= clock_timestamp() then 'over'
       when signs_from > clock_timestamp() then 'next'
       when kid <> 'env' and signs_from = (select max(s.signs_from) from signing_keys s
                                            where s.kid <> 'env' and s.signs_from <= clock_timestamp()
                                              and (s.verifies_until is null or s.verifies_until > clock_timestamp()))
       then 'signs' else 'verifies' end as state`;

function recordOf(row: RecordRow): SigningKeyRecord {
  return {
    kid: row.kid,
    state: row.state,
    createdAt: row.created_at.toISOString(),
    createdBy: row.created_by,
    signsFrom: row.signs_from.toISOString(),
    verifiesUntil: row.verifies_until?.toISOString() ?? null,
  };
}

/** Binds a sealed key to its row. */
export function signingKeyContext(kid: string): string {
  return `signing key ${kid}`;
}

/** The keys of the ledger, the newest first; JWT_SECRET stands among them once that it was taken out of use. */
export async function listSigningKeys(pool: Pool): Promise<readonly SigningKeyRecord[]> {
  const { rows } = await runQuery<RecordRow>(pool, {
    name: "signing_key_list",
    text: `select ${COLUMNS} from signing_keys order by signs_from desc, kid`,
    values: [],
  });
  return rows.map(recordOf);
}

interface SealedRow {
  readonly kid: string;
  /** Null of `env`. */
  readonly sealed_secret: Buffer | null;
}

/**
 * Opens the secrets that this ENCRYPTION_KEY opens. One key that was sealed under another does not keep a master from
 * knowing the others, or that they are over; where none opens, this master has the wrong one.
 * @throws FulaError FULA_ENCRYPTION_KEY_WRONG
 */
function openSecrets(rows: readonly SealedRow[], sealer: SecretSealer): ReadonlyMap<string, Secret> {
  const secrets = new Map<string, Secret>();
  let wrong: unknown = null;
  for (const { kid, sealed_secret: sealed } of rows) {
    try {
      if (sealed !== null) secrets.set(kid, sealer.open(sealed, signingKeyContext(kid)));
    } catch (error) {
      if (!isFulaError(error, "FULA_ENCRYPTION_KEY_WRONG")) throw error;
      wrong = error;
    }
  }
  if (wrong !== null && secrets.size === 0) throw wrong;
  return secrets;
}

/**
 * Reads the keys with their secrets opened, and `env` where it was taken out of use.
 * @throws FulaError FULA_ENCRYPTION_KEY_WRONG where no secret opens
 */
export async function readSigningKeys(pool: Pool, sealer: SecretSealer): Promise<readonly SigningKey[]> {
  const { rows } = await runQuery<
    SealedRow & { readonly signs_in_ms: number; readonly verifies_for_ms: number | null }
  >(pool, {
    name: "signing_key_read",
    text: `
      select kid, sealed_secret,
             (extract(epoch from signs_from - clock_timestamp()) * 1000)::float8 as signs_in_ms,
             (extract(epoch from verifies_until - clock_timestamp()) * 1000)::float8 as verifies_for_ms
        from signing_keys
       where kid = $1 or verifies_until is null or verifies_until > clock_timestamp()
       order by signs_from desc, kid`,
    values: [ENV_KID],
  });
  const secrets = openSecrets(rows, sealer);
  return rows.map((row) => ({
    kid: row.kid,
    secret: secrets.get(row.kid) ?? null,
    signsInMs: row.signs_in_ms,
    verifiesForMs: row.verifies_for_ms,
  }));
}

async function insertKey(client: TransactionClient, rotation: Rotation, kid: string, sealed: Uint8Array) {
  const { rows } = await client.query<RecordRow>({
    name: "signing_key_create",
    text: `
      insert into signing_keys (kid, sealed_secret, created_by, signs_from)
      select $1::text, $2::bytea, $3::text, clock_timestamp() + $4 * interval '1 millisecond'
       where (select count(*) from signing_keys
               where kid <> $5 and (verifies_until is null or verifies_until > clock_timestamp())) < $6
      returning ${COLUMNS}`,
    values: [kid, Buffer.from(sealed), rotation.actor, rotation.propagationMs, ENV_KID, VERIFYING_MAX],
  });
  if (rows[0] !== undefined) return recordOf(rows[0]);
  throw new FulaError(
    "FULA_SIGNING_KEYS_TOO_MANY",
    `${VERIFYING_MAX} keys verify tokens already. Nothing was changed.`,
    {
      hint: "wait until the overlap of older ones is over: fula-master key signing shows them.",
    },
  );
}

async function retireOthers(client: TransactionClient, rotation: Rotation, kid: string): Promise<void> {
  const until = "(select signs_from from signing_keys where kid = $1) + $2 * interval '1 millisecond'";
  await client.query({
    name: "signing_key_retire",
    text: `update signing_keys set verifies_until = least(verifies_until, ${until}) where kid <> $1 and kid <> $3`,
    values: [kid, rotation.overlapMs, ENV_KID],
  });
  if (!rotation.retireEnv) return;
  await client.query({
    name: "signing_key_retire_env",
    text: `
      insert into signing_keys (kid, created_by, signs_from, verifies_until)
      values ($3, $4, clock_timestamp(), ${until})
          on conflict (kid) do update
             set verifies_until = least(signing_keys.verifies_until, excluded.verifies_until)`,
    values: [kid, rotation.overlapMs, ENV_KID, rotation.actor],
  });
}

/**
 * Makes a key that signs from a little later on, and gives those of before their end.
 * @throws FulaError FULA_SIGNING_KEYS_TOO_MANY
 */
export async function rotateSigningKey(
  pool: Pool,
  rotation: Rotation,
  { sealer, random }: { readonly sealer: SecretSealer; readonly random: Random },
): Promise<SigningKeyRecord> {
  const kid = Buffer.from(random.bytes(KID_BYTES)).toString("hex");
  const secret = new Secret(Buffer.from(random.bytes(SECRET_BYTES)).toString("hex"));
  const sealed = sealer.seal(secret, signingKeyContext(kid), random);
  return await withTransaction(pool, async (client) => {
    // Two rotations at once would each leave the other's key without an end.
    await client.query("lock table signing_keys in share row exclusive mode");
    const record = await insertKey(client, rotation, kid, sealed);
    await retireOthers(client, rotation, kid);
    await client.query({
      name: "signing_key_prune",
      // The row of JWT_SECRET stays for good: without it the secret would be in force again.
      text: "delete from signing_keys where kid <> $1 and verifies_until < clock_timestamp() - $2 * interval '1 day'",
      values: [ENV_KID, KEEP_DAYS],
    });
    const { overlapMs, retireEnv, actor } = rotation;
    await noteAudit(client, { actor, action: "key.rotate", target: kid, details: { overlapMs, retireEnv } });
    return record;
  });
}
