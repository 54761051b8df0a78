import type { Chain } from "../config/chain-settings.ts";
import type { TransactionClient } from "../postgres/transaction.ts";
import type { Transfer } from "./chain-transfers.ts";
import { type DepositRow, type DepositState, matchTransfers } from "./deposit-match.ts";
import {
  insertDeposits,
  type LoneEntry,
  markGone,
  type NewDeposit,
  readDeposits,
  readLoneEntries,
  setAside,
  updateDeposits,
} from "./deposit-rows.ts";

/** What transfers were found, and how deep the place is that they were found in. */
export interface Finding {
  readonly transfers: readonly Transfer[];
  /** `settled`: under enough confirmations, and as many endpoints agreed as are needed. `fresh`: anything may still change. */
  readonly depth: "settled" | "fresh";
  /** The blocks that were looked through: records in them that were not found again are gone. Null = some transactions only. */
  readonly blocks: { readonly from: bigint; readonly to: bigint } | null;
  /** The chain's head at the time. */
  readonly head: bigint;
  readonly source: "cron" | "manual";
  /** Transfers of less are dust, in units of 10⁻¹⁸ FULA. */
  readonly minUnits: bigint;
}

/** What writing a finding down changed. */
export interface Recorded {
  /** Transfers that nobody had written down. */
  readonly found: number;
  /** Records whose transfer is gone from the chain. */
  readonly gone: number;
}

/** Beyond this, numeric(38,18) holds no amount. */
const UNITS_LIMIT = 10n ** 38n;

/** An amount of the token in units of 10⁻¹⁸ FULA, exactly. */
function unitsOf(raw: bigint, { decimals }: Chain): bigint {
  return raw * 10n ** BigInt(18 - decimals);
}

function firstState({ depth, minUnits }: Finding, units: bigint): DepositState {
  if (units >= UNITS_LIMIT) return "refused";
  if (depth === "fresh") return "waiting";
  return units < minUnits || units === 0n ? "dust" : "unclaimed";
}

/** What is not decided anew when the transfer is seen again. */
function isFinal({ state }: DepositRow): boolean {
  return state === "credited" || state === "refused" || state === "reversed";
}

function nextState(row: DepositRow, transfer: Transfer, first: DepositState): DepositState {
  if (isFinal(row)) return row.state;
  // It was credited, counted as gone, and is there again.
  if (row.isClaimed) return "credited";
  // What was settled in this very block stays so, though an endpoint that is behind calls the block young.
  const isSettled = row.state === "unclaimed" || row.state === "dust";
  return first === "waiting" && isSettled && row.blockHash === transfer.blockHash ? row.state : first;
}

function newDeposit(chain: Chain, finding: Finding, transfer: Transfer, taken: ReadonlySet<string>): NewDeposit {
  const units = unitsOf(transfer.raw, chain);
  const state = firstState(finding, units);
  const reference = `${chain.chainId}:${transfer.txHash}:${transfer.logIndex}`;
  return {
    transfer,
    state,
    // Taken where the transaction was mined again, and another transfer of it has moved away from this place.
    reference: taken.has(reference) ? `${reference}:${transfer.blockNumber}` : reference,
    amountUnits: state === "refused" ? 0n : units,
    note: state === "refused" ? "more than the ledger can hold" : null,
    entry: null,
  };
}

function distance(a: bigint, b: bigint): bigint {
  return a < b ? b - a : a - b;
}

/**
 * Gives entries of the ledger whose records are gone to the transfers that they have credited: of their transaction, with
 * the amount that comes nearest, since the fleet's amounts were rounded. So nobody is credited for one twice.
 */
function withEntries(
  deposits: readonly NewDeposit[],
  entries: readonly LoneEntry[],
  chain: Chain,
): readonly NewDeposit[] {
  const given = new Map<NewDeposit, LoneEntry>();
  for (const entry of entries) {
    const off = ({ amountUnits }: NewDeposit): bigint => distance(amountUnits, entry.amountUnits);
    const [nearest] = deposits
      .filter(({ transfer }) => `${chain.chainId}:${transfer.txHash}` === entry.reference)
      .toSorted((a, b) => (off(a) < off(b) ? -1 : off(a) > off(b) ? 1 : 0));
    if (nearest !== undefined) given.set(nearest, entry);
  }
  return deposits.map((deposit) => {
    const entry = given.get(deposit);
    if (entry === undefined) return deposit;
    const { amountUnits, reference } = entry;
    return { ...deposit, state: "credited", note: null, amountUnits, reference, entry };
  });
}

function placeOf({ txHash, logIndex }: Pick<Transfer, "txHash" | "logIndex">): string {
  return `${txHash} ${logIndex}`;
}

/**
 * Writes transfers down, and what became of those that were written down before: where a transaction is now, and whether it
 * is there at all. The caller holds the chain's row, so that nobody else does the same meanwhile.
 */
export async function recordTransfers(client: TransactionClient, chain: Chain, finding: Finding): Promise<Recorded> {
  const { transfers, depth, blocks, head } = finding;
  const txHashes = [...new Set(transfers.map(({ txHash }) => txHash))];
  const rows = await readDeposits(client, chain, txHashes, blocks);
  const { known, fresh, missing } = matchTransfers(rows, transfers);
  const taken = new Set(rows.map(({ reference }) => reference));
  const gone = missing.filter((row) => {
    const isInside = blocks !== null && row.blockNumber >= blocks.from && row.blockNumber <= blocks.to;
    if (row.blockHash === null || !isInside || row.lostAtBlock !== null) return false;
    if (row.state === "waiting") return true;
    // What was settled is not given up because of one endpoint's view of the newest blocks.
    return depth === "settled" && (row.state === "credited" || row.state === "unclaimed" || row.state === "dust");
  });
  await markGone(
    client,
    gone.map(({ id }) => id),
    head,
  );
  const seen = known.map(({ row, transfer }) => {
    const amountUnits = unitsOf(transfer.raw, chain);
    const state = nextState(row, transfer, firstState(finding, amountUnits));
    return { row, transfer, state, amountUnits: state === "refused" ? 0n : amountUnits };
  });
  const isUnchanged = ({ row, transfer, state, amountUnits }: (typeof seen)[number]): boolean =>
    row.state === state &&
    (isFinal(row) || row.amountUnits === amountUnits) &&
    row.blockHash === transfer.blockHash &&
    row.logIndex === transfer.logIndex &&
    row.lostAtBlock === null;
  const places = new Set(transfers.map(placeOf));
  await setAside(
    client,
    missing.filter((row) => places.has(placeOf(row))).map(({ id }) => id),
  );
  await updateDeposits(
    client,
    chain,
    seen.filter((each) => !isUnchanged(each)),
  );
  if (fresh.length > 0) {
    const entries = await readLoneEntries(client, chain.chainId, [...new Set(fresh.map(({ txHash }) => txHash))]);
    const deposits = fresh.map((transfer) => newDeposit(chain, finding, transfer, taken));
    await insertDeposits(client, chain, finding.source, withEntries(deposits, entries, chain));
  }
  return { found: fresh.length, gone: gone.length };
}
