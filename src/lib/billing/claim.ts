import type { Chain } from "../config/chain-settings.ts";
import { assert } from "../kernel/assert.ts";
import { FulaError, isFulaError } from "../kernel/errors.ts";
import type { Pool } from "../postgres/pool.ts";
import { runQuery } from "../postgres/run-query.ts";
import { withTransaction } from "../postgres/transaction.ts";
import { agree, canAgree, type Endpoints, openEndpoints } from "./chain-agreement.ts";
import { holdChain, openChainState } from "./chain-state.ts";
import { digestOf } from "./chain-transfers.ts";
import { creditClaimed, type CreditRules, PAYEE } from "./deposit-credit.ts";
import { recordTransfers } from "./deposit-record.ts";
import { formatUnits, parseUnits } from "./money.ts";
import type { Receipt, RpcDeps } from "./rpc.ts";

/** What a claim needs. */
export interface ClaimDeps extends RpcDeps, CreditRules {
  readonly pool: Pool;
  /** All chains of the settings. */
  readonly chains: readonly Chain[];
  /** Transfers of less are recorded and not credited, in units of 10⁻¹⁸ FULA. */
  readonly minUnits: bigint;
}

/** Who claims which transaction. */
export interface Claim {
  readonly userId: string;
  /** As it was typed, in any case. */
  readonly txHash: string;
  /** Null looks on every chain. */
  readonly chainId: number | null;
}

/** One transfer of a claimed transaction. */
export interface ClaimedDeposit {
  readonly logIndex: number;
  /** In units of 10⁻¹⁸ FULA. */
  readonly amountUnits: bigint;
  /** `credited`, `waiting` for confirmations, `unclaimed` where the sender's wallet is nobody's, `dust`, `refused`. */
  readonly state: string;
  readonly entryId: bigint | null;
}

/** What came of a claim. */
export interface ClaimOutcome {
  readonly chainId: number;
  /** In lower case. */
  readonly txHash: string;
  /** What this very claim credited. */
  readonly creditedUnits: bigint;
  /** Blocks on top of the transaction's, and how many there must be. */
  readonly confirmations: { readonly have: bigint; readonly needed: number };
  readonly deposits: readonly ClaimedDeposit[];
}

interface Found {
  readonly chain: Chain;
  readonly endpoints: Endpoints;
  readonly receipt: Receipt;
}

function hashOf(text: string): string {
  if (/^0x[0-9a-fA-F]{64}$/.test(text)) return text.toLowerCase();
  throw new FulaError("FULA_DEPOSIT_HASH", `${JSON.stringify(text.slice(0, 80))} is no transaction hash.`, {
    hint: "copy it from the wallet or the chain's explorer: 0x and 64 hex digits.",
  });
}

/** The chains that are looked at. @throws FulaError FULA_CHAIN_UNKNOWN, FULA_CHAIN_OFF */
export function chainsInUse(chains: readonly Chain[], chainId: number | null): readonly Chain[] {
  const wanted = chainId === null ? chains : chains.filter((chain) => chain.chainId === chainId);
  if (chainId !== null && wanted.length === 0) {
    throw new FulaError("FULA_CHAIN_UNKNOWN", `There is no chain ${chainId} in the settings.`, {
      hint: `known are ${chains.map((chain) => `${chain.name} (${chain.chainId})`).join(", ")}.`,
    });
  }
  const inUse = wanted.filter((chain) => chain.offBecause === null);
  if (inUse.length > 0) return inUse;
  const reasons = wanted.map(({ name, offBecause }) => `${name}: ${offBecause ?? ""}`).join("; ");
  throw new FulaError("FULA_CHAIN_OFF", `No deposits are taken there (${reasons}).`, {
    hint: "an operator sets chains.<name>.rpcUrls and billing.vaultAddress.",
  });
}

/** Looks for the transaction on the chains in turn; an error of one is thrown where it is on no other. */
async function find(deps: ClaimDeps, chains: readonly Chain[], txHash: string): Promise<Found> {
  let trouble: unknown = null;
  for (const chain of chains) {
    assert(chain.vault !== null, "a chain without a vault is off");
    const filter = { token: chain.token, vault: chain.vault };
    try {
      const endpoints = await openEndpoints(chain, deps);
      if (!canAgree(endpoints)) {
        const message = `Too few endpoints of ${chain.name} answer to be sure: ${endpoints.problems.join("; ")}.`;
        throw new FulaError("FULA_RPC_DISAGREE", message, { hint: "claim again in a few minutes." });
      }
      const receipt = await agree(
        endpoints,
        `transaction ${txHash}`,
        async (endpoint) => {
          const found = await endpoint.receipt(txHash, filter);
          if (found === null) return null;
          // A receipt of a block that is no part of the chain any more is none.
          const block = await endpoint.block(found.blockNumber);
          return block?.hash === found.blockHash ? found : null;
        },
        (found) => (found === null ? "none" : `${found.blockHash} ${digestOf(found.transfers)}`),
      );
      if (receipt !== null && receipt.transfers.length > 0) return { chain, endpoints, receipt };
    } catch (error) {
      if (!isFulaError(error, "FULA_RPC_UNREACHABLE") && !isFulaError(error, "FULA_RPC_DISAGREE")) throw error;
      trouble = error;
    }
  }
  if (trouble !== null) throw trouble;
  const where = chains.map(({ name }) => name).join(", ");
  throw new FulaError("FULA_DEPOSIT_NOT_FOUND", `${txHash} moves no FULA to the vault on ${where}.`, {
    hint: "a transaction that was just sent takes a moment until it is mined; look it up in the chain's explorer.",
    details: { txHash },
  });
}

interface DepositRow {
  readonly log_index: number;
  readonly amount_fula: string;
  readonly state: string;
  readonly entry_id: string | null;
  readonly user_id: string | null;
  readonly owner: string | null;
}

async function readClaimed(pool: Pool, chainId: number, txHash: string): Promise<readonly DepositRow[]> {
  const { rows } = await runQuery<DepositRow>(pool, {
    name: "claim_read",
    text: `
      select t.log_index, t.amount_fula, t.state, t.entry_id, t.user_id, p.user_id as owner
        from token_transactions t ${PAYEE}
       where t.chain_id = $1 and t.tx_hash = $2
       order by t.log_index`,
    values: [chainId, txHash],
  });
  return rows;
}

function notTaken(txHash: string): FulaError {
  return new FulaError(
    "FULA_DEPOSIT_REFUSED",
    `${txHash} is not credited: the ledger cannot take it, or it was taken back.`,
    {
      hint: "ask an operator, who sees why: fula-master billing deposits.",
    },
  );
}

/** Why nothing of the transaction is the user's to have. */
function refusal(rows: readonly DepositRow[], { userId }: Claim, txHash: string, minUnits: bigint): FulaError | null {
  const mine = rows.filter((row) => row.owner === userId || (row.state === "credited" && row.user_id === userId));
  if (mine.some(({ state }) => state === "waiting")) return null;
  if (mine.length === 0) {
    const isForeign = rows.some((row) => row.owner !== null || row.state === "credited");
    return isForeign
      ? new FulaError("FULA_DEPOSIT_FOREIGN", `${txHash} came from a wallet of another account.`, {
          hint: "whoever has linked that wallet has the deposit.",
        })
      : new FulaError("FULA_DEPOSIT_UNLINKED", `${txHash} came from a wallet that nobody has linked.`, {
          hint: "link the wallet that sent it; the deposit is credited by itself then.",
        });
  }
  if (mine.every(({ state }) => state === "credited"))
    return new FulaError("FULA_DEPOSIT_CLAIMED", `${txHash} is credited already.`, {
      hint: "look at the history of credits.",
    });
  if (mine.every(({ state }) => state === "dust" || state === "credited")) {
    return new FulaError("FULA_DEPOSIT_DUST", `${txHash} moves less than ${formatUnits(minUnits)} FULA.`, {
      hint: "so little is recorded and not credited.",
    });
  }
  return mine.some(({ state }) => state === "unclaimed") ? null : notTaken(txHash);
}

/**
 * Credits what a transaction moved to the vault from the user's wallets, through the same records and references as the
 * scanner: whoever comes first credits it, and the other finds it done. Not deep enough, it is recorded and credited by
 * itself later.
 * @throws FulaError FULA_DEPOSIT_HASH, FULA_CHAIN_UNKNOWN, FULA_CHAIN_OFF, FULA_CHAIN_HALTED, FULA_RPC_UNREACHABLE,
 *   FULA_RPC_DISAGREE, FULA_DEPOSIT_NOT_FOUND, FULA_DEPOSIT_UNLINKED, FULA_DEPOSIT_FOREIGN, FULA_DEPOSIT_CLAIMED,
 *   FULA_DEPOSIT_DUST, FULA_DEPOSIT_REFUSED
 */
export async function claimDeposit(deps: ClaimDeps, claim: Claim): Promise<ClaimOutcome> {
  const { pool, minUnits } = deps;
  const txHash = hashOf(claim.txHash);
  const { chain, endpoints, receipt } = await find(deps, chainsInUse(deps.chains, claim.chainId), txHash);
  const { haltedBecause, settled } = await openChainState(pool, chain, null);
  if (haltedBecause !== null) {
    throw new FulaError("FULA_CHAIN_HALTED", `No deposits of ${chain.name} are credited for now: ${haltedBecause}.`, {
      hint: "an operator looks at it; nothing that was sent is lost.",
    });
  }
  const { head } = endpoints;
  const have = head - receipt.blockNumber;
  const isSettled = have >= BigInt(chain.confirmations) || (settled !== null && settled.number >= receipt.blockNumber);
  const depth = isSettled ? ("settled" as const) : ("fresh" as const);
  const finding = { transfers: receipt.transfers, depth, blocks: null, head, source: "manual" as const, minUnits };
  const credited = await withTransaction(pool, async (client) => {
    await holdChain(client, chain.chainId, null);
    await recordTransfers(client, chain, finding);
    return await creditClaimed(client, { userId: claim.userId, chainId: chain.chainId, txHash }, deps);
  }).catch((error: unknown) => {
    // What stands in the way may be another user's, and is none of this one's business; the scanner marks the deposit.
    throw isFulaError(error, "FULA_CREDIT_REFERENCE_TAKEN") ? notTaken(txHash) : error;
  });
  const rows = await readClaimed(pool, chain.chainId, txHash);
  const refused = credited.count === 0 ? refusal(rows, claim, txHash, minUnits) : null;
  if (refused !== null) throw refused;
  return {
    chainId: chain.chainId,
    txHash,
    creditedUnits: credited.units,
    confirmations: { have, needed: chain.confirmations },
    deposits: rows.map((row) => ({
      logIndex: row.log_index,
      amountUnits: parseUnits(row.amount_fula),
      state: row.state,
      entryId: row.entry_id === null ? null : BigInt(row.entry_id),
    })),
  };
}
