import { afterAll, beforeAll, describe, expect, test } from "vitest";
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

describe("a claim by the transaction's hash", () => {
  test("credits every transfer of it, in whatever case the hash was typed, and a second one is refused", async () => {
    await using box = await ScanBox.open(anvil);
    await box.link(ADA, WALLET);
    const tx = await box.pay(box.move(WALLET, 3n), box.move(WALLET, 4n));
    await anvil.mine(3);
    const typed = `0x${tx.slice(2).toUpperCase()}`;
    expect(await box.claim({ userId: ADA, txHash: typed })).toMatchObject({
      txHash: tx,
      creditedUnits: 7n * FULA,
      deposits: [{ state: "credited" }, { state: "credited" }],
    });
    await expect(box.claim({ userId: ADA, txHash: tx })).rejects.toMatchObject({ code: "FULA_DEPOSIT_CLAIMED" });
    expect(await box.scan()).toMatchObject({ found: 0, credited: 0 });
    expect(await box.balance(ADA)).toBe("7");
  });

  test("made many times at once, and beside a scanner, credits once (defect 5)", async () => {
    await using box = await ScanBox.open(anvil);
    await box.link(ADA, WALLET);
    const tx = await box.pay(box.move(WALLET, 3n));
    await anvil.mine(3);
    const claims = Array.from({ length: 6 }, async () => await box.claim({ userId: ADA, txHash: tx }));
    const outcomes = await Promise.allSettled([...claims, box.scan(), box.scan()]);
    const refused = outcomes.flatMap((outcome) => (outcome.status === "rejected" ? [outcome.reason as unknown] : []));
    for (const reason of refused) expect(reason).toMatchObject({ code: "FULA_DEPOSIT_CLAIMED" });
    expect(await box.balance(ADA)).toBe("3");
    expect(await box.deposits()).toHaveLength(1);
  });

  test("of a transaction that is not deep enough records it, says so, and it is credited by itself", async () => {
    await using box = await ScanBox.open(anvil);
    await box.link(ADA, WALLET);
    const tx = await box.pay(box.move(WALLET, 3n));
    expect(await box.claim({ userId: ADA, txHash: tx })).toMatchObject({
      creditedUnits: 0n,
      confirmations: { have: 0n, needed: 3 },
      deposits: [{ state: "waiting" }],
    });
    await anvil.mine(3);
    expect(await box.scan()).toMatchObject({ found: 0, credited: 1 });
  });

  test("of what came from another's wallet, or from nobody's, is refused, and the deposit stays whose it is", async () => {
    await using box = await ScanBox.open(anvil);
    await box.link(ADA, WALLET);
    const theirs = await box.pay(box.move(WALLET, 3n));
    const nobodys = await box.pay(box.move(addressOf(9), 4n));
    await anvil.mine(3);
    await expect(box.claim({ userId: BEN, txHash: theirs })).rejects.toMatchObject({ code: "FULA_DEPOSIT_FOREIGN" });
    await expect(box.claim({ userId: BEN, txHash: nobodys })).rejects.toMatchObject({ code: "FULA_DEPOSIT_UNLINKED" });
    await box.link(BEN, addressOf(9));
    await box.scan();
    expect([await box.balance(ADA), await box.balance(BEN)]).toEqual(["3", "4"]);
  });

  test("of dust, of nothing to the vault, of no transaction and of no hash is refused, each in its own words", async () => {
    await using box = await ScanBox.open(anvil);
    await box.link(ADA, WALLET);
    const dust = await box.pay({ from: WALLET, to: box.chain.vault ?? "", value: 1n });
    const elsewhere = await box.pay({ from: WALLET, to: addressOf(3), value: FULA });
    await anvil.mine(3);
    const claim = async (txHash: string): Promise<unknown> => await box.claim({ userId: ADA, txHash });
    await expect(claim(dust)).rejects.toMatchObject({ code: "FULA_DEPOSIT_DUST" });
    await expect(claim(elsewhere)).rejects.toMatchObject({ code: "FULA_DEPOSIT_NOT_FOUND" });
    await expect(claim(`0x${"12".repeat(32)}`)).rejects.toMatchObject({ code: "FULA_DEPOSIT_NOT_FOUND" });
    await expect(claim("0x12")).rejects.toMatchObject({ code: "FULA_DEPOSIT_HASH" });
    await expect(
      box.claim({ userId: ADA, txHash: dust }, { chains: [{ ...box.chain, offBecause: "no endpoint" }] }),
    ).rejects.toMatchObject({ code: "FULA_CHAIN_OFF" });
  });
});

describe("a claimed transaction", () => {
  test("of two senders credits the one whose wallet is linked, and the other's part when his is", async () => {
    await using box = await ScanBox.open(anvil);
    await box.link(ADA, WALLET);
    const tx = await box.pay(box.move(addressOf(9), 4n), box.move(WALLET, 3n));
    await anvil.mine(3);
    expect(await box.claim({ userId: ADA, txHash: tx })).toMatchObject({
      creditedUnits: 3n * FULA,
      deposits: [{ state: "unclaimed" }, { state: "credited" }],
    });
    await expect(box.claim({ userId: ADA, txHash: tx })).rejects.toMatchObject({ code: "FULA_DEPOSIT_CLAIMED" });
    await expect(box.claim({ userId: BEN, txHash: tx })).rejects.toMatchObject({ code: "FULA_DEPOSIT_FOREIGN" });
    await box.link(BEN, addressOf(9));
    await expect(box.claim({ userId: BEN, txHash: tx })).rejects.toMatchObject({ code: "FULA_DEPOSIT_CLAIMED" });
    expect([await box.balance(ADA), await box.balance(BEN)]).toEqual(["3", "4"]);
  });

  test("that a reorganisation takes away before it is deep enough is not credited, and is when it is mined again", async () => {
    await using box = await ScanBox.open(anvil);
    await box.link(ADA, WALLET);
    const tx = await box.pay(box.move(WALLET, 3n));
    const raw = await anvil.rawOf(tx);
    expect(await box.claim({ userId: ADA, txHash: tx })).toMatchObject({ deposits: [{ state: "waiting" }] });
    await anvil.reorg(1);
    await expect(box.claim({ userId: ADA, txHash: tx })).rejects.toMatchObject({ code: "FULA_DEPOSIT_NOT_FOUND" });
    await anvil.mine(5);
    expect(await box.scan()).toMatchObject({ state: "ok", credited: 0 });
    expect(await box.deposits()).toMatchObject([{ state: "orphaned" }]);
    await anvil.call("eth_sendRawTransaction", [raw]);
    await anvil.mine(1);
    expect(await box.claim({ userId: ADA, txHash: tx })).toMatchObject({ deposits: [{ state: "waiting" }] });
    await anvil.mine(3);
    expect(await box.scan()).toMatchObject({ state: "ok", credited: 1 });
    expect(await box.balance(ADA)).toBe("3");
  });

  test("that the fleet has recorded, in another case and by rounded amounts, is the same one", async () => {
    await using box = await ScanBox.open(anvil);
    await box.link(ADA, WALLET);
    const done = await box.pay(box.move(WALLET, 3n), box.move(WALLET, 4n));
    const open = await box.pay({ from: WALLET, to: box.chain.vault ?? "", value: 5n * FULA + 1n });
    await anvil.mine(3);
    const { pool } = box.database;
    const record = `insert into token_transactions (tx_hash, chain_id, from_address, to_address, amount_raw, amount_fula, block_number, block_timestamp, claimed_at, user_id)
      values ($1, 31337, $2, $3, $4, $5, 1, 1, $6, $7)`;
    const upper = (text: string): string => `0x${text.slice(2).toUpperCase()}`;
    const to = upper(box.chain.vault ?? "");
    await pool.query(record, [upper(done), upper(WALLET), to, (3n * FULA).toString(), 3, new Date(), ADA]);
    await pool.query(record, [upper(open), upper(WALLET), to, (5n * FULA + 1n).toString(), 5, null, null]);
    await pool.query(
      "insert into user_credits (user_id, balance_fula) values ($1, 3) on conflict (user_id) do update set balance_fula = 3",
      [ADA],
    );
    await pool.query(
      "insert into credit_history (user_id, tx_type, amount_fula, balance_after, reference_id) values ($1, 'deposit', 3, 3, $2)",
      [ADA, `31337:${upper(done)}`],
    );
    expect(await box.claim({ userId: ADA, txHash: upper(done) })).toMatchObject({ creditedUnits: 4n * FULA });
    expect(await box.claim({ userId: ADA, txHash: upper(open) })).toMatchObject({ creditedUnits: 5n * FULA + 1n });
    expect(await box.scan()).toMatchObject({ state: "ok", found: 0, credited: 0 });
    expect(await box.balance(ADA)).toBe("12.000000000000000001");
  });
});

test("a claim that other software makes of a deposit that we recorded counts as its credit, and is not credited again", async () => {
  await using box = await ScanBox.open(anvil);
  const tx = await box.pay(box.move(WALLET, 3n));
  await anvil.mine(3);
  await box.scan();
  await box.database.pool.query(
    "update token_transactions set user_id = $1, claimed_at = now(), ingestion_source = 'manual' where tx_hash = $2 and claimed_at is null",
    [ADA, tx],
  );
  await box.link(ADA, WALLET);
  expect(await box.scan()).toMatchObject({ credited: 0 });
  expect(await box.deposits()).toMatchObject([{ state: "credited" }]);
  expect(await box.balance(ADA)).toBe("0");
});
