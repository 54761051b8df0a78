import type { Caller } from "../identity/bearer.ts";
import { subjectText } from "../identity/subject.ts";
import { silentLog } from "../kernel/log.ts";
import type { Secret } from "../kernel/secret.ts";
import { type BillingContext, withMasterLedger } from "../stack/billing-ledger.ts";
import { sealerOf } from "../stack/other-epochs.ts";
import { openAccessKeys } from "./access-keys.ts";
import { openIdentities } from "./identities.ts";

/** What `auth verify` prints; `--json` keeps these fields. */
export interface VerifiedToken {
  readonly accepted: boolean;
  /** Why not; null where it is accepted, as all that follows is null where it is not. */
  readonly because: string | null;
  /** How it shows who somebody is: `eip712`, `jwt`, `session`, `key`. */
  readonly by: Caller["by"] | null;
  /** A user id, or a wallet's address. */
  readonly subject: string | null;
  /** The account that pays. */
  readonly userId: string | null;
  readonly ownerId: string | null;
  readonly scopes: readonly string[] | null;
  readonly digest: string | null;
  /** RFC 3339, UTC; null also for never. */
  readonly expiresAt: string | null;
}

function reportOf({ subject, scopes, by, credential, userId, ownerId }: Caller): VerifiedToken {
  const { digest, expiresMs } = credential;
  return {
    accepted: true,
    because: null,
    by,
    subject: subjectText(subject),
    userId,
    ownerId,
    scopes: [...scopes],
    digest,
    expiresAt: expiresMs === null ? null : new Date(expiresMs).toISOString(),
  };
}

function refusal(because: string): VerifiedToken {
  const nothing = { by: null, subject: null, userId: null, ownerId: null, scopes: null, digest: null, expiresAt: null };
  return { accepted: false, because, ...nothing };
}

/**
 * Judges a bearer token as this master's listeners would now: its settings, its keys, what was revoked. Writes nothing,
 * and no key counts as used.
 * @throws FulaError where it could not look: what `withMasterLedger` throws, FULA_ENCRYPTION_KEY_INVALID,
 *   FULA_ENCRYPTION_KEY_WRONG, FULA_WALLET_UNCHECKED
 */
export async function verifyBearerToken(context: BillingContext, token: Secret): Promise<VerifiedToken> {
  return await withMasterLedger(context, "auth", async (pool, loaded, { connection }) => {
    const sealer = sealerOf(loaded.secrets, "access key secrets");
    const shared = { pool, sealer, clock: context.clock, log: silentLog, metrics: null };
    await using keys = await openAccessKeys(loaded.config, shared);
    const unused = { ...keys, onKeyUsed: () => {} };
    await using open = await openIdentities(loaded, { ...shared, connection, keys: unused });
    const judgement = await open.identities.identify({ bearer: token.reveal(), serviceAuth: null });
    if (judgement.state === "accepted") return reportOf(judgement.caller);
    return refusal(judgement.state === "refused" ? judgement.because : "there is no token");
  });
}
