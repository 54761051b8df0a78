import { SCOPES, type Scope } from "../identity/access-key.ts";
import {
  assertSealerFits,
  createAccessKey,
  type KeyRecord,
  listAccessKeys,
  type NewKey,
  readAccessKey,
  revokeAccessKey,
} from "../identity/key-table.ts";
import { isWalletAddress, ownAccountOf, parseSubject, type Subject } from "../identity/subject.ts";
import { resolveUserId } from "../identity/user-id.ts";
import { FulaError } from "../kernel/errors.ts";
import { parseDurationMs } from "../kernel/units.ts";
import { type BillingContext, withMasterLedger } from "./billing-ledger.ts";
import { sealerOf } from "./other-epochs.ts";
import { actorOf } from "./operators.ts";

/** Whose a credential is to be: one of the two. */
export interface SubjectWords {
  readonly user?: string | undefined;
  readonly wallet?: string | undefined;
}

/** What `key create` is given. */
export interface MakeKeyOptions extends SubjectWords {
  /** `read`, `write`, or both with a comma. */
  readonly scope: string;
  readonly label: string;
  /** A duration such as `90d`, or a day such as `2027-01-31`, which is its beginning in UTC. */
  readonly expires?: string | undefined;
  readonly bearerOnly: boolean;
  readonly dryRun: boolean;
}

/** What `key create` prints; `--json` keeps these fields. */
export interface MadeKey {
  readonly dryRun: boolean;
  /** Null in a dry run. */
  readonly keyId: string | null;
  /** In the clear, this once. */
  readonly secret: string | null;
  readonly userId: string;
  readonly wallet: string | null;
  readonly scopes: readonly Scope[];
  readonly label: string;
  readonly bearerOnly: boolean;
  /** RFC 3339, UTC. */
  readonly createdAt: string | null;
  /** RFC 3339, UTC; null for never. */
  readonly expiresAt: string | null;
  /** Base URL of this master's gateway. */
  readonly endpoint: string;
  readonly region: string;
}

/** @throws FulaError FULA_USAGE, FULA_USER_INVALID, FULA_WALLET_ADDRESS */
export function requireSubject(command: string, { user, wallet }: SubjectWords): Subject {
  if ((user === undefined) === (wallet === undefined)) {
    throw new FulaError("FULA_USAGE", `${command} needs --user or --wallet, and not both: whose it is to be.`, {
      hint: `fula-master ${command} --user alice@example.com`,
    });
  }
  if (wallet === undefined) return { kind: "user", userId: resolveUserId(user ?? "") };
  if (isWalletAddress(wallet.trim())) return parseSubject(wallet.trim());
  throw new FulaError("FULA_WALLET_ADDRESS", `"${wallet}" is no address of a wallet.`, {
    hint: "give 0x and 40 hex digits.",
  });
}

/** When something ends that is given as a duration or a day. @throws FulaError FULA_USAGE */
function parseEnd(text: string, nowMs: number): number {
  const durationMs = parseDurationMs(text);
  const dayMs = /^\d{4}-\d\d-\d\d$/.test(text) ? Date.parse(`${text}T00:00:00.000Z`) : Number.NaN;
  const endMs = durationMs === null ? dayMs : nowMs + durationMs;
  if (endMs > nowMs && endMs <= LATEST_MS) return endMs;
  const why = Number.isNaN(endMs) ? "neither a duration nor a day" : "no time that can be meant";
  throw new FulaError("FULA_USAGE", `--expires ${text} is ${why}.`, {
    hint: "give a duration such as 90d, or a day that is still to come such as 2027-01-31 (its beginning in UTC).",
  });
}

// PostgreSQL and RFC 3339 both take it.
const LATEST_MS = Date.UTC(9999, 0, 1);

/**
 * Makes an access key for a user or a wallet.
 * @throws FulaError FULA_USAGE, FULA_USER_INVALID, FULA_WALLET_ADDRESS, FULA_KEYS_TOO_MANY, FULA_SUBJECT_DENIED,
 *   FULA_ENCRYPTION_KEY_INVALID, FULA_ENCRYPTION_KEY_WRONG, and what `withMasterLedger` throws
 */
export async function makeAccessKey(context: BillingContext, options: MakeKeyOptions): Promise<MadeKey> {
  const { clock, random } = context;
  const subject = requireSubject("key create", options);
  const expiresMs = options.expires === undefined ? null : parseEnd(options.expires, clock.nowMs());
  const { label, bearerOnly, dryRun } = options;
  const wanted = options.scope.split(",");
  const scopes = SCOPES.filter((scope) => wanted.includes(scope.slice("storage:".length)));
  return await withMasterLedger(context, "key", async (pool, loaded) => {
    const sealer = sealerOf(loaded.secrets, "access key secrets");
    if (!bearerOnly) await assertSealerFits(pool, sealer);
    const { host, port, region } = loaded.config.gateway;
    const shared = {
      userId: subject.kind === "user" ? subject.userId : ownAccountOf(subject.wallet),
      wallet: subject.kind === "user" ? null : subject.wallet,
      scopes,
      label,
      bearerOnly,
      expiresAt: expiresMs === null ? null : new Date(expiresMs).toISOString(),
      endpoint: `http://${host.includes(":") ? `[${host}]` : host}:${port}`,
      region,
    };
    if (dryRun) return { dryRun, keyId: null, secret: null, createdAt: null, ...shared };
    const key: NewKey = { subject, scopes, label, expiresMs, bearerOnly, actor: actorOf(context, loaded) };
    const { pair, record } = await createAccessKey(pool, key, { sealer, random });
    return { dryRun, keyId: pair.keyId, secret: pair.secret.reveal(), createdAt: record.createdAt, ...shared };
  });
}

/**
 * Lists access keys, newest first.
 * @param words none for everybody's
 * @throws FulaError FULA_USAGE, FULA_USER_INVALID, FULA_WALLET_ADDRESS, and what `withMasterLedger` throws
 */
export async function readKeyList(context: BillingContext, words: SubjectWords): Promise<readonly KeyRecord[]> {
  const isOfOne = words.user !== undefined || words.wallet !== undefined;
  const subject = isOfOne ? requireSubject("key list", words) : null;
  return await withMasterLedger(context, "key", async (pool) => await listAccessKeys(pool, subject));
}

/** What `key revoke` is given. */
export interface RevokeKeyOptions {
  readonly keyId: string;
  readonly dryRun: boolean;
  /** Asks whether it is meant; throws where it is not. */
  readonly confirm: (key: KeyRecord) => Promise<void>;
}

/** What `key revoke` prints; `--json` keeps these fields. */
export interface RevokedKey {
  readonly keyId: string;
  readonly userId: string;
  readonly dryRun: boolean;
  readonly revoked: boolean;
  /** True where it was revoked before. */
  readonly already: boolean;
}

/** Revokes an access key. @throws FulaError FULA_KEY_NOT_FOUND, and what `withMasterLedger` and `confirm` throw */
export async function runRevokeKey(
  context: BillingContext,
  { keyId, dryRun, confirm }: RevokeKeyOptions,
): Promise<RevokedKey> {
  return await withMasterLedger(context, "key", async (pool, loaded) => {
    const key = await readAccessKey(pool, keyId);
    const { userId } = key;
    if (key.revokedAt !== null) return { keyId, userId, dryRun, revoked: true, already: true };
    if (dryRun) return { keyId, userId, dryRun, revoked: false, already: false };
    await confirm(key);
    const revoked = await revokeAccessKey(pool, { keyId, owner: null, actor: actorOf(context, loaded) });
    return { keyId, userId, dryRun, revoked: true, already: revoked === null };
  });
}
