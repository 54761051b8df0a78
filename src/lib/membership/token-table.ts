import { createHash, timingSafeEqual } from "node:crypto";
import { formatUtc } from "../kernel/clock.ts";
import { FulaError } from "../kernel/errors.ts";
import type { Random } from "../kernel/random.ts";
import { Secret } from "../kernel/secret.ts";
import type { Pool } from "../postgres/pool.ts";
import { runQuery } from "../postgres/run-query.ts";
import type { NodeRole } from "./federation.ts";
import { type JoinBundle, openBundle, sealBundle, verifierOf } from "./join-bundle.ts";
import { type JoinToken, renderJoinToken, TOKEN_KEY_BYTES } from "./join-token.ts";

/** What has become of a token. */
export type TokenState = "open" | "redeemed" | "revoked" | "expired";

/** A token without anything that is secret, as it is listed. Times are RFC 3339, UTC. */
export interface TokenRecord {
  readonly id: string;
  readonly role: NodeRole;
  /** The master that made it. */
  readonly issuer: string;
  readonly createdAt: string;
  readonly expiresAt: string;
  readonly revokedAt: string | null;
  readonly redeemedAt: string | null;
  /** The node that used it. A storage node's token is used without the ledger, so that this stays null. */
  readonly redeemedBy: string | null;
  readonly state: TokenState;
}

/** The box that uses a token. */
export interface Redeemer {
  readonly nodeName: string;
  /** 32 random bytes that the box wrote to disk before, so that it gets the same bundle again after a crash. */
  readonly nonce: Uint8Array;
}

/**
 * For so long the same box gets the same bundle again: it may be killed between our answer and its own disk. A person
 * who starts the command again is well within it.
 */
const REDEEM_AGAIN_MINUTES = 60;

interface TokenRow {
  readonly token_id: string;
  readonly role: NodeRole;
  readonly issuer: string;
  readonly created_at: Date;
  readonly expires_at: Date;
  readonly revoked_at: Date | null;
  readonly redeemed_at: Date | null;
  readonly redeemed_by: string | null;
  readonly expired: boolean;
}

const COLUMNS =
  "token_id, role, issuer, created_at, expires_at, revoked_at, redeemed_at, redeemed_by, expires_at <= now() as expired";

function stateOf({ revoked_at: revokedAt, redeemed_at: redeemedAt, expired }: TokenRow): TokenState {
  if (revokedAt !== null) return "revoked";
  if (redeemedAt !== null) return "redeemed";
  return expired ? "expired" : "open";
}

function recordOf(row: TokenRow): TokenRecord {
  return {
    id: row.token_id,
    role: row.role,
    issuer: row.issuer,
    createdAt: formatUtc(row.created_at.getTime()),
    expiresAt: formatUtc(row.expires_at.getTime()),
    revokedAt: row.revoked_at === null ? null : formatUtc(row.revoked_at.getTime()),
    redeemedAt: row.redeemed_at === null ? null : formatUtc(row.redeemed_at.getTime()),
    redeemedBy: row.redeemed_by,
    state: stateOf(row),
  };
}

/** The ledger's clock, which all masters share, in whole seconds; milliseconds since the epoch. */
async function ledgerNowMs(pool: Pool): Promise<number> {
  const { rows } = await runQuery<{ seconds: string }>(pool, {
    name: "join_token_now",
    text: "select floor(extract(epoch from now()))::bigint as seconds",
    values: [],
  });
  return Number(rows[0]?.seconds) * 1_000;
}

/** Takes the bundle out of every row that nobody may open any more. */
async function wipeSpentBundles(pool: Pool): Promise<void> {
  await runQuery(pool, {
    name: "join_token_wipe",
    text: `
      update join_tokens set sealed_bundle = null
       where sealed_bundle is not null
         and (revoked_at is not null
              or redeemed_at <= now() - $1 * interval '1 minute'
              or (redeemed_at is null and expires_at <= now()))`,
    values: [REDEEM_AGAIN_MINUTES],
  });
}

async function insertToken(
  pool: Pool,
  token: JoinToken,
  issuer: string,
  sealed: Uint8Array | null,
): Promise<TokenRecord> {
  const { rows } = await runQuery<TokenRow>(pool, {
    name: "join_token_create",
    text: `
      insert into join_tokens (token_id, role, issuer, verifier, sealed_bundle, expires_at)
      values ($1, $2, $3, $4, $5, to_timestamp($6))
      returning ${COLUMNS}`,
    values: [
      token.id,
      token.role,
      issuer,
      Buffer.from(
        token.role === "master" ? verifierOf(token) : createHash("sha256").update(token.body.reveal()).digest(),
      ),
      sealed === null ? null : Buffer.from(sealed),
      token.expiresAtMs / 1_000,
    ],
  });
  const row = rows[0];
  if (row === undefined) throw new Error("The insert of a join token returned no row");
  return recordOf(row);
}

/** A token that was just made, with its text. */
export interface MadeToken {
  readonly text: Secret;
  readonly record: TokenRecord;
}

/**
 * Makes a master's token: seals the bundle into the ledger under a new key, which is in the returned text and nowhere
 * else. Times are those of the ledger's clock.
 */
export async function createMasterToken(
  pool: Pool,
  bundle: JoinBundle,
  deps: { readonly validMs: number; readonly random: Random },
): Promise<MadeToken> {
  await wipeSpentBundles(pool);
  const token: JoinToken = {
    role: "master",
    id: deps.random.uuid(),
    expiresAtMs: (await ledgerNowMs(pool)) + Math.floor(deps.validMs / 1_000) * 1_000,
    body: new Secret(Buffer.from(deps.random.bytes(TOKEN_KEY_BYTES)).toString("hex")),
  };
  const record = await insertToken(pool, token, bundle.issuer, sealBundle(bundle, token, deps.random));
  return { text: renderJoinToken(token), record };
}

/** Writes a storage node's token down, so that it is listed. What it carries does not go to the ledger. */
export async function recordStorageToken(pool: Pool, token: JoinToken, issuer: string): Promise<MadeToken> {
  await wipeSpentBundles(pool);
  return { text: renderJoinToken(token), record: await insertToken(pool, token, issuer, null) };
}

/** Every token that was ever made, newest first. */
export async function listTokens(pool: Pool): Promise<readonly TokenRecord[]> {
  await wipeSpentBundles(pool);
  const { rows } = await runQuery<TokenRow>(pool, {
    name: "join_token_list",
    text: `select ${COLUMNS} from join_tokens order by created_at desc, token_id`,
    values: [],
  });
  return rows.map(recordOf);
}

/** One token. @throws FulaError FULA_TOKEN_UNKNOWN */
export async function readToken(pool: Pool, id: string): Promise<TokenRecord> {
  const { rows } = await runQuery<TokenRow>(pool, {
    name: "join_token_read",
    text: `select ${COLUMNS} from join_tokens where token_id = $1`,
    values: [id],
  });
  const row = rows[0];
  if (row !== undefined) return recordOf(row);
  throw unknownToken(id);
}

/**
 * Revokes a token, and wipes its bundle.
 * @returns the token, and whether this call changed it
 * @throws FulaError FULA_TOKEN_UNKNOWN, FULA_TOKEN_USED where a node has joined with it already
 */
export async function revokeToken(
  pool: Pool,
  id: string,
): Promise<{ readonly record: TokenRecord; readonly changed: boolean }> {
  const { rows } = await runQuery<TokenRow>(pool, {
    name: "join_token_revoke",
    text: `
      update join_tokens set revoked_at = now(), sealed_bundle = null
       where token_id = $1 and revoked_at is null and redeemed_at is null
      returning ${COLUMNS}`,
    values: [id],
  });
  const row = rows[0];
  if (row !== undefined) return { record: recordOf(row), changed: true };
  const record = await readToken(pool, id);
  if (record.redeemedAt === null) return { record, changed: false };
  throw new FulaError(
    "FULA_TOKEN_USED",
    `Token ${id} cannot be revoked: ${record.redeemedBy} has joined with it at ${record.redeemedAt}.`,
    {
      hint: "to put that node out, change the shared secrets: docs/federation.md, “Putting a node out”.",
      details: { id },
    },
  );
}

function unknownToken(id: string): FulaError {
  return new FulaError("FULA_TOKEN_UNKNOWN", `This ledger has no join token ${id}.`, {
    hint: "a token joins the federation that made it alone; fula-master token list on a master shows what there is.",
    details: { id },
  });
}

/** Digest of the nonce, so that the ledger's reader cannot redeem in the joiner's name. */
function redeemerDigest({ nonce }: Redeemer): Buffer {
  return createHash("sha256").update("fula-master redeemer v1\n").update(nonce).digest();
}

/** Says why a token was not redeemed. */
function refusalOf(record: TokenRecord): FulaError {
  const { id, issuer, expiresAt, revokedAt, redeemedAt, redeemedBy } = record;
  const again = `make a new one on ${issuer}: fula-master token create`;
  const details = { id };
  if (revokedAt !== null) {
    return new FulaError("FULA_TOKEN_REVOKED", `The join token ${id} was revoked at ${revokedAt}.`, {
      hint: `ask whoever runs ${issuer} why; ${again}`,
      details,
    });
  }
  if (redeemedAt !== null) {
    return new FulaError(
      "FULA_TOKEN_USED",
      `The join token ${id} has been used: ${redeemedBy} joined with it at ${redeemedAt}, and a token is good once.`,
      { hint: `if that was not your node, tell whoever runs ${issuer} at once; else ${again}`, details },
    );
  }
  return new FulaError(
    "FULA_TOKEN_EXPIRED",
    `The join token ${id} was good until ${expiresAt} by the ledger's clock.`,
    {
      hint: again,
      details: { ...details, expiresAt },
    },
  );
}

/** @throws FulaError FULA_TOKEN_UNKNOWN, FULA_TOKEN_INVALID for a token that names a row and has another key */
async function assertRightKey(pool: Pool, token: JoinToken): Promise<void> {
  const { rows } = await runQuery<{ verifier: Buffer; role: NodeRole }>(pool, {
    name: "join_token_verifier",
    text: "select verifier, role from join_tokens where token_id = $1",
    values: [token.id],
  });
  const row = rows[0];
  if (row === undefined) throw unknownToken(token.id);
  const expected = verifierOf(token);
  if (row.verifier.length === expected.length && timingSafeEqual(row.verifier, expected)) return;
  throw new FulaError(
    "FULA_TOKEN_INVALID",
    `The key of the join token ${token.id} is not the one that the ledger knows.`,
    {
      hint: "copy the whole token as fula-master token create printed it; it was not used up.",
      details: { id: token.id },
    },
  );
}

/** A storage node's token opens no ledger. @throws FulaError FULA_TOKEN_ROLE */
export function assertTokenRole(token: JoinToken, role: NodeRole): void {
  if (token.role === role) return;
  const [made, command] =
    token.role === "master"
      ? ["a master", "fula-master join --token-file …"]
      : ["a storage node", "fula-master join-as-storage-node --token-file …"];
  throw new FulaError("FULA_TOKEN_ROLE", `The join token ${token.id} was made for ${made}.`, {
    hint: `${command}, or make the right one: fula-master token create --role ${role}`,
    details: { id: token.id, role: token.role },
  });
}

/**
 * Uses a master's token: marks it as used by this box and gives what was sealed in it. Only one box gets it, whoever
 * asks at the same time; the same box gets it again for an hour, so that it may be killed before it has written
 * everything down. Expiry is judged by the ledger's clock.
 * @throws FulaError FULA_TOKEN_ROLE, FULA_TOKEN_UNKNOWN, FULA_TOKEN_INVALID, FULA_TOKEN_EXPIRED, FULA_TOKEN_USED,
 *   FULA_TOKEN_REVOKED
 */
export async function redeemJoinToken(pool: Pool, token: JoinToken, redeemer: Redeemer): Promise<JoinBundle> {
  assertTokenRole(token, "master");
  await wipeSpentBundles(pool);
  await assertRightKey(pool, token);
  const { rows } = await runQuery<{ sealed_bundle: Buffer }>(pool, {
    name: "join_token_redeem",
    text: `
      update join_tokens
         set redeemed_at = coalesce(redeemed_at, now()), redeemed_by = coalesce(redeemed_by, $2), redeemer = $3
       where token_id = $1 and revoked_at is null and sealed_bundle is not null
         and ((redeemed_at is null and expires_at > now()) or redeemer = $3)
      returning sealed_bundle`,
    values: [token.id, redeemer.nodeName, redeemerDigest(redeemer)],
  });
  const row = rows[0];
  if (row === undefined) throw refusalOf(await readToken(pool, token.id));
  return openBundle(row.sealed_bundle, token);
}

/**
 * What a master's token holds, for a plan: uses nothing up and writes nothing.
 * @param redeemer what this box used the token with earlier; null where it never did
 * @throws FulaError as `redeemJoinToken`
 */
export async function peekJoinToken(pool: Pool, token: JoinToken, redeemer: Redeemer | null): Promise<JoinBundle> {
  assertTokenRole(token, "master");
  await assertRightKey(pool, token);
  const { rows } = await runQuery<{ sealed_bundle: Buffer }>(pool, {
    name: "join_token_peek",
    text: `
      select sealed_bundle from join_tokens
       where token_id = $1 and revoked_at is null and sealed_bundle is not null
         and ((redeemed_at is null and expires_at > now()) or redeemer = $2)`,
    values: [token.id, redeemer === null ? null : redeemerDigest(redeemer)],
  });
  const row = rows[0];
  if (row === undefined) throw refusalOf(await readToken(pool, token.id));
  return openBundle(row.sealed_bundle, token);
}

/** Wipes the bundle of a token that this box has used, once everything of it is on the box's own disk. */
export async function finishJoinToken(pool: Pool, id: string, redeemer: Redeemer): Promise<void> {
  await runQuery(pool, {
    name: "join_token_finish",
    text: "update join_tokens set sealed_bundle = null where token_id = $1 and redeemer = $2",
    values: [id, redeemerDigest(redeemer)],
  });
}
