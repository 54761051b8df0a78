import type { TransactionClient } from "../postgres/transaction.ts";
import { divideHalfEven } from "./money.ts";

/**
 * What of a deposit whoever brought the user gets, and those who brought him in turn, in percent by level from 1 on.
 * On deposits alone: an adjustment corrects a balance, and a bonus of a bonus would never end.
 */
const BONUS_PERCENT_BY_LEVEL = [10n, 1n, 1n] as const;

/** One who is paid for a user's deposit. */
export interface Referrer {
  /** 1 brought the user, 2 brought 1, 3 brought 2. */
  readonly level: number;
  readonly userId: string;
  /** His code with which the one below him signed up. */
  readonly code: string;
  /** The code with which the depositing user signed up: that of level 1. */
  readonly sourceCode: string;
}

interface ReferrerRow {
  readonly user_id: string;
  readonly level: number;
  readonly referrer_id: string;
  readonly code: string;
  readonly source_code: string;
}

/** A bonus of `amountUnits` at a level, in units of 10⁻¹⁸, rounded half to even; 0 of less than half a unit. */
export function bonusUnits(amountUnits: bigint, level: number): bigint {
  const percent = BONUS_PERCENT_BY_LEVEL[level - 1] ?? 0n;
  return divideHalfEven(amountUnits * percent, 100n);
}

/**
 * Who brought each of the users, up to three levels, by user. Nobody is in a chain twice and nobody is above himself:
 * where the table goes in a circle (A brought B, B brought A), the chain ends before it closes.
 */
export async function readReferrers(
  client: TransactionClient,
  userIds: readonly string[],
): Promise<ReadonlyMap<string, readonly Referrer[]>> {
  const { rows } = await client.query<ReferrerRow>({
    name: "referrers_read",
    text: `
      with recursive chain as (
        select u as user_id, 0 as level, u as referrer_id, null::text as code, null::text as source_code, array[u] as seen
          from unnest($1::text[]) as u
        union all
        select c.user_id, c.level + 1, r.referrer_id::text, r.referral_code, coalesce(c.source_code, r.referral_code),
               c.seen || r.referrer_id::text
          from chain c join referrals r on r.referred_id = c.referrer_id
         where c.level < $2 and r.referrer_id <> all (c.seen)
      )
      select user_id, level, referrer_id, code, source_code from chain where level > 0 order by user_id, level`,
    values: [userIds, BONUS_PERCENT_BY_LEVEL.length],
  });
  const chains = Map.groupBy(rows, ({ user_id: userId }) => userId);
  return new Map(
    Array.from(chains, ([userId, links]) => [
      userId,
      links.map((link) => ({
        level: link.level,
        userId: link.referrer_id,
        code: link.code,
        sourceCode: link.source_code,
      })),
    ]),
  );
}
