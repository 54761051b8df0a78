import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { standingAlerts } from "../../../src/lib/billing/alerts.ts";
import { Secret } from "../../../src/lib/kernel/secret.ts";
import { addressOf, Anvil } from "../../support/anvil.ts";
import { FULA, RpcProxy, ScanBox } from "../../support/scan-box.ts";
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

describe("a deposit", () => {
  test("waits for its confirmations and is then credited, once, however often the chain is looked at", async () => {
    await using box = await ScanBox.open(anvil);
    await box.link(ADA, WALLET);
    const tx = await box.pay(box.move(WALLET, 5n));
    expect(await box.scan()).toMatchObject({ state: "ok", found: 1, credited: 0 });
    expect(await box.deposits()).toMatchObject([{ tx, state: "waiting", amount: "5" }]);
    expect(await box.balance(ADA)).toBe("0");
    await anvil.mine(3);
    expect(await box.scan()).toMatchObject({ state: "ok", found: 0, credited: 1, creditedUnits: 5n * FULA });
    await anvil.mine(5);
    expect(await box.scan()).toMatchObject({ state: "ok", credited: 0 });
    expect(await box.deposits()).toMatchObject([{ tx, log: 0, state: "credited", user: ADA }]);
    expect(await box.balance(ADA)).toBe("5");
    const { rows } = await box.database.pool.query("select reference_id, tx_type from credit_history");
    expect(rows).toEqual([{ reference_id: `31337:${tx}:0`, tx_type: "deposit" }]);
  });

  test("of two transfers in one transaction is two deposits", async () => {
    await using box = await ScanBox.open(anvil);
    await box.link(ADA, WALLET);
    await box.link(BEN, addressOf(2));
    await box.pay(box.move(WALLET, 5n), box.move(addressOf(2), 7n), box.move(WALLET, 5n));
    await anvil.mine(3);
    expect(await box.scan()).toMatchObject({ found: 3, credited: 3, creditedUnits: 17n * FULA });
    expect([await box.balance(ADA), await box.balance(BEN)]).toEqual(["10", "7"]);
  });

  test("of a sender whom nobody knows is recorded, and credited by itself when the wallet is linked", async () => {
    await using box = await ScanBox.open(anvil);
    await box.pay(box.move(WALLET, 5n));
    await anvil.mine(3);
    expect(await box.scan()).toMatchObject({ found: 1, credited: 0 });
    expect(await box.deposits()).toMatchObject([{ state: "unclaimed", user: null }]);
    await box.link(ADA, WALLET.toUpperCase().replace("0X", "0x"));
    expect(await box.balance(ADA)).toBe("5");
    expect(await box.deposits()).toMatchObject([{ state: "credited", user: ADA }]);
    expect(await box.scan()).toMatchObject({ credited: 0 });
  });

  test("that becomes settled while its wallet is being linked is credited by the next look", async () => {
    await using box = await ScanBox.open(anvil);
    await box.pay(box.move(WALLET, 5n));
    await anvil.mine(3);
    await box.scan();
    // As if the link had been committed between the scanner's two looks at the row, without seeing it.
    await box.database.pool.query(
      "insert into user_wallets (user_id, chain_id, wallet_address_hash, is_verified) select $1, 31337, sender_hash, 1 from token_transactions",
      [ADA],
    );
    expect(await box.scan()).toMatchObject({ credited: 1 });
    expect(await box.balance(ADA)).toBe("5");
  });

  test("of less than is credited is recorded as dust, and so is nothing at all", async () => {
    await using box = await ScanBox.open(anvil);
    await box.link(ADA, WALLET);
    const vault = box.chain.vault ?? "";
    await box.pay({ from: WALLET, to: vault, value: FULA / 1_000n - 1n }, { from: WALLET, to: vault, value: 0n });
    await box.pay({ from: WALLET, to: vault, value: FULA / 1_000n });
    await anvil.mine(3);
    expect(await box.scan()).toMatchObject({ found: 3, credited: 1 });
    expect((await box.deposits()).map(({ state }) => state)).toEqual(["dust", "dust", "credited"]);
    expect(await box.balance(ADA)).toBe("0.001");
  });

  test("of more than the ledger can hold is recorded and stops nothing", async () => {
    await using box = await ScanBox.open(anvil);
    await box.link(ADA, WALLET);
    await box.pay({ from: WALLET, to: box.chain.vault ?? "", value: 2n ** 255n }, box.move(WALLET, 1n));
    await anvil.mine(3);
    expect(await box.scan()).toMatchObject({ found: 2, credited: 1 });
    expect((await box.deposits()).map(({ state }) => state)).toEqual(["refused", "credited"]);
  });

  test("counts to the last digit in a token of fewer decimals", async () => {
    await using box = await ScanBox.open(anvil, { decimals: 6 });
    await box.link(ADA, WALLET);
    await box.pay({ from: WALLET, to: box.chain.vault ?? "", value: 1_234_567n });
    await anvil.mine(3);
    await box.scan();
    expect(await box.balance(ADA)).toBe("1.234567");
  });

  test("to another vault, or of another token, is none of ours", async () => {
    await using box = await ScanBox.open(anvil);
    const other = await anvil.deployToken();
    await anvil.send(other, [box.move(WALLET, 5n)]);
    await anvil.send(box.chain.token, [{ from: WALLET, to: addressOf(99), value: FULA }]);
    await anvil.mine(5);
    expect(await box.scan()).toMatchObject({ state: "ok", found: 0 });
  });
});

describe("the mark up to which a chain was looked at", () => {
  test("is a number, and moves over blocks that hold nothing (defects 1 and 3)", async () => {
    await using box = await ScanBox.open(anvil);
    await anvil.mine(20);
    const head = await anvil.head();
    expect(await box.scan()).toMatchObject({ scannedBlock: BigInt(head), settledBlock: BigInt(head - 3) });
    await anvil.mine(1);
    expect(await box.scan()).toMatchObject({ scannedBlock: BigInt(head + 1), settledBlock: BigInt(head - 2) });
  });

  test("moves over more blocks than one question may ask for", async () => {
    await using own = await Anvil.start();
    await using box = await ScanBox.open(own);
    await box.link(ADA, WALLET);
    await box.pay(box.move(WALLET, 1n));
    await own.mine(10_500);
    await box.pay(box.move(WALLET, 2n));
    await own.mine(3);
    expect(await box.scan()).toMatchObject({ state: "ok", found: 2, credited: 2 });
    expect(await box.balance(ADA)).toBe("3");
  });

  test("begins at the start block, wherever the fleet's mark is, and takes its records over (defect 3)", async () => {
    await using box = await ScanBox.open(anvil);
    const { pool } = box.database;
    await box.link(ADA, WALLET);
    const first = await box.pay(box.move(WALLET, 5n), box.move(WALLET, 7n));
    const second = await box.pay(box.move(addressOf(2), 9n));
    await anvil.mine(3);
    await pool.query(
      "insert into chain_sync_state (chain_id, chain_name, last_scanned_block, token_address, vault_address) values (31337, 'x', 404805081, $1, $2)",
      [box.chain.token.toUpperCase().replace("0X", "0x"), `0x${"0".repeat(40)}`],
    );
    // The fleet credited the first transfer of the one, and never the second; it recorded the other, whose sender it did not know.
    const record = `insert into token_transactions (tx_hash, chain_id, from_address, to_address, amount_raw, amount_fula, block_number, block_timestamp, user_id, claimed_at)
      values ($1, 31337, $2, '0xv', $3, $4, 1, 1, $5::text, case when $5::text is not null then now() end)`;
    await pool.query(record, [first, WALLET.toUpperCase(), (5n * FULA).toString(), 5, ADA]);
    await pool.query(record, [second, addressOf(2), (9n * FULA).toString(), 9, null]);
    await pool.query("update user_credits set balance_fula = 5 where user_id = $1", [ADA]);
    await pool.query(
      "insert into user_credits (user_id, balance_fula) values ($1, 5) on conflict (user_id) do update set balance_fula = 5",
      [ADA],
    );
    await pool.query(
      "insert into credit_history (user_id, tx_type, amount_fula, balance_after, reference_id) values ($1, 'deposit', 5, 5, $2)",
      [ADA, `31337:${first}`],
    );
    expect(await box.scan()).toMatchObject({ state: "ok", found: 1, credited: 1, creditedUnits: 7n * FULA });
    expect(await box.balance(ADA)).toBe("12");
    expect(await box.deposits()).toMatchObject([
      { tx: first, log: 0, state: "credited" },
      { tx: first, log: 1, state: "credited" },
      { tx: second, log: 0, state: "unclaimed" },
    ]);
    await box.link(BEN, addressOf(2));
    expect(await box.balance(BEN)).toBe("9");
  });

  test("begins anew where the vault is another one", async () => {
    await using box = await ScanBox.open(anvil);
    await box.link(ADA, WALLET);
    const vault = addressOf(77);
    await anvil.send(box.chain.token, [{ from: WALLET, to: vault, value: FULA }]);
    await anvil.mine(4);
    expect(await box.scan()).toMatchObject({ found: 0 });
    expect(await box.scan({ chains: [{ ...box.chain, vault }] })).toMatchObject({ found: 1, credited: 1 });
  });
});

describe("scanners at the same time", () => {
  test("credit each deposit once, whoever is first", async () => {
    await using box = await ScanBox.open(anvil);
    await box.link(ADA, WALLET);
    for (let block = 0; block < 10; block += 1) await box.pay(box.move(WALLET, 1n), box.move(WALLET, 1n));
    await anvil.mine(3);
    const reports = await Promise.all(Array.from({ length: 4 }, async () => await box.scan()));
    await box.scan();
    expect(reports.reduce((sum, { credited }) => sum + credited, 0)).toBeLessThanOrEqual(20);
    expect(await box.balance(ADA)).toBe("20");
    expect(await box.deposits()).toHaveLength(20);
  });

  test("whose epoch is over write nothing", async () => {
    await using box = await ScanBox.open(anvil);
    await box.link(ADA, WALLET);
    await box.pay(box.move(WALLET, 1n));
    await anvil.mine(3);
    await box.database.pool.query(
      "update cron_lease set holder = 'm-2', session_pid = 1, epoch = 8, taken_at = now(), renewed_at = now(), expires_at = now()",
    );
    const late = { holder: "m-1", epoch: 7n };
    await expect(box.scan({ fence: late })).rejects.toMatchObject({ code: "FULA_LEASE_LOST" });
    expect(await box.deposits()).toEqual([]);
    expect(await box.scan({ fence: { holder: "m-2", epoch: 8n } })).toMatchObject({ credited: 1 });
    await box.pay(box.move(WALLET, 1n));
    await expect(box.scan({ fence: late })).rejects.toMatchObject({ code: "FULA_LEASE_LOST" });
    expect(await box.balance(ADA)).toBe("1");
  });
});

test("blocks that are read again are all read, though another scanner moves the marks meanwhile", async () => {
  await using box = await ScanBox.open(anvil);
  await using proxy = await RpcProxy.start(anvil.url);
  await box.link(ADA, WALLET);
  await box.pay(box.move(WALLET, 5n));
  await anvil.mine(4);
  await box.scan();
  await box.database.pool.query("delete from token_transactions");
  let isOver = false;
  proxy.meddle = async (method, params, pass) => {
    const answer = await pass();
    const isReread = method === "eth_getLogs" && JSON.stringify(params).includes('"fromBlock":"0x0"');
    if (isReread && !isOver) {
      isOver = true;
      await anvil.mine(2);
      await box.scan();
    }
    return answer;
  };
  const over = { chains: [{ ...box.chain, rpcUrls: [new Secret(proxy.url)] }] };
  expect(await box.scan(over, { rereadFrom: 0n })).toMatchObject({ state: "ok", found: 1 });
  expect(isOver).toBe(true);
  expect(await box.deposits()).toMatchObject([{ state: "credited" }]);
  expect(await box.balance(ADA)).toBe("5");
});

test("a deposit that the ledger refuses is marked, and the others are credited", async () => {
  await using box = await ScanBox.open(anvil);
  await box.link(ADA, WALLET);
  await box.link(BEN, addressOf(2));
  const tx = await box.pay(box.move(WALLET, 1n), box.move(WALLET, 2n), box.move(addressOf(2), 4n));
  await box.database.pool.query(
    "insert into credit_history (user_id, tx_type, amount_fula, balance_after, reference_id) values ($1, 'deposit', 3, 3, $2)",
    [BEN, `31337:${tx}:1`],
  );
  await anvil.mine(3);
  expect(await box.scan()).toMatchObject({ state: "degraded", credited: 2 });
  expect((await box.deposits()).map(({ state }) => state)).toEqual(["credited", "refused", "credited"]);
  expect(await standingAlerts(box.database.pool)).toEqual([]);
});
