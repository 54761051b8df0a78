import type { Pool } from "../postgres/pool.ts";
import { runQuery } from "../postgres/run-query.ts";

/** What the web UI keeps about a user; null where it does not, as it is with those who never logged in there. */
export interface UserProfile {
  readonly email: string | null;
  readonly name: string | null;
  readonly picture: string | null;
  readonly company: string | null;
  /** RFC 3339, UTC. */
  readonly createdAt: string | null;
}

/** Reads what the web UI keeps about a user. */
export async function readUserProfile(pool: Pool, userId: string): Promise<UserProfile> {
  const { rows } = await runQuery<Omit<UserProfile, "createdAt"> & { readonly created_at: Date | null }>(pool, {
    name: "user_profile_read",
    text: "select email, name, picture, company, created_at from webui_users where user_id = $1",
    values: [userId],
  });
  const { email = null, name = null, picture = null, company = null, created_at } = rows[0] ?? {};
  return { email, name, picture, company, createdAt: created_at?.toISOString() ?? null };
}
