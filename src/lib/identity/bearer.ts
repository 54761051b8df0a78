import type { DenyList } from "./deny-list.ts";
import { ownerOfSubject, type Subject } from "./subject.ts";

/** What a caller may do: `admin` only says that the credential is strong enough for it. */
export type CallerScope = "read" | "write" | "admin";

/** What shows who a caller is, without being usable by whoever reads it. */
export interface Credential {
  /** Hex; the same for every spelling of one credential, so that a list of what was revoked cannot be got around. */
  readonly digest: string;
  /** Milliseconds since 1970; null where the credential does not say. */
  readonly issuedMs: number | null;
  /** Milliseconds since 1970; null for never. */
  readonly expiresMs: number | null;
  /** The digest of the credential that a session token was made with; left out of any other. What revokes one, revokes both. */
  readonly madeFrom?: string;
  /** SHA-256 of the whole token, in hex: the fleet's API keys are deleted by it. Left out where it can be none of them. */
  readonly keyHash?: string;
}

/** What a credential says by itself. */
export interface Identity {
  readonly subject: Subject;
  readonly scopes: ReadonlySet<CallerScope>;
  /** How they showed who they are. */
  readonly by: "session" | "jwt" | "service" | "eip712" | "key";
  readonly credential: Credential;
}

/** The account that pays. */
export interface Account {
  /** 64 hex digits. */
  readonly userId: string;
  /** Null where the ledger has said so a moment ago; else for how long it has not: good for reading alone. */
  readonly staleMs: number | null;
}

/** Who calls: an identity, and what belongs to it. */
export interface Caller extends Identity, Account {
  /** Owner of buckets, 32 hex digits. */
  readonly ownerId: string;
}

/** What a request brings to show who sends it; null where it brings none. */
export interface Credentials {
  /** The token of `Authorization: Bearer …`. */
  readonly bearer: string | null;
  /** The value of `X-Fula-Service-Auth`. */
  readonly serviceAuth: string | null;
  /** Where they come from: what costs much to look at is counted by it. Left out where nobody is far away. */
  readonly address?: string;
}

/** What one verifier says: `absent` = nothing of its kind is there, so the next one is asked. */
export type Verdict =
  | { readonly state: "absent" }
  | { readonly state: "accepted"; readonly identity: Identity }
  | {
      readonly state: "refused";
      readonly because: string;
      /** For clients that can do something about it: the wallet is a contract, and its chain cannot be asked here. */
      readonly reason?: "CONTRACT_WALLET";
    };

/** One way to show who one is. Throws only where it could not look: whoever cannot be checked is not let in. */
export interface Verifier {
  readonly verify: (credentials: Credentials) => Promise<Verdict>;
}

/** Longer ones are none of ours, and are not hashed or parsed. */
const TOKEN_LENGTH_MAX = 8_192;

/** The token of an `Authorization` header; null where it is no bearer token. */
export function parseAuthorization(header: string): string | null {
  const token = /^Bearer +([!-~]+) *$/i.exec(header)?.[1];
  return token === undefined || token.length > TOKEN_LENGTH_MAX ? null : token;
}

/**
 * Asks the verifiers in their order; the first that knows the credential decides. One that is there and known to none of
 * them is refused, never taken for absent.
 */
export async function identify(verifiers: readonly Verifier[], credentials: Credentials): Promise<Verdict> {
  for (const { verify } of verifiers) {
    const verdict = await verify(credentials);
    if (verdict.state !== "absent") return verdict;
  }
  const isEmpty = credentials.bearer === null && credentials.serviceAuth === null;
  return isEmpty ? { state: "absent" } : { state: "refused", because: "the credential is not known here" };
}

/** What is said to a request in the end. */
export type Judgement =
  | Exclude<Verdict, { state: "accepted" }>
  | { readonly state: "accepted"; readonly caller: Caller };

/** Finds out who sends requests; the gateway, the API and the pinning service ask the same one. */
export interface Identities {
  /** Throws only where it could not look: whoever cannot be checked is not let in. */
  identify(credentials: Credentials): Promise<Judgement>;
  /**
   * Judges an identity that was verified elsewhere, as by a signature over a whole request. Throws as `identify`.
   * @param silentMs for how long the ledger may have said nothing of what was revoked; only for what is let in to read
   *   from what is remembered, default `identity.denyListMaxAge`
   */
  admit(identity: Identity, silentMs?: number): Promise<Exclude<Judgement, { state: "absent" }>>;
}

/** What identities are put together from. */
export interface IdentityParts {
  /** Asked in this order. */
  readonly verifiers: readonly Verifier[];
  /** What was revoked: whatever showed who somebody is, this is asked in the end. */
  readonly denials: Pick<DenyList, "judge">;
  /** The account of a wallet (`0x`, lower case): the one that it is linked to, else its own. */
  readonly accountOf: (wallet: string) => Promise<Account>;
}

/** Puts identities together. */
export function createIdentities({ verifiers, denials, accountOf }: IdentityParts): Identities {
  const admit: Identities["admit"] = async (identity, silentMs) => {
    const { subject } = identity;
    if (denials.judge(identity, silentMs) === "denied")
      return { state: "refused", because: "the credential was revoked" };
    const account =
      subject.kind === "wallet" ? await accountOf(subject.wallet) : { userId: subject.userId, staleMs: null };
    return { state: "accepted", caller: { ...identity, ...account, ownerId: ownerOfSubject(subject) } };
  };
  return {
    admit,
    identify: async (credentials) => {
      const verdict = await identify(verifiers, credentials);
      return verdict.state === "accepted" ? await admit(verdict.identity) : verdict;
    },
  };
}

/** The rights that the fleet's space-separated scopes give; `admin` alone neither reads nor writes. */
export function scopesOf(text: string): ReadonlySet<CallerScope> {
  const words = new Set(text.split(" "));
  const has = (...names: readonly string[]): boolean => names.some((name) => words.has(name));
  const scopes = new Set<CallerScope>();
  if (has("storage:read", "storage:*", "*")) scopes.add("read");
  if (has("storage:write", "storage:*", "*")) scopes.add("write");
  if (has("admin", "*")) scopes.add("admin");
  return scopes;
}
