import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Transfer } from "../../../src/lib/billing/chain-transfers.ts";
import { type DepositRow, matchTransfers } from "../../../src/lib/billing/deposit-match.ts";
import { property } from "../../support/property.ts";

function transfer(logIndex: number, raw: bigint, blockHash = "0xb1"): Transfer {
  return { txHash: "0xt", blockNumber: 7n, blockHash, logIndex, from: "0xa", to: "0xv", raw, timestamp: 1n };
}

function row(id: bigint, logIndex: number, raw: bigint, change: Partial<DepositRow> = {}): DepositRow {
  return {
    id,
    txHash: "0xt",
    logIndex,
    blockHash: logIndex === -1 ? null : "0xb0",
    blockNumber: 5n,
    from: "0xa",
    raw,
    amountUnits: raw,
    state: "credited",
    isClaimed: true,
    reference: `1:0xt:${logIndex}`,
    lostAtBlock: null,
    ...change,
  };
}

function pairs(rows: readonly DepositRow[], transfers: readonly Transfer[]): readonly string[] {
  return matchTransfers(rows, transfers)
    .known.map((known) => `${known.row.id}=${known.transfer.logIndex}`)
    .toSorted();
}

describe("the records of a transaction", () => {
  test("go along with it into another block, where its logs have other places", () => {
    const rows = [row(1n, 4, 10n), row(2n, 5, 20n), row(3n, 6, 10n)];
    const transfers = [transfer(5, 10n), transfer(6, 20n), transfer(7, 10n)];
    expect(pairs(rows, transfers)).toEqual(["1=5", "2=6", "3=7"]);
  });

  test("of software that knows a transaction alone stand for the transfer that looks like them", () => {
    const found = matchTransfers([row(1n, -1, 20n)], [transfer(0, 10n), transfer(1, 20n)]);
    expect(found.known).toMatchObject([{ row: { id: 1n }, transfer: { logIndex: 1 } }]);
    expect(found.fresh).toMatchObject([{ logIndex: 0 }]);
  });

  test("of such software that are credited and look like none stand for the first, so that it is not paid again", () => {
    expect(pairs([row(1n, -1, 99n)], [transfer(0, 10n), transfer(1, 20n)])).toEqual(["1=0"]);
    expect(pairs([row(1n, -1, 99n, { state: "unclaimed" })], [transfer(0, 10n)])).toEqual([]);
  });

  test("are given back as missing where their transfer is not found", () => {
    expect(matchTransfers([row(1n, 4, 10n)], []).missing).toMatchObject([{ id: 1n }]);
  });

  test("are matched once each, whatever is found", () => {
    const places = fc.uniqueArray(fc.tuple(fc.nat(9), fc.bigInt(0n, 2n)), { selector: ([place]) => place });
    fc.assert(
      fc.property(places, places, (before, after) => {
        const rows = before.map(([place, raw], index) => row(BigInt(index), place, raw));
        const transfers = after.map(([place, raw]) => transfer(place, raw));
        const { known, fresh, missing } = matchTransfers(rows, transfers);
        expect(known.length + fresh.length).toBe(transfers.length);
        expect(known.length + missing.length).toBe(rows.length);
        expect(new Set(known.map((each) => each.row)).size).toBe(known.length);
        expect(new Set([...known.map((each) => each.transfer), ...fresh]).size).toBe(transfers.length);
        expect(known.every((each) => each.row.raw === each.transfer.raw)).toBe(true);
      }),
      property(),
    );
  });
});
