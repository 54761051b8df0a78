/** What a caller of the API may do: `admin` only says that the credential is strong enough for it. */
export type CallerScope = "read" | "write" | "admin";

/** Who calls the API. */
export interface Caller {
  /** 64 hex digits. */
  readonly userId: string;
  readonly scopes: ReadonlySet<CallerScope>;
  /** How they showed who they are. */
  readonly by: "session" | "jwt" | "service";
}

/** What a request brings to show who sends it; null where it brings none. */
export interface Credentials {
  /** The token of `Authorization: Bearer …`. */
  readonly bearer: string | null;
  /** The value of `X-Fula-Service-Auth`. */
  readonly serviceAuth: string | null;
}

/** What one verifier says: `absent` = nothing of its kind is there, so the next one is asked. */
export type Verdict =
  | { readonly state: "absent" }
  | { readonly state: "accepted"; readonly caller: Caller }
  | { readonly state: "refused"; readonly because: string };

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
