import type { LoadedConfig } from "../config/load.ts";
import { noteAudit } from "../identity/audit.ts";
import type { CallerScope } from "../identity/bearer.ts";
import { assertMayIssue } from "../identity/denial-table.ts";
import { assertSealerFits } from "../identity/key-table.ts";
import { createKeyring, type TokenKey } from "../identity/keyring.ts";
import { scopeText, signSessionToken } from "../identity/session-token.ts";
import {
  ENV_KID,
  listSigningKeys,
  PROPAGATION_MS,
  readSigningKeys,
  rotateSigningKey,
  type SigningKeyRecord,
} from "../identity/signing-keys.ts";
import { type Subject, subjectText } from "../identity/subject.ts";
import { FulaError } from "../kernel/errors.ts";
import { formatDuration } from "../kernel/units.ts";
import type { Pool } from "../postgres/pool.ts";
import { withTransaction } from "../postgres/transaction.ts";
import { type BillingContext, withMasterLedger } from "./billing-ledger.ts";
import { otherKeys, sealerOf } from "./other-epochs.ts";
import { requireSubject, type SubjectWords } from "./key-run.ts";
import { actorOf } from "./operators.ts";

/** A key that signs tokens, as `key signing` prints it; `--json` keeps these fields. Times are RFC 3339, UTC. */
export interface SigningKeyReport extends Omit<SigningKeyRecord, "createdAt" | "createdBy" | "signsFrom"> {
  /** `settings`: JWT_SECRET. */
  readonly from: "ledger" | "settings";
  /** Null of JWT_SECRET while nobody has taken it out of use, as are the two behind it. */
  readonly createdAt: string | null;
  readonly createdBy: string | null;
  readonly signsFrom: string | null;
}

/** What `key rotate` is given. */
export interface RotateOptions {
  readonly overlapMs: number;
  readonly retireEnv: boolean;
  readonly dryRun: boolean;
  /** Asks whether it is meant; throws where it is not. */
  readonly confirm: (question: string) => Promise<void>;
}

/** What `key rotate` prints; `--json` keeps these fields. */
export interface RotateReport {
  readonly dryRun: boolean;
  /** The new key; null in a dry run, as are the times. */
  readonly kid: string | null;
  readonly signsFrom: string | null;
  /** Until then, at the latest, the keys of before verify. */
  readonly othersVerifyUntil: string | null;
  readonly overlapSeconds: number;
  readonly retireEnv: boolean;
}

/** The keys that sign session tokens, JWT_SECRET of this box's settings among them. @throws as `withMasterLedger` */
export async function readSigningList(context: BillingContext): Promise<readonly SigningKeyReport[]> {
  return await withMasterLedger(context, "key", async (pool, { secrets }) => {
    const keys = await listSigningKeys(pool);
    const ofLedger = keys.map((key) => ({ from: key.kid === ENV_KID ? "settings" : "ledger", ...key }) as const);
    if (secrets.jwtSecret === null || keys.some(({ kid }) => kid === ENV_KID)) return ofLedger;
    const state = keys.some((key) => key.state === "signs") ? "verifies" : "signs";
    const nothing = { createdAt: null, createdBy: null, signsFrom: null, verifiesUntil: null };
    return [...ofLedger, { kid: ENV_KID, from: "settings", state, ...nothing }];
  });
}

/**
 * Has session tokens signed by a new key, half a minute later.
 * @throws FulaError FULA_SIGNING_KEYS_TOO_MANY, FULA_ENCRYPTION_KEY_INVALID, FULA_ENCRYPTION_KEY_WRONG, and what
 *   `withMasterLedger` and `confirm` throw
 */
export async function runRotate(context: BillingContext, options: RotateOptions): Promise<RotateReport> {
  const { overlapMs, retireEnv, dryRun, confirm } = options;
  const shared = { dryRun, overlapSeconds: overlapMs / 1_000, retireEnv };
  return await withMasterLedger(context, "key", async (pool, loaded) => {
    const sealer = sealerOf(loaded.secrets, "signing keys");
    // A key that is sealed under another ENCRYPTION_KEY than the federation's is one that no master can use.
    const fits = await assertSealerFits(pool, sealerOf(loaded.secrets, "access key secrets"));
    // Where an access key opens and no signing key does, those are the wrong ones, and a rotation is what mends it.
    if (!fits) await readSigningKeys(pool, sealer);
    if (dryRun) return { ...shared, kid: null, signsFrom: null, othersVerifyUntil: null };
    if (retireEnv) {
      const end = formatDuration(overlapMs + PROPAGATION_MS);
      await confirm(`Refuse all that JWT_SECRET has signed, the fleet's web UI too, in ${end}?`);
    }
    const actor = actorOf(context, loaded);
    const rotation = { overlapMs, propagationMs: PROPAGATION_MS, retireEnv, actor };
    const { kid, signsFrom } = await rotateSigningKey(pool, rotation, { sealer, random: context.random });
    const othersVerifyUntil = new Date(Date.parse(signsFrom) + overlapMs).toISOString();
    return { ...shared, kid, signsFrom, othersVerifyUntil };
  });
}

/** What `key session` is given. */
export interface SessionOptions extends SubjectWords {
  readonly scopes: readonly CallerScope[];
  readonly lifetimeMs: number;
  readonly dryRun: boolean;
}

/** What `key session` prints; `--json` keeps these fields. */
export interface SessionReport {
  readonly dryRun: boolean;
  /** In the clear: whoever has it is let in. Null in a dry run. */
  readonly token: string | null;
  /** The key that signed it. */
  readonly kid: string;
  /** A user id or the address of a wallet. */
  readonly subject: string;
  readonly scope: string;
  /** RFC 3339, UTC. */
  readonly expiresAt: string;
}

/** The key that signs session tokens now. @throws FulaError FULA_SIGNING_KEY_MISSING, FULA_ENCRYPTION_KEY_INVALID */
export async function signingKey(
  pool: Pool,
  { secrets }: Pick<LoadedConfig, "secrets">,
  { clock }: Pick<BillingContext, "clock">,
): Promise<TokenKey> {
  const sealer = sealerOf(secrets, "signing keys");
  const read = async (): ReturnType<typeof readSigningKeys> => await readSigningKeys(pool, sealer);
  const keyring = createKeyring({
    read,
    envSecret: secrets.jwtSecret,
    otherEnvSecrets: otherKeys(secrets, "jwtSecret"),
    clock,
  });
  await keyring.refresh();
  return keyring.signing();
}

async function noteSession(pool: Pool, actor: string, subject: Subject, report: SessionReport): Promise<void> {
  const { kid, scope, expiresAt } = report;
  await withTransaction(pool, async (client) => {
    await assertMayIssue(client, subject);
    const details = { kid, scope, expiresAt };
    await noteAudit(client, { actor, action: "session.issue", target: subjectText(subject), details });
  });
}

/** The longest life of a token that an operator issues; keys are mostly rotated more often. */
const LIFETIME_MAX_MS = 30 * 86_400_000;

/**
 * Issues a session token for a user or a wallet.
 * @throws FulaError FULA_USAGE, FULA_USER_INVALID, FULA_WALLET_ADDRESS, FULA_SIGNING_KEY_MISSING, FULA_SUBJECT_DENIED,
 *   and what `withMasterLedger` throws
 */
export async function issueSession(context: BillingContext, options: SessionOptions): Promise<SessionReport> {
  const { scopes, lifetimeMs, dryRun } = options;
  const { clock, random } = context;
  const subject = requireSubject("key session", options);
  if (lifetimeMs < 1_000 || lifetimeMs > LIFETIME_MAX_MS) {
    const most = formatDuration(LIFETIME_MAX_MS);
    throw new FulaError("FULA_USAGE", `A session token lives from one second to ${most}, not longer.`, {
      hint: "an access key (key create) has no end, or a later one.",
    });
  }
  return await withMasterLedger(context, "key", async (pool, loaded) => {
    const key = await signingKey(pool, loaded, context);
    const issuedMs = clock.nowMs();
    const times = { issuedMs, expiresMs: issuedMs + lifetimeMs };
    const claims = { subject, scopes: new Set(scopes), ...times, madeFrom: null, madeFromKey: null, id: random.uuid() };
    const report: SessionReport = {
      dryRun,
      token: dryRun ? null : await signSessionToken(key, claims),
      kid: key.kid,
      subject: subjectText(subject),
      scope: scopeText(claims.scopes),
      expiresAt: new Date(times.expiresMs).toISOString(),
    };
    if (!dryRun) await noteSession(pool, actorOf(context, loaded), subject, report);
    return report;
  });
}
