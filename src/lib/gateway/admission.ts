import { identityOfKey, type Scope } from "../identity/access-key.ts";
import { authenticate, type AuthenticatedRequest, type Principal } from "../identity/authenticate.ts";
import type { Caller, Identities } from "../identity/bearer.ts";
import type { FoundKey } from "../identity/key-cache.ts";
import type { RawRequest } from "../identity/raw-request.ts";
import { Refusal } from "../identity/refusal.ts";
import type { Clock } from "../kernel/clock.ts";

/** What finding out the senders of requests needs. */
export interface AdmissionParts {
  readonly findKey: (keyId: string) => Promise<FoundKey | null>;
  /** Knows whoever comes with a bearer token that is no key pair. */
  readonly identities: Identities;
  /** Called for each request whose sender was found out by a key. */
  readonly onKeyUsed: (keyId: string) => void;
  /** `gateway.jwtAccessKeys` */
  readonly jwtAccessKeys: boolean;
  readonly region: string;
  /** For so long, while the ledger does not answer, a key is good for reading. */
  readonly staleMaxMs: number;
  readonly clock: Clock;
}

/** A request whose sender is known. */
export interface Admitted {
  readonly auth: AuthenticatedRequest;
  /** Null where the ledger has said so a moment ago; else for how long it has not: good for reading alone. */
  readonly staleMs: number | null;
}

/** So much of a digest tells credentials in a log apart, and nobody can look the rest up by it. */
const DIGEST_SHOWN = 16;

function scopesOf({ scopes }: Caller): readonly Scope[] {
  const all: readonly (Scope | null)[] = [
    scopes.has("read") ? "storage:read" : null,
    scopes.has("write") ? "storage:write" : null,
  ];
  return all.filter((scope) => scope !== null);
}

/** Who sent a request, and what names the credential. */
interface Known {
  readonly caller: Caller;
  readonly credentialId: string;
}

async function admitKey(identities: Identities, { key, staleMs }: FoundKey, staleMaxMs: number): Promise<Known> {
  // Reading goes on while the ledger is silent: what was revoked is then as old as the key itself.
  const silentMs = staleMs === null ? undefined : staleMaxMs;
  const judgement = await identities.admit(identityOfKey(key), silentMs);
  if (judgement.state === "accepted") return { caller: judgement.caller, credentialId: key.keyId };
  throw new Refusal("InvalidAccessKeyId", `The access key is not accepted: ${judgement.because}.`, {
    AWSAccessKeyId: key.keyId,
  });
}

async function identifyBearer(identities: Identities, bearer: string, address: string): Promise<Known> {
  const judgement = await identities.identify({ bearer, serviceAuth: null, address });
  if (judgement.state === "accepted") {
    const { caller } = judgement;
    return { caller, credentialId: `${caller.by}:${caller.credential.digest.slice(0, DIGEST_SHOWN)}` };
  }
  const because = judgement.state === "refused" ? judgement.because : "there is none";
  throw new Refusal("InvalidToken", `The bearer token is not accepted: ${because}.`);
}

function older(one: number | null, other: number | null): number | null {
  return one === null || other === null ? (one ?? other) : Math.max(one, other);
}

/**
 * Finds out who sent a request, in every way that there is.
 * @param address where it comes from; empty where the connection is gone
 * @throws Refusal for every request whose sender is not beyond doubt; FulaError where somebody who would know could not
 *   be asked
 */
export async function admit(
  request: RawRequest,
  { findKey, identities, onKeyUsed, jwtAccessKeys, region, staleMaxMs, clock }: AdmissionParts,
  address: string,
): Promise<Admitted> {
  let found: FoundKey | null = null;
  let staleMs: number | null = null;
  const settle = ({ caller, credentialId }: Known): Principal => {
    staleMs = older(found?.staleMs ?? null, caller.staleMs);
    return { credentialId, userId: caller.userId, ownerId: caller.ownerId, scopes: scopesOf(caller) };
  };
  const auth = await authenticate(request, {
    findKey: async (keyId) => {
      found = await findKey(keyId);
      return found?.key ?? null;
    },
    admitKey: async (key) => settle(await admitKey(identities, found ?? { key, staleMs: null }, staleMaxMs)),
    identifyBearer: async (token) => settle(await identifyBearer(identities, token, address)),
    jwtAccessKeys,
    region,
    nowMs: clock.nowMs(),
  });
  const { credentialId } = auth.principal;
  if (found !== null) onKeyUsed(credentialId);
  return { auth, staleMs };
}
