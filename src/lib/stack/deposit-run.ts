import { chainsInUse } from "../billing/claim.ts";
import { creditUsersTx } from "../billing/credits.ts";
import { type ChainResume, planResume, resumeChain } from "../billing/chain-resume.ts";
import { type DepositLine, listDeposits } from "../billing/deposit-list.ts";
import type { DepositState } from "../billing/deposit-match.ts";
import { formatUnits, parseUnits } from "../billing/money.ts";
import { type ChainReport, runScan } from "../billing/scan.ts";
import { type Chain, chainsOf } from "../config/chain-settings.ts";
import type { LoadedConfig } from "../config/load.ts";
import { FulaError } from "../kernel/errors.ts";
import { silentLog } from "../kernel/log.ts";
import { nearest } from "../kernel/nearest.ts";
import { askNetwork } from "../runtime/network.ts";
import { type BillingContext, withBillingLedger } from "./billing-ledger.ts";
import { type BillingReport, readBillingReport } from "./billing-report.ts";
import { operatorOf, type OperatorWords } from "./credit-run.ts";
import { requireKnownUser } from "./credit-user.ts";

/** The chain that an operator names. @throws FulaError FULA_CHAIN_UNKNOWN */
function chainNamed(chains: readonly Chain[], text: string): Chain {
  const chain = chains.find(({ name, chainId }) => name === text || String(chainId) === text);
  if (chain !== undefined) return chain;
  const names = chains.map(({ name }) => name);
  const meant = nearest(text, names);
  throw new FulaError("FULA_CHAIN_UNKNOWN", `There is no chain ${JSON.stringify(text.slice(0, 60))} in the settings.`, {
    hint: meant === null ? `known are ${names.join(", ")}.` : `did you mean ${meant}?`,
  });
}

/** What `billing scan` is given. */
export interface ScanOptions {
  readonly chain: string | null;
  /** Reads what is settled again from this block on. */
  readonly from: bigint | null;
  readonly dryRun: boolean;
}

/** One chain of `billing scan --json`; block numbers and amounts as text. */
export interface ScanLine {
  readonly name: string;
  readonly chainId: number;
  readonly state: ChainReport["state"] | "would-look";
  readonly head: string | null;
  readonly scannedBlock: string | null;
  readonly settledBlock: string | null;
  readonly found: number;
  readonly credited: number;
  readonly creditedFula: string;
  readonly gone: number;
  readonly reorgDepth: string;
  readonly problem: string | null;
}

function lineOf({ creditedUnits, ...report }: ChainReport): ScanLine {
  return {
    ...report,
    head: report.head?.toString() ?? null,
    scannedBlock: report.scannedBlock?.toString() ?? null,
    settledBlock: report.settledBlock?.toString() ?? null,
    creditedFula: formatUnits(creditedUnits),
    reorgDepth: report.reorgDepth.toString(),
  };
}

function plannedLine(chain: BillingReport["chains"][number]): ScanLine {
  const stands = chain.offBecause ?? chain.haltedBecause;
  return {
    name: chain.name,
    chainId: chain.chainId,
    state: chain.offBecause !== null ? "off" : chain.haltedBecause !== null ? "halted" : "would-look",
    head: null,
    scannedBlock: chain.scannedBlock,
    settledBlock: chain.settledBlock,
    found: 0,
    credited: 0,
    creditedFula: "0",
    gone: 0,
    reorgDepth: "0",
    problem: stands,
  };
}

/**
 * One look for deposits, now. It needs no lease: beside the master that has it each deposit is still credited once.
 * @throws FulaError FULA_CHAIN_UNKNOWN, FULA_CHAIN_OFF, and what `runScan` and `withBillingLedger` throw
 */
export async function runDepositScan(
  context: BillingContext,
  { chain: wanted, from, dryRun }: ScanOptions,
): Promise<{ readonly dryRun: boolean; readonly chains: readonly ScanLine[] }> {
  return await withBillingLedger(context, async (pool, { config }) => {
    const chains = chainsOf(config);
    const chainId = wanted === null ? undefined : chainNamed(chains, wanted).chainId;
    if (dryRun) {
      const { chains: standings } = await readBillingReport(pool, config);
      const lines = standings.filter((each) => chainId === undefined || each.chainId === chainId).map(plannedLine);
      return { dryRun, chains: lines };
    }
    chainsInUse(chains, chainId ?? null);
    const { clock, signal } = context;
    const report = await runScan(
      {
        pool,
        chains,
        fence: null,
        credit: creditUsersTx,
        referralBonuses: config.billing.referralBonuses,
        minUnits: parseUnits(config.billing.minDepositFula),
        fetch: askNetwork,
        clock,
        log: silentLog,
        signal,
      },
      { chainId, rereadFrom: from ?? undefined },
    );
    return { dryRun, chains: report.chains.map(lineOf) };
  });
}

/** How far each chain was looked through. @throws FulaError what `withBillingLedger` throws */
export async function runChains(context: BillingContext): Promise<BillingReport["chains"]> {
  return await withBillingLedger(context, async (pool, { config }) => (await readBillingReport(pool, config)).chains);
}

/**
 * Lets a chain that stands still be looked at again.
 * @throws FulaError FULA_CHAIN_UNKNOWN, FULA_CHAIN_HALTED, FULA_USAGE where there is no reason
 */
export async function runChainResume(
  context: BillingContext,
  name: string,
  words: OperatorWords,
  dryRun: boolean,
): Promise<ChainResume & { readonly dryRun: boolean }> {
  return await withBillingLedger(context, async (pool, loaded: LoadedConfig) => {
    const chain = chainNamed(chainsOf(loaded.config), name);
    const { reason, operator } = operatorOf("billing chains resume", words, context, loaded);
    const plan = await planResume(pool, chain);
    if (!dryRun) await resumeChain(pool, plan, operator, reason);
    return { ...plan, dryRun };
  });
}

/** What `billing deposits` is given. */
export interface DepositsOptions {
  readonly state: DepositState | null;
  readonly user: string | null;
  readonly chain: string | null;
  readonly limit: number;
}

/** Recorded deposits, the newest first. @throws FulaError FULA_CHAIN_UNKNOWN, and what `requireKnownUser` throws */
export async function runDeposits(
  context: BillingContext,
  { state, user, chain, limit }: DepositsOptions,
): Promise<{ readonly deposits: readonly DepositLine[]; readonly total: number }> {
  return await withBillingLedger(context, async (pool, { config }) => {
    const chainId = chain === null ? null : chainNamed(chainsOf(config), chain).chainId;
    const userId = user === null ? null : await requireKnownUser(pool, user);
    return await listDeposits(pool, { state, userId, chainId, limit });
  });
}
