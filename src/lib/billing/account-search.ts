import type { Pool } from "../postgres/pool.ts";
import { runQuery } from "../postgres/run-query.ts";

const CANDIDATES_MAX = 1_000;

/** True where a user has an account, or has signed up. */
export async function isUserKnown(pool: Pool, userId: string): Promise<boolean> {
  const { rows } = await runQuery<{ known: boolean }>(pool, {
    name: "user_known",
    text: `
      select exists (select from user_credits where user_id = $1)
          or exists (select from webui_users where user_id = $1) as known`,
    values: [userId],
  });
  return rows[0]?.known === true;
}

/** Users whose ids begin or end as the text does, which is how an id is mistyped or cut off; in order. */
export async function findUserIdsLike(pool: Pool, text: string): Promise<readonly string[]> {
  const { rows } = await runQuery<{ user_id: string }>(pool, {
    name: "user_ids_like",
    text: `
      select user_id from user_credits
       where starts_with(user_id, left($1, 8)) or right(user_id, 8) = right($1, 8)
       order by user_id limit $2`,
    values: [text, CANDIDATES_MAX],
  });
  return rows.map(({ user_id: userId }) => userId);
}

/** E-mail addresses with the same name or the same domain, of users whose address the web UI keeps in the clear; in order. */
export async function findEmailsLike(pool: Pool, email: string): Promise<readonly string[]> {
  const { rows } = await runQuery<{ email: string }>(pool, {
    name: "emails_like",
    text: `
      select distinct lower(email) as email from webui_users
       where split_part(lower(email), '@', 1) = split_part($1, '@', 1)
          or split_part(lower(email), '@', 2) = split_part($1, '@', 2)
       order by 1 limit $2`,
    values: [email, CANDIDATES_MAX],
  });
  return rows.map((row) => row.email);
}
