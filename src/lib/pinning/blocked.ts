import type { Pool } from "../postgres/pool.ts";
import { runQuery } from "../postgres/run-query.ts";
import { spellingsOf } from "./pin-spellings.ts";

/**
 * True where the operators have blocked a content, however they wrote its CID.
 * @throws FulaError FULA_CID_INVALID
 */
export async function findBlocked(pool: Pool, cid: string): Promise<boolean> {
  const { rowCount } = await runQuery(pool, {
    name: "pin_blocked",
    text: "select from blocked_cids where cid = any($1) and mode = 'block'",
    values: [spellingsOf(cid)],
  });
  return rowCount > 0;
}
