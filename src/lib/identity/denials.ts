import { FulaError } from "../kernel/errors.ts";
import type { Pool } from "../postgres/pool.ts";
import { withTransaction } from "../postgres/transaction.ts";
import { digestOfKey, isKeyId } from "./access-key.ts";
import { noteAudit } from "./audit.ts";
import { deniableOf } from "./credential-digest.ts";
import { type Denial, type DenialTarget, denyCredentials, liftDenial } from "./denial-table.ts";
import { readAccessKey } from "./key-table.ts";
import { isWalletAddress, parseSubject } from "./subject.ts";

/** What somebody names to be denied: exactly one of these. */
export interface DenialWords {
  /** A bearer token as it was sent. */
  readonly token?: string | undefined;
  /** 64 hex digits. */
  readonly digest?: string | undefined;
  readonly keyId?: string | undefined;
  /** `0x` and 40 hex digits. */
  readonly wallet?: string | undefined;
  /** An e-mail address or a user id. */
  readonly user?: string | undefined;
}

/** What it comes to. */
export interface NamedTarget extends DenialTarget {
  /** Milliseconds since 1970; null for never. */
  readonly expiresMs: number | null;
}

function notOne(message: string): FulaError {
  return new FulaError("FULA_DENIAL_TARGET", message, { hint: "name one token, digest, access key, wallet or user." });
}

function subjectTarget(text: string, kind: "wallet" | "user"): NamedTarget {
  const isWallet = isWalletAddress(text);
  if (isWallet !== (kind === "wallet")) throw notOne(`"${text}" is no ${isWallet ? kind : "address of a wallet"}.`);
  const subject = parseSubject(text);
  return { kind, subject: subject.kind === "wallet" ? subject.wallet : subject.userId, expiresMs: null };
}

/** Finds out what is meant. @throws FulaError FULA_DENIAL_TARGET, FULA_USER_INVALID */
export function targetOf(words: DenialWords): NamedTarget {
  const given = Object.values(words).filter((word) => word !== undefined);
  if (given.length !== 1) throw notOne(`${given.length === 0 ? "Nothing" : "More than one thing"} to deny is named.`);
  if (words.token !== undefined) {
    const { digest, expiresMs } = deniableOf(words.token.trim());
    return { kind: "digest", subject: digest, expiresMs };
  }
  if (words.digest !== undefined) {
    const digest = words.digest.toLowerCase().replace(/^0x/, "");
    if (!/^[0-9a-f]{64}$/.test(digest)) throw notOne(`"${words.digest}" is no digest: it has not 64 hex digits.`);
    return { kind: "digest", subject: digest, expiresMs: null };
  }
  if (words.keyId !== undefined) {
    if (!isKeyId(words.keyId)) throw notOne(`"${words.keyId}" is no id of an access key.`);
    return { kind: "digest", subject: digestOfKey(words.keyId), expiresMs: null };
  }
  return words.wallet === undefined ? subjectTarget(words.user ?? "", "user") : subjectTarget(words.wallet, "wallet");
}

/**
 * Looks whether the key that is to be denied is one: who has misread its id believes that the other one is refused now.
 * @throws FulaError FULA_KEY_NOT_FOUND
 */
export async function assertKnown(pool: Pool, { keyId }: DenialWords): Promise<void> {
  if (keyId !== undefined) await readAccessKey(pool, keyId);
}

/** Who denies or lifts, and why. */
export interface DenialAct {
  readonly actor: string;
  readonly reason: string;
}

/** What became of an act; `changed` is false where it was so already. */
export interface DenialOutcome {
  readonly denial: Denial;
  readonly changed: boolean;
}

/**
 * Denies, and writes down who did it. Every master refuses it within seconds.
 * @param issuedBeforeMs milliseconds since 1970, of a wallet or user; null takes the ledger's present
 */
export async function deny(
  pool: Pool,
  target: NamedTarget,
  { actor, reason, issuedBeforeMs }: DenialAct & { readonly issuedBeforeMs: number | null },
): Promise<DenialOutcome> {
  return await withTransaction(pool, async (client) => {
    const outcome = await denyCredentials(client, { ...target, issuedBeforeMs, reason, deniedBy: actor });
    const { issuedBefore, expiresAt } = outcome.denial;
    const details = { kind: target.kind, reason, issuedBefore, expiresAt };
    if (outcome.changed) await noteAudit(client, { actor, action: "credential.deny", target: target.subject, details });
    return outcome;
  });
}

/** Lifts a denial, and writes down who did it. @throws FulaError FULA_DENIAL_NOT_FOUND */
export async function lift(pool: Pool, target: DenialTarget, { actor, reason }: DenialAct): Promise<DenialOutcome> {
  return await withTransaction(pool, async (client) => {
    const outcome = await liftDenial(client, target, actor);
    const details = { kind: target.kind, reason };
    if (outcome.changed) await noteAudit(client, { actor, action: "credential.lift", target: target.subject, details });
    return outcome;
  });
}
