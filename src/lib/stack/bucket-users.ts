import { ownerIdOf } from "../identity/user-id.ts";
import type { Pool } from "../postgres/pool.ts";
import { runQuery } from "../postgres/run-query.ts";

/**
 * The users of this ledger by the owner ids of their buckets, which are hashes and tell nothing by themselves. Old keys of
 * the fleet were made for an e-mail address, later ones for the user id: both are tried.
 */
export async function usersByOwner(pool: Pool): Promise<ReadonlyMap<string, string>> {
  const { rows } = await runQuery<{ user_id: string; subject: string }>(pool, {
    name: "bucket_users",
    text: `
      select user_id, user_id as subject from user_credits
      union select user_id, user_id from webui_users where user_id is not null
      union select user_id, user_id from pins where user_id is not null
      union select user_id, email from webui_users where user_id is not null and email is not null
      union select user_id, lower(email) from webui_users where user_id is not null and email is not null`,
    values: [],
  });
  return new Map(rows.map(({ user_id: userId, subject }) => [ownerIdOf(subject), userId]));
}
