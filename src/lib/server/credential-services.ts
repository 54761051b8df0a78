import type { LoadedConfig } from "../config/load.ts";
import { type AccessKeyPair, SCOPES, type Scope } from "../identity/access-key.ts";
import { noteAudit } from "../identity/audit.ts";
import { digestOfJwt } from "../identity/bearer-jwt.ts";
import type { Caller, CallerScope } from "../identity/bearer.ts";
import type { Keyring } from "../identity/keyring.ts";
import { createAccessKey, type KeyRecord, listAccessKeys, revokeAccessKey } from "../identity/key-table.ts";
import type { SecretSealer } from "../identity/sealed-secret.ts";
import { scopeText, signSessionToken } from "../identity/session-token.ts";
import { subjectText } from "../identity/subject.ts";
import type { Clock } from "../kernel/clock.ts";
import type { Random } from "../kernel/random.ts";
import type { Pool } from "../postgres/pool.ts";
import { withTransaction } from "../postgres/transaction.ts";
import { sealerOf } from "../stack/other-epochs.ts";
import { ApiError } from "./api-errors.ts";

/** What a caller may choose of a key. */
export interface KeyWish {
  /** Null takes those of the credential that asks. */
  readonly scopes: readonly Scope[] | null;
  readonly label: string;
  /** Null for as long as the credential that asks may. */
  readonly lifetimeMs: number | null;
  readonly bearerOnly: boolean;
}

/** What a caller may choose of a session token. */
export interface SessionWish {
  /** Null takes those of the credential that asks, but for `admin`, which has to be named. */
  readonly scopes: readonly CallerScope[] | null;
  readonly lifetimeMs: number;
}

/** A session token, shown to whoever asked for it. */
export interface IssuedSession {
  readonly token: string;
  /** The fleet's words. */
  readonly scope: string;
  /** Milliseconds since 1970. */
  readonly expiresMs: number;
}

/** What callers do with their own credentials. */
export interface CredentialServices {
  readonly listKeys: (caller: Caller) => Promise<readonly KeyRecord[]>;
  /** @throws ApiError where the caller's credential is not strong enough */
  readonly createKey: (
    caller: Caller,
    wish: KeyWish,
  ) => Promise<{ readonly pair: AccessKeyPair; readonly record: KeyRecord }>;
  /** @returns false where it was revoked before */
  readonly revokeKey: (caller: Caller, keyId: string) => Promise<boolean>;
  /** @throws ApiError as `createKey` */
  readonly issueSession: (caller: Caller, wish: SessionWish) => Promise<IssuedSession>;
}

/** What they need. */
export interface CredentialServicesDeps {
  readonly pool: Pool;
  readonly keyring: Pick<Keyring, "signing">;
  readonly clock: Clock;
  readonly random: Random;
}

const RIGHTS: Readonly<Record<Scope, CallerScope>> = { "storage:read": "read", "storage:write": "write" };

function actorOf({ subject }: Caller): string {
  return `${subject.kind}:${subjectText(subject)}`;
}

/** Credentials that somebody else holds for a while make no others, which would outlive what was meant by them. */
function assertFull({ by, credential }: Caller): void {
  const weakness =
    by === "service"
      ? "A gateway that acts for its user"
      : credential.madeFrom === undefined
        ? null
        : "A session token that was made with another credential";
  if (weakness === null) return;
  throw new ApiError(403, "CREDENTIAL_TOO_WEAK", `${weakness} makes no further credentials.`);
}

function assertHeld(caller: Caller, wanted: readonly CallerScope[]): void {
  const missing = wanted.filter((scope) => !caller.scopes.has(scope));
  if (missing.length === 0) return;
  const text = scopeText(new Set(missing));
  throw new ApiError(403, "SCOPE_NOT_HELD", `The credential that asks has no ${text} itself.`);
}

/** The earlier of two ends; null for never. */
function earlier(one: number | null, other: number | null): number | null {
  if (one === null || other === null) return one ?? other;
  return Math.min(one, other);
}

async function createKey(
  caller: Caller,
  wish: KeyWish,
  { pool, clock, random, sealer }: CredentialServicesDeps & { readonly sealer: SecretSealer },
): ReturnType<CredentialServices["createKey"]> {
  assertFull(caller);
  const scopes = wish.scopes ?? SCOPES.filter((scope) => caller.scopes.has(RIGHTS[scope]));
  assertHeld(
    caller,
    scopes.map((scope) => RIGHTS[scope]),
  );
  // A key that ends leaves none behind that does not.
  const latestMs = caller.by === "key" ? caller.credential.expiresMs : null;
  const wantedMs = wish.lifetimeMs === null ? null : clock.nowMs() + wish.lifetimeMs;
  const { label, bearerOnly } = wish;
  const key = { subject: caller.subject, scopes, label, bearerOnly, actor: actorOf(caller) };
  return await createAccessKey(pool, { ...key, expiresMs: earlier(wantedMs, latestMs) }, { sealer, random });
}

async function issueSession(
  caller: Caller,
  { scopes: wanted, lifetimeMs }: SessionWish,
  { pool, keyring, clock, random }: CredentialServicesDeps,
): Promise<IssuedSession> {
  assertFull(caller);
  const scopes = wanted ?? [...caller.scopes].filter((scope) => scope !== "admin");
  assertHeld(caller, scopes);
  const issuedMs = clock.nowMs();
  const { digest: madeFrom, keyHash: madeFromKey = null, expiresMs: latestMs } = caller.credential;
  const expiresMs = Math.min(issuedMs + lifetimeMs, latestMs ?? Number.POSITIVE_INFINITY);
  const claims = { subject: caller.subject, scopes: new Set(scopes), issuedMs, expiresMs, madeFrom, madeFromKey };
  const key = keyring.signing();
  const token = await signSessionToken(key, { ...claims, id: random.uuid() });
  const scope = scopeText(claims.scopes);
  const details = { kid: key.kid, scope, expiresAt: new Date(expiresMs).toISOString(), madeFrom };
  await withTransaction(pool, async (client) => {
    await noteAudit(client, { actor: actorOf(caller), action: "session.issue", target: digestOfJwt(token), details });
  });
  return { token, scope, expiresMs };
}

/** Puts them together. @throws FulaError FULA_ENCRYPTION_KEY_INVALID */
export function createCredentialServices(loaded: LoadedConfig, deps: CredentialServicesDeps): CredentialServices {
  const { pool } = deps;
  const sealer = sealerOf(loaded.secrets, "access key secrets");
  return {
    listKeys: async ({ subject }) => await listAccessKeys(pool, subject),
    createKey: async (caller, wish) => await createKey(caller, wish, { ...deps, sealer }),
    revokeKey: async (caller, keyId) =>
      (await revokeAccessKey(pool, { keyId, owner: caller.subject, actor: actorOf(caller) })) !== null,
    issueSession: async (caller, wish) => await issueSession(caller, wish, deps),
  };
}
