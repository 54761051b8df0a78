import { FulaError } from "../kernel/errors.ts";
import type { Chain } from "../config/chain-settings.ts";
import type { Pool } from "../postgres/pool.ts";
import { runQuery } from "../postgres/run-query.ts";
import { withTransaction } from "../postgres/transaction.ts";

/** What resuming a chain does. */
export interface ChainResume {
  readonly chain: string;
  readonly chainId: number;
  readonly haltedBecause: string;
  /** References of credited deposits that are gone from the chain; they count as looked into from now on. */
  readonly lost: readonly string[];
}

/** What resuming would do. @throws FulaError FULA_CHAIN_HALTED where the chain does not stand still */
export async function planResume(pool: Pool, { name, chainId }: Chain): Promise<ChainResume> {
  const { rows } = await runQuery<{ halted_because: string; lost: readonly string[] }>(pool, {
    name: "chain_resume_plan",
    text: `
      select halted_because,
             array(select reference from token_transactions t
                    where t.chain_id = s.chain_id and t.state = 'credited' and t.lost_at_block is not null order by t.id) as lost
        from chain_sync_state s where chain_id = $1 and halted_because is not null`,
    values: [chainId],
  });
  const [row] = rows;
  if (row !== undefined) return { chain: name, chainId, haltedBecause: row.halted_because, lost: row.lost };
  throw new FulaError("FULA_CHAIN_HALTED", `${name} does not stand still, so there is nothing to resume.`, {
    hint: "fula-master billing chains shows how far each chain is.",
  });
}

/**
 * Lets a chain be looked at again, from its start block on: what was settled is compared with the chain as it is now. Money
 * stays where it is; deposits that are gone are taken back with `billing reverse`, before or after.
 */
export async function resumeChain(pool: Pool, plan: ChainResume, operator: string, reason: string): Promise<void> {
  await withTransaction(pool, async (client) => {
    await client.query({
      name: "chain_resume",
      text: `
        update chain_sync_state
           set halted_because = null, halted_at = null, scanned_block = null, scanned_hash = null, settled_block = null,
               settled_hash = null
         where chain_id = $1`,
      values: [plan.chainId],
    });
    await client.query({
      name: "chain_resume_blocks",
      text: "delete from chain_blocks where chain_id = $1",
      values: [plan.chainId],
    });
    await client.query({
      name: "chain_resume_lost",
      text: `
        update token_transactions
           set state = 'orphaned', lost_at_block = null, note = 'credited, and gone from the chain since'
         where chain_id = $1 and state = 'credited' and lost_at_block is not null`,
      values: [plan.chainId],
    });
    await client.query({
      name: "chain_resume_alerts",
      text: `
        update billing_alerts set resolved_at = now(), resolved_by = $2
         where kind in ('reorg-too-deep', 'chain-stands-still') and subject = $1 and resolved_at is null`,
      values: [String(plan.chainId), operator],
    });
    await client.query({
      name: "chain_resume_audit",
      text: "insert into admin_audit_log (actor, action, details) values ($1, 'resume_chain', $2)",
      values: [operator, JSON.stringify({ ...plan, reason })],
    });
  });
}
