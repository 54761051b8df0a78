import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { planResume, resumeChain } from "../../../src/lib/billing/chain-resume.ts";
import type { Transfer } from "../../../src/lib/billing/chain-transfers.ts";
import { recordTransfers } from "../../../src/lib/billing/deposit-record.ts";
import { readDeposits, updateDeposits } from "../../../src/lib/billing/deposit-rows.ts";
import { reverseDeposit } from "../../../src/lib/billing/reversals.ts";
import { verifyLedger } from "../../../src/lib/billing/verify.ts";
import { withTransaction } from "../../../src/lib/postgres/transaction.ts";
import { addressOf, Anvil } from "../../support/anvil.ts";
import { FULA, ScanBox } from "../../support/scan-box.ts";
import { userId } from "./ledger.ts";

let anvil: Anvil;

beforeAll(async () => {
  anvil = await Anvil.start();
});

afterAll(async () => {
  await anvil[Symbol.asyncDispose]();
});

const ADA = userId("ada");
const BEN = userId("ben");
const WALLET = addressOf(1);
const OTHER = addressOf(2);
const WORDS = { reason: "gone from the chain", operator: "tester" };

/** What `billing verify` says of deposits. */
async function findings(box: ScanBox): Promise<readonly string[]> {
  const { checks } = await verifyLedger(box.database.pool);
  return checks.find(({ name }) => name === "deposits")?.examples ?? ["nobody looked"];
}

async function states(box: ScanBox): Promise<readonly string[]> {
  return (await box.deposits()).map(({ state }) => state);
}

async function resume(box: ScanBox): Promise<void> {
  const plan = await planResume(box.database.pool, box.chain);
  await resumeChain(box.database.pool, plan, WORDS.operator, WORDS.reason);
}

/** A deposit that is credited, gone from the chain, and for which the chain stands still. */
async function boxWithLoss(): Promise<{ readonly box: ScanBox; readonly raw: string; readonly reference: string }> {
  const box = await ScanBox.open(anvil, { confirmations: 2 });
  await box.link(ADA, WALLET);
  const tx = await box.pay(box.move(WALLET, 3n));
  const raw = await anvil.rawOf(tx);
  await anvil.mine(3);
  await box.scan();
  await anvil.reorg(4);
  await box.scan();
  await anvil.mine(3);
  expect(await box.scan()).toMatchObject({ state: "halted" });
  return { box, raw, reference: `31337:${tx}:0` };
}

test("what came to an earlier vault stays what it is when the vault changes, and the chain goes on", async () => {
  await using box = await ScanBox.open(anvil);
  await box.link(ADA, WALLET);
  await box.pay(box.move(WALLET, 5n));
  await box.pay(box.move(OTHER, 7n));
  await anvil.mine(3);
  expect(await box.scan()).toMatchObject({ found: 2, credited: 1 });
  const moved = { chains: [{ ...box.chain, vault: addressOf(78) }] };
  for (let look = 0; look < 3; look += 1) {
    expect(await box.scan(moved)).toMatchObject({ state: "ok", gone: 0 });
    await anvil.mine(4);
  }
  expect(await states(box)).toEqual(["credited", "unclaimed"]);
  await box.link(BEN, OTHER);
  expect(await box.balance(BEN)).toBe("7");
});

describe("a chain that stands still", () => {
  test("has nothing credited by the look that stops it", async () => {
    await using box = await ScanBox.open(anvil, { confirmations: 2, finalityDepth: 5 });
    await box.pay(box.move(WALLET, 3n));
    await anvil.mine(12);
    await box.scan();
    // As after a master that died between settling and crediting.
    await box.database.pool.query(
      "insert into user_wallets (user_id, chain_id, wallet_address_hash, is_verified) select $1, 31337, sender_hash, 1 from token_transactions",
      [ADA],
    );
    await anvil.reorg(14);
    expect(await box.scan()).toMatchObject({ state: "halted", credited: 0 });
    expect(await box.balance(ADA)).toBe("0");
  });

  test("has nothing credited by a link either, until it goes on", async () => {
    await using box = await ScanBox.open(anvil);
    await box.pay(box.move(WALLET, 3n));
    await anvil.mine(4);
    await box.scan();
    await box.database.pool.query("update chain_sync_state set halted_because = 'a test', halted_at = now()");
    await box.link(ADA, WALLET);
    expect(await box.balance(ADA)).toBe("0");
    await resume(box);
    expect(await box.scan()).toMatchObject({ state: "ok", credited: 1 });
    expect(await box.balance(ADA)).toBe("3");
  });
});

describe("a record of the existing fleet", () => {
  test("that nobody claimed is credited when it is seen on the chain, with what was sent to the last digit", async () => {
    await using box = await ScanBox.open(anvil);
    const value = 123_456_789_012_345_678_901n;
    const tx = await box.pay({ from: WALLET, to: box.chain.vault ?? "", value });
    await anvil.mine(3);
    await box.database.pool.query(
      `insert into token_transactions (tx_hash, chain_id, from_address, to_address, amount_raw, amount_fula, block_number, block_timestamp)
       values ($1, 31337, $2, $3, $4, 123.45679, 1, 1), ($5, 31337, $2, $3, $4, 123.45679, 1, 1)`,
      [tx, WALLET, box.chain.vault, value.toString(), `0x${"77".repeat(32)}`],
    );
    await box.link(ADA, WALLET);
    expect(await box.balance(ADA)).toBe("0");
    expect(await box.scan()).toMatchObject({ state: "ok", found: 0, credited: 1 });
    expect(await box.balance(ADA)).toBe("123.456789012345678901");
    expect(await states(box)).toEqual(["unclaimed", "credited"]);
  });

  test("that is gone, while its entry is still in the ledger, has its transaction credited no second time", async () => {
    await using box = await ScanBox.open(anvil);
    await box.link(ADA, WALLET);
    await box.link(BEN, OTHER);
    const tx = await box.pay(box.move(OTHER, 7n), box.move(WALLET, 5n));
    await anvil.mine(3);
    await box.database.pool.query("insert into user_credits (user_id, balance_fula) values ($1, 5)", [ADA]);
    await box.database.pool.query(
      "insert into credit_history (user_id, tx_type, amount_fula, balance_after, reference_id) values ($1, 'deposit', 5, 5, $2)",
      [ADA, `31337:${tx.toUpperCase()}`],
    );
    expect(await box.scan()).toMatchObject({ state: "ok", found: 2, credited: 1 });
    expect([await box.balance(ADA), await box.balance(BEN)]).toEqual(["5", "7"]);
    expect(await states(box)).toEqual(["credited", "credited"]);
    expect(await findings(box)).toEqual([]);
  });
});

describe("a deposit that was taken back", () => {
  test("is marked so, stays so when it is read again, and leaves the books right", async () => {
    await using box = await ScanBox.open(anvil);
    await box.link(ADA, WALLET);
    const tx = await box.pay(box.move(WALLET, 5n));
    await anvil.mine(4);
    await box.scan();
    await reverseDeposit(box.database.pool, { deposit: { reference: `31337:${tx}:0` }, ...WORDS });
    expect(await states(box)).toEqual(["reversed"]);
    expect(await box.scan({}, { rereadFrom: 0n })).toMatchObject({ state: "ok", credited: 0, gone: 0 });
    expect(await states(box)).toEqual(["reversed"]);
    expect(await box.balance(ADA)).toBe("0");
    await expect(box.claim({ userId: ADA, txHash: tx })).rejects.toMatchObject({ code: "FULA_DEPOSIT_REFUSED" });
    expect(await findings(box)).toEqual([]);
  });

  test.each(["before", "after"] as const)(
    "%s its chain goes on again, since it is gone, stops that chain no second time",
    async (when) => {
      const { box, reference } = await boxWithLoss();
      await using _ = box;
      if (when === "before") await reverseDeposit(box.database.pool, { deposit: { reference }, ...WORDS });
      await resume(box);
      // Money that stands for nothing is no clean ledger.
      expect(await findings(box)).toHaveLength(when === "before" ? 0 : 1);
      if (when === "after") await reverseDeposit(box.database.pool, { deposit: { reference }, ...WORDS });
      await anvil.mine(4);
      expect(await box.scan()).toMatchObject({ state: "ok" });
      await anvil.mine(4);
      expect(await box.scan()).toMatchObject({ state: "ok" });
      expect(await states(box)).toEqual(["reversed"]);
      expect(await findings(box)).toEqual([]);
      expect(await box.balance(ADA)).toBe("0");
    },
  );
});

test("a credited deposit that was gone and is mined again after its chain went on is credited as before, and not twice", async () => {
  const { box, raw } = await boxWithLoss();
  await using _ = box;
  await resume(box);
  await anvil.call("eth_sendRawTransaction", [raw]);
  await anvil.mine(4);
  expect(await box.scan()).toMatchObject({ state: "ok", credited: 0 });
  expect(await states(box)).toEqual(["credited"]);
  expect(await box.balance(ADA)).toBe("3");
  expect(await findings(box)).toEqual([]);
});

describe("records of one transaction", () => {
  const txHash = `0x${"5".repeat(64)}`;
  const transfer = (box: ScanBox, change: Partial<Transfer>): Transfer => ({
    txHash,
    blockNumber: 10n,
    blockHash: `0x${"a".repeat(64)}`,
    logIndex: 0,
    from: WALLET,
    to: box.chain.vault ?? "",
    raw: FULA,
    timestamp: 1n,
    ...change,
  });
  const record = async (box: ScanBox, transfers: readonly Transfer[]): Promise<void> => {
    await withTransaction(box.database.pool, async (client) => {
      await recordTransfers(client, box.chain, {
        transfers,
        depth: "settled",
        blocks: { from: 0n, to: 20n },
        head: 30n,
        source: "cron",
        minUnits: 1n,
      });
    });
  };

  test("do not stand in the way when it is mined again and does something else", async () => {
    await using box = await ScanBox.open(anvil);
    await record(box, [transfer(box, {}), transfer(box, { from: OTHER, logIndex: 1 })]);
    const blockHash = `0x${"b".repeat(64)}`;
    await record(box, [
      transfer(box, { blockHash, from: OTHER, logIndex: 0 }),
      transfer(box, { blockHash, from: addressOf(3), logIndex: 1 }),
    ]);
    expect((await states(box)).toSorted()).toEqual(["orphaned", "unclaimed", "unclaimed"]);
    // And once more as it was.
    await record(box, [transfer(box, {}), transfer(box, { from: OTHER, logIndex: 1 })]);
    expect((await states(box)).toSorted()).toEqual(["orphaned", "unclaimed", "unclaimed"]);
  });

  test("that somebody credits while they are read again stay credited", async () => {
    await using box = await ScanBox.open(anvil);
    await record(box, [transfer(box, {})]);
    await withTransaction(box.database.pool, async (client) => {
      const [row] = await readDeposits(client, box.chain, [txHash], null);
      if (row === undefined) throw new Error("no record");
      await box.link(ADA, WALLET);
      const moved = transfer(box, { blockHash: `0x${"c".repeat(64)}` });
      await updateDeposits(client, box.chain, [{ row, transfer: moved, state: "unclaimed", amountUnits: FULA }]);
    });
    expect(await states(box)).toEqual(["credited"]);
    expect(await findings(box)).toEqual([]);
  });
});

test("a wallet that is linked, taken off and linked by another while scanners and claims go on has its deposits credited once each", async () => {
  await using box = await ScanBox.open(anvil);
  const { pool } = box.database;
  for (let round = 0; round < 6; round += 1) {
    const wallet = addressOf(100 + round);
    const tx = await box.pay(box.move(wallet, 1n), box.move(wallet, 1n));
    await anvil.mine(3);
    if (round % 2 === 0) await box.scan();
    const hand = async (): Promise<void> => {
      await box.link(ADA, wallet);
      await pool.query("delete from user_wallets where user_id = $1", [ADA]);
      await box.link(BEN, wallet);
    };
    await Promise.allSettled([
      hand(),
      box.scan(),
      box.claim({ userId: ADA, txHash: tx }),
      box.claim({ userId: BEN, txHash: tx }),
      box.scan(),
    ]);
    await box.scan();
    const balances = [Number(await box.balance(ADA)), Number(await box.balance(BEN))] as const;
    expect([round, balances[0] + balances[1]]).toEqual([round, 2 * (round + 1)]);
  }
  expect(new Set(await states(box))).toEqual(new Set(["credited"]));
  expect(await findings(box)).toEqual([]);
});

test("a start block that is set lower has what is below looked through too, once", async () => {
  await using box = await ScanBox.open(anvil);
  await box.link(ADA, WALLET);
  await box.pay(box.move(WALLET, 5n));
  await anvil.mine(4);
  const later = { chains: [{ ...box.chain, startBlock: await anvil.head() }] };
  await anvil.mine(4);
  expect(await box.scan(later)).toMatchObject({ state: "ok", found: 0 });
  expect(await box.scan()).toMatchObject({ state: "ok", found: 1, credited: 1 });
  const { settledBlock } = await box.scan(later);
  expect(settledBlock).not.toBeNull();
  expect(await box.scan()).toMatchObject({ found: 0, credited: 0, settledBlock });
});
