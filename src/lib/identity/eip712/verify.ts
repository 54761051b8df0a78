import { bytesToHex } from "@noble/hashes/utils.js";
import { type Identity, scopesOf } from "../bearer.ts";
import { ISSUER_SKEW_SECONDS } from "../issuer-clock.ts";
import { digestOf, type TokenVersion, type WalletClaims } from "./claims.ts";
import { recoverSigner } from "./signature.ts";
import { parseEip712Token, type WalletToken } from "./token.ts";

/** Which wallet tokens are taken here. */
export interface WalletTokenRules {
  readonly versions: ReadonlySet<TokenVersion>;
  /** Of the second version: whom a token may be meant for. */
  readonly audiences: ReadonlySet<string>;
  /** Of the second version: the chains that a token may name. */
  readonly chainIds: ReadonlySet<number>;
}

/** What is asked of a wallet's contract (ERC-1271). */
export interface ContractQuestion {
  readonly chainId: number;
  readonly wallet: string;
  /** 32 bytes. */
  readonly digest: Uint8Array;
  readonly signature: Uint8Array;
}

/** What can be said of a token without asking anybody. `contract`: the wallet's contract alone can tell. */
export type OfflineVerdict =
  | { readonly state: "absent" }
  | { readonly state: "refused"; readonly because: string }
  | { readonly state: "accepted"; readonly identity: Identity }
  | {
      readonly state: "contract";
      readonly question: ContractQuestion;
      /** Whose it is if the contract says yes. */
      readonly identity: Identity;
      /** Why the wallet is not known to have signed with a key of its own. */
      readonly because: string;
    };

/** No wallet token is good for longer. */
export const LIFETIME_SECONDS_MAX = 86_400;

function timeProblem({ issued, expires }: WalletClaims, nowMs: number): string | null {
  const lifetime = expires - issued;
  if (lifetime < 1) return "it ends before it was issued";
  if (lifetime > LIFETIME_SECONDS_MAX) return "it is good for longer than 24 h";
  // None is given at the end of a token's time.
  if (issued * 1_000 > nowMs + ISSUER_SKEW_SECONDS * 1_000) {
    return `it was issued more than ${ISSUER_SKEW_SECONDS} s in the future`;
  }
  return expires * 1_000 <= nowMs ? "it has expired" : null;
}

/** Why a token is not taken here whoever signed it; null where it is. */
export function claimsProblem(claims: WalletClaims, rules: WalletTokenRules, nowMs: number): string | null {
  if (!rules.versions.has(claims.version)) return `version ${claims.version} of wallet tokens is not taken here`;
  if (claims.version === 2) {
    if (!rules.audiences.has(claims.audience)) return `it is meant for ${claims.audience}`;
    if (!rules.chainIds.has(claims.chainId)) return `chain ${claims.chainId} is none that is taken here`;
  }
  return timeProblem(claims, nowMs);
}

function identityOf(claims: WalletClaims, digest: Uint8Array): Identity {
  const { wallet, issued, expires } = claims;
  return {
    subject: { kind: "wallet", wallet },
    scopes: scopesOf(claims.version === 1 ? "storage:*" : claims.scope),
    by: "eip712",
    credential: { digest: bytesToHex(digest), issuedMs: issued * 1_000, expiresMs: expires * 1_000 },
  };
}

/** Finds out whether a token's wallet signed it. Says nothing of time, audience and the like: {@link claimsProblem}. */
export function checkSignature({ claims, signature }: WalletToken): Exclude<OfflineVerdict, { state: "absent" }> {
  const digest = digestOf(claims);
  const identity = identityOf(claims, digest);
  const signer = recoverSigner(digest, signature);
  if ("address" in signer && signer.address === claims.wallet) return { state: "accepted", identity };
  const because = "because" in signer ? signer.because : "another wallet than the one it names signed it";
  // The first version names no chain that a contract could be looked up on.
  if (claims.version === 1) return { state: "refused", because };
  const question = { chainId: claims.chainId, wallet: claims.wallet, digest, signature };
  return { state: "contract", question, identity, because };
}

/** Judges a wallet token by its text alone: no network, no ledger. Whether it was revoked is asked elsewhere. */
export function verifyEip712(text: string, rules: WalletTokenRules, nowMs: number): OfflineVerdict {
  const parsed = parseEip712Token(text);
  if (parsed.state === "absent") return parsed;
  if (parsed.state === "malformed") return { state: "refused", because: parsed.because };
  const problem = claimsProblem(parsed.token.claims, rules, nowMs);
  return problem === null ? checkSignature(parsed.token) : { state: "refused", because: problem };
}
