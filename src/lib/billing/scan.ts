import type { Chain } from "../config/chain-settings.ts";
import { isFulaError, messageOf } from "../kernel/errors.ts";
import type { Log } from "../kernel/log.ts";
import type { Fence } from "../postgres/fence.ts";
import type { Pool } from "../postgres/pool.ts";
import { runQuery } from "../postgres/run-query.ts";
import { raiseAlert, resolveAlert } from "./alerts.ts";
import { canAgree, type Endpoints, openEndpoints } from "./chain-agreement.ts";
import { type ChainState, haltChain, noteLook, openChainState } from "./chain-state.ts";
import { type CreditRules, creditSettled } from "./deposit-credit.ts";
import type { RpcDeps } from "./rpc.ts";
import { goBack, judgePast } from "./scan-reorg.ts";
import { lookAtNewest, rereadSettled, settleAll, type Walk } from "./scan-walk.ts";

/** What a look for deposits needs. */
export interface ScanDeps extends RpcDeps, CreditRules {
  readonly pool: Pool;
  /** All chains of the settings (`chainsOf`); those that are off are reported and left. */
  readonly chains: readonly Chain[];
  /** Null where the settings have no lease: masters then race, and each row is written once all the same. */
  readonly fence: Fence | null;
  readonly log: Log;
  /** Transfers of less are recorded and not credited, in units of 10⁻¹⁸ FULA. */
  readonly minUnits: bigint;
}

/** What is asked of a look beside what it does by itself. */
export interface ScanWishes {
  /** This chain alone. */
  readonly chainId?: number | undefined;
  /** Also reads what is settled again, from this block on; the marks stay. */
  readonly rereadFrom?: bigint | undefined;
  /** Up to this one; undefined = all that is settled. */
  readonly rereadTo?: bigint | undefined;
}

/** What one look at one chain did. */
export interface ChainReport {
  readonly name: string;
  readonly chainId: number;
  /**
   * `off`: not looked at, `problem` says why. `halted`: stands still until an operator resumes it. `failed`: nothing or only
   * a part was done. `degraded`: something could not be settled. `elsewhere`: another master is at it.
   */
  readonly state: "ok" | "off" | "halted" | "failed" | "degraded" | "elsewhere";
  /** The endpoints' head; null where none answered. */
  readonly head: bigint | null;
  readonly scannedBlock: bigint | null;
  readonly settledBlock: bigint | null;
  /** Transfers that nobody had written down. */
  readonly found: number;
  readonly credited: number;
  /** In units of 10⁻¹⁸ FULA. */
  readonly creditedUnits: bigint;
  /** Records whose transfer is gone from the chain. */
  readonly gone: number;
  /** Blocks of a reorganisation that was met; 0 = none. */
  readonly reorgDepth: bigint;
  readonly problem: string | null;
}

/** What one look did, a chain each, in the order of the settings. */
export interface ScanReport {
  readonly chains: readonly ChainReport[];
}

/** Reorganisations that follow each other within one look; a chain that goes on like this is left for the next one. */
const REORGS_MAX = 3;

function blank({ name, chainId }: Chain): ChainReport {
  return {
    name,
    chainId,
    state: "ok",
    head: null,
    scannedBlock: null,
    settledBlock: null,
    found: 0,
    credited: 0,
    creditedUnits: 0n,
    gone: 0,
    reorgDepth: 0n,
    problem: null,
  };
}

/** Lost deposits that had their time to come back: the chain is settled beyond where they were missed. */
async function countVanished(
  pool: Pool,
  chainId: number,
): Promise<{ readonly count: number; readonly examples: string }> {
  const { rows } = await runQuery<{ count: string; examples: string | null }>(pool, {
    name: "deposits_vanished",
    text: `
      select count(*), string_agg(reference, ', ' order by t.id) filter (where place <= 5) as examples
        from (select t.id, t.reference, row_number() over (order by t.id) as place
                from token_transactions t join chain_sync_state s on s.chain_id = t.chain_id
               where t.chain_id = $1 and t.state = 'credited' and t.lost_at_block <= s.settled_block) as t`,
    values: [chainId],
  });
  return { count: Number(rows[0]?.count ?? 0), examples: rows[0]?.examples ?? "" };
}

/** One look at one chain. Every step is written down when it is done, so that the next look goes on from there. */
class ChainLook {
  readonly #chain: Chain;
  readonly #deps: ScanDeps;
  readonly #wishes: ScanWishes;
  #report: ChainReport;

  constructor(chain: Chain, deps: ScanDeps, wishes: ScanWishes) {
    this.#chain = chain;
    this.#deps = deps;
    this.#wishes = wishes;
    this.#report = blank(chain);
  }

  /** @throws FulaError FULA_LEASE_LOST, FULA_DATABASE_…; the signal's reason. What endpoints do is reported. */
  async run(): Promise<ChainReport> {
    const { pool, fence, log } = this.#deps;
    const { name, chainId, offBecause } = this.#chain;
    if (offBecause !== null) return { ...this.#report, state: "off", problem: offBecause };
    const state = await openChainState(pool, this.#chain, fence);
    if (state.haltedBecause !== null) return { ...this.#report, state: "halted", problem: state.haltedBecause };
    try {
      await this.#look(state);
    } catch (error) {
      if (!isFulaError(error, "FULA_RPC_UNREACHABLE") && !isFulaError(error, "FULA_RPC_DISAGREE")) throw error;
      this.#note({ state: "failed", problem: messageOf(error) });
      if (error.details?.["differ"] === true)
        await raiseAlert(pool, "endpoints-disagree", String(chainId), { chain: name, problem: messageOf(error) });
    }
    // What it stands still for may be under what waits to be credited.
    if (this.#report.state !== "halted") await this.#credit();
    await this.#stopIfVanished();
    const { problem, state: outcome } = this.#report;
    if (outcome === "ok") await resolveAlert(pool, "endpoints-disagree", String(chainId), "scan");
    await noteLook(pool, chainId, fence, problem);
    if (problem !== null) log.warn("deposits.chain_problem", { chain: name, state: outcome, problem });
    return this.#report;
  }

  #note(change: Partial<ChainReport>): void {
    this.#report = { ...this.#report, ...change };
  }

  #count(change: { readonly found: number; readonly gone: number }): void {
    this.#note({ found: this.#report.found + change.found, gone: this.#report.gone + change.gone });
  }

  async #look(opened: ChainState): Promise<void> {
    let state = opened;
    const endpoints = await openEndpoints(this.#chain, this.#deps);
    this.#note({ head: endpoints.head });
    for (let reorgs = 0; ; reorgs += 1) {
      this.#note({ scannedBlock: state.scanned?.number ?? null, settledBlock: state.settled?.number ?? null });
      if (canAgree(endpoints)) {
        const verdict = await judgePast(this.#deps.pool, endpoints, state);
        if (verdict.kind === "too-deep") return await this.#stopForDepth(verdict.depth);
        if (verdict.kind === "reorganised") {
          const gone = await goBack(this.#deps.pool, this.#chain, this.#deps.fence, state, verdict.ancestor);
          if (gone === null) return this.#note({ state: "elsewhere" });
          this.#deps.log.warn("deposits.reorganised", {
            chain: this.#chain.name,
            depth: String(verdict.depth),
            records: gone,
          });
          this.#note({ gone: this.#report.gone + gone, reorgDepth: verdict.depth });
          state = await openChainState(this.#deps.pool, this.#chain, this.#deps.fence);
        }
      }
      const outcome = await this.#walk(endpoints, state);
      if (outcome !== "fork" || reorgs === REORGS_MAX) return;
      state = await openChainState(this.#deps.pool, this.#chain, this.#deps.fence);
    }
  }

  async #walk(endpoints: Endpoints, state: ChainState): Promise<"done" | "fork"> {
    const walk: Walk = {
      ...this.#deps,
      chain: this.#chain,
      endpoints,
      seenBefore: state.scanned,
      count: (change) => this.#count(change),
    };
    const step = async (
      of: Promise<{ readonly kind: string; readonly state: ChainState }>,
    ): Promise<ChainState | null> => {
      const { kind, state: reached } = await of;
      this.#note({ scannedBlock: reached.scanned?.number ?? null, settledBlock: reached.settled?.number ?? null });
      if (kind === "done") return reached;
      if (kind === "elsewhere") this.#note({ state: "elsewhere" });
      else this.#note({ state: "failed", problem: `${this.#chain.name} was reorganised while it was looked at` });
      return null;
    };
    let reached: ChainState | null = state;
    if (canAgree(endpoints)) {
      this.#note({ state: "ok", problem: endpoints.problems.length > 0 ? endpoints.problems.join("; ") : null });
      reached = await step(settleAll(walk, state, async () => await this.#credit()));
    } else {
      const problem = `${endpoints.usable.length} of ${endpoints.needed} endpoints that must agree answer, so nothing is settled: ${endpoints.problems.join("; ")}`;
      this.#note({ state: "degraded", problem });
    }
    if (reached !== null) reached = await step(lookAtNewest(walk, reached));
    const { rereadFrom, rereadTo = null } = this.#wishes;
    if (reached !== null && rereadFrom !== undefined && canAgree(endpoints)) {
      const outcome = await rereadSettled(walk, reached, { from: rereadFrom, to: rereadTo });
      if (outcome === "elsewhere") this.#note({ state: "elsewhere" });
    }
    return reached === null && this.#report.state === "failed" ? "fork" : "done";
  }

  async #credit(): Promise<void> {
    const { count, units, refused } = await creditSettled({ ...this.#deps, chainId: this.#chain.chainId });
    this.#note({
      credited: this.#report.credited + count,
      creditedUnits: this.#report.creditedUnits + units,
      ...(refused === 0
        ? {}
        : {
            state: "degraded",
            problem: `the ledger refused ${refused} deposit(s); billing deposits --state refused lists them`,
          }),
    });
  }

  async #stopForDepth(depth: bigint): Promise<void> {
    const { pool, fence } = this.#deps;
    const { chainId, name, finalityDepth } = this.#chain;
    const because = `a reorganisation of at least ${finalityDepth} blocks: no block that is remembered is still there`;
    await haltChain(pool, chainId, fence, because);
    await raiseAlert(pool, "reorg-too-deep", String(chainId), { chain: name, depth: String(depth), finalityDepth });
    this.#note({ state: "halted", problem: because, reorgDepth: depth });
  }

  async #stopIfVanished(): Promise<void> {
    const { pool, fence } = this.#deps;
    const { chainId, name } = this.#chain;
    const { count, examples } = await countVanished(pool, chainId);
    if (count === 0) return;
    const because = `${count} credited deposit(s) are gone from the chain: ${examples}`;
    await haltChain(pool, chainId, fence, because);
    await raiseAlert(pool, "chain-stands-still", String(chainId), { chain: name, because });
    this.#note({ state: "halted", problem: because });
  }
}

/**
 * One look for deposits at every chain, side by side; what one chain's endpoints do never stops another. Reads what is new,
 * records it with the mark up to which it was read, settles what is deep enough, and credits what is settled and whose
 * sender is known.
 * @throws FulaError FULA_LEASE_LOST, FULA_DATABASE_…; the signal's reason
 */
export async function runScan(deps: ScanDeps, wishes: ScanWishes = {}): Promise<ScanReport> {
  const { chainId } = wishes;
  const chains = chainId === undefined ? deps.chains : deps.chains.filter((chain) => chain.chainId === chainId);
  const looks = await Promise.allSettled(chains.map(async (chain) => await new ChainLook(chain, deps, wishes).run()));
  const failed = looks.find((look) => look.status === "rejected");
  if (failed !== undefined) throw failed.reason;
  return { chains: looks.filter((look) => look.status === "fulfilled").map(({ value }) => value) };
}
