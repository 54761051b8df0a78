import { assert } from "../kernel/assert.ts";
import type { TransactionClient } from "../postgres/transaction.ts";
import { parseUnits } from "./money.ts";

/** An account whose row this transaction holds: nobody else changes it until the end. */
export interface HeldAccount {
  readonly accountId: bigint;
  readonly userId: string;
  /** Moves along with what this transaction posts. */
  balanceUnits: bigint;
}

async function makeMissing(client: TransactionClient, userIds: readonly string[]): Promise<void> {
  // Looked for first: an insert that meets a conflict draws an id all the same, and most users have an account.
  await client.query({
    name: "accounts_make",
    text: `
      insert into user_credits (user_id)
      select distinct u from unnest($1::text[]) as u
       where not exists (select from user_credits a where a.user_id = u)
       order by u
          on conflict (user_id) do nothing`,
    values: [userIds],
  });
}

/**
 * Makes the accounts that are missing, then locks all of them in ascending order of their ids, as everybody does who
 * locks several: two that want the same accounts wait for each other and never in a circle. New accounts are made
 * before the first lock is held, because whoever makes the same one at the same time is waited for.
 * @returns the accounts by user
 */
export async function holdAccounts(
  client: TransactionClient,
  userIds: readonly string[],
): Promise<ReadonlyMap<string, HeldAccount>> {
  await makeMissing(client, userIds);
  // `no key update` lets those pass who only refer to the account, such as a pin that changes its usage.
  const { rows } = await client.query<{ id: string; user_id: string; balance: string }>({
    name: "accounts_hold",
    text: `
      select id, user_id, coalesce(balance_fula, 0) as balance
        from user_credits where user_id = any ($1::text[]) order by id for no key update`,
    values: [userIds],
  });
  const held = new Map(
    rows.map((row) => [
      row.user_id,
      { accountId: BigInt(row.id), userId: row.user_id, balanceUnits: parseUnits(row.balance) },
    ]),
  );
  assert(
    userIds.every((userId) => held.has(userId)),
    "every account that was made can be locked",
  );
  return held;
}
