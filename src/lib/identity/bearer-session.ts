import { createHash } from "node:crypto";
import { isFulaError } from "../kernel/errors.ts";
import type { Pool } from "../postgres/pool.ts";
import { runQuery } from "../postgres/run-query.ts";
import type { CallerScope, Identity, Verifier } from "./bearer.ts";
import { parseSubject } from "./subject.ts";

/** Whoever logged in may do everything that is theirs; who is an administrator is decided elsewhere. */
const SESSION_SCOPES: ReadonlySet<CallerScope> = new Set<CallerScope>(["read", "write", "admin"]);

interface SessionRow {
  readonly user_id: string | null;
  readonly username: string | null;
  readonly created_at: Date | null;
  readonly expires_at: Date | null;
  readonly in_force: boolean;
}

/** The hash under which the fleet keeps sessions and API keys: lower-case hex SHA-256. */
function tokenHash(token: string): string {
  return createHash("sha256").update(token, "utf8").digest("hex");
}

// A row of the time before 2025 has the token itself. A newer one has the hash in session_token too, so that column is
// compared only where there is no hash: else whoever read the table could log in with what is written there.
async function findSession(pool: Pool, token: string): Promise<SessionRow | null> {
  const { rows } = await runQuery<SessionRow>(pool, {
    name: "bearer_session_find",
    text: `
      select user_id, username, created_at, expires_at, expires_at is null or expires_at > clock_timestamp() as in_force
        from sessions
       where token_hash = $1 or (token_hash is null and session_token = $2)
       order by token_hash nulls last
       limit 1`,
    values: [tokenHash(token), token],
  });
  return rows[0] ?? null;
}

/**
 * True where an API key was deleted in the web UI: its token still carries a good signature.
 * @param hashes SHA-256 of tokens, in hex
 */
export async function isDeletedKey(pool: Pool, hashes: readonly string[]): Promise<boolean> {
  const { rowCount } = await runQuery(pool, {
    name: "bearer_key_revoked",
    text: "select from api_keys where key_hash = any ($1) and is_deleted = 1",
    values: [hashes],
  });
  return rowCount > 0;
}

function identityOf({ user_id, username, created_at, expires_at }: SessionRow, token: string): Identity | null {
  const credential = {
    digest: tokenHash(token),
    issuedMs: created_at?.getTime() ?? null,
    expiresMs: expires_at?.getTime() ?? null,
  };
  try {
    return { subject: parseSubject(user_id ?? username ?? ""), scopes: SESSION_SCOPES, by: "session", credential };
  } catch (error) {
    if (isFulaError(error, "FULA_USER_INVALID")) return null;
    throw error;
  }
}

/** Verifies tokens of the fleet's `sessions`, by the database's clock. */
export function sessionVerifier(pool: Pool): Verifier {
  return {
    verify: async ({ bearer }) => {
      if (bearer === null) return { state: "absent" };
      const session = await findSession(pool, bearer);
      if (session === null) return { state: "absent" };
      if (!session.in_force) return { state: "refused", because: "the session has expired" };
      const identity = identityOf(session, bearer);
      return identity === null
        ? { state: "refused", because: "the session names no user" }
        : { state: "accepted", identity };
    },
  };
}
