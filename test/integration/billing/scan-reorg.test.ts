import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { standingAlerts } from "../../../src/lib/billing/alerts.ts";
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

// Every depth takes a second; a soak takes them all.
const DEPTHS = process.env["SOAK"] === "1" ? Array.from({ length: 20 }, (_, index) => index + 1) : [1, 2, 3, 7, 20];

const ADA = userId("ada");
const WALLET = addressOf(1);
const OTHER = addressOf(2);

describe("a reorganisation", () => {
  for (const depth of DEPTHS) {
    test(`of depth ${depth} moves, drops and doubles deposits, and each is credited as often as it is on the chain`, async () => {
      await using box = await ScanBox.open(anvil, { confirmations: 25, finalityDepth: 40 });
      await box.link(ADA, WALLET);
      const moved = await box.pay(box.move(OTHER, 50n), box.move(WALLET, 3n), box.move(WALLET, 4n));
      const raw = await anvil.rawOf(moved);
      if (depth > 1) await box.pay(box.move(WALLET, 100n));
      if (depth > 2) await anvil.mine(depth - 2);
      expect(await box.scan()).toMatchObject({ state: "ok", found: depth > 1 ? 4 : 3, credited: 0 });
      await anvil.reorg(depth, { [depth - 1]: [raw] });
      // The same again, in a transaction of its own: a deposit of its own.
      await box.pay(box.move(WALLET, 3n));
      expect(await box.scan()).toMatchObject({ state: "ok", found: 1, credited: 0 });
      await anvil.mine(25);
      expect(await box.scan()).toMatchObject({ state: "ok", found: 0, credited: 3, creditedUnits: 10n * FULA });
      expect(await box.balance(ADA)).toBe("10");
      const states = (await box.deposits()).map(({ tx, state, amount }) => `${tx === moved} ${amount} ${state}`);
      expect(states.toSorted()).toEqual(
        [
          ...(depth > 1 ? ["false 100 orphaned"] : []),
          "false 3 credited",
          "true 3 credited",
          "true 4 credited",
          "true 50 unclaimed",
        ].toSorted(),
      );
      expect(await standingAlerts(box.database.pool)).toEqual([]);
    });
  }

  test("under credited deposits credits none of them again, though the places of their logs have changed", async () => {
    await using box = await ScanBox.open(anvil, { confirmations: 2 });
    await box.link(ADA, WALLET);
    const tx = await box.pay(box.move(WALLET, 3n), box.move(WALLET, 4n));
    const raw = await anvil.rawOf(tx);
    await anvil.mine(5);
    expect(await box.scan()).toMatchObject({ credited: 2 });
    // Another transaction in the same new block pushes the places of its logs up.
    await anvil.call("anvil_rollback", [6]);
    await anvil.call("anvil_dropAllTransactions");
    await anvil.call("anvil_setCoinbase", [addressOf(12_345)]);
    await anvil.mine(2);
    await anvil.call("eth_sendRawTransaction", [raw]);
    await box.pay(box.move(OTHER, 9n));
    await anvil.mine(5);
    expect(await box.scan()).toMatchObject({ state: "ok", credited: 0, reorgDepth: 6n });
    await anvil.mine(5);
    expect(await box.scan()).toMatchObject({ state: "ok", credited: 0 });
    expect(await box.balance(ADA)).toBe("7");
    const { rows } = await box.database.pool.query("select id from token_transactions where lost_at_block is not null");
    expect(rows).toEqual([]);
  });

  test("that takes a credited deposit away for good stops this chain with an alert, and rolls no money back", async () => {
    await using box = await ScanBox.open(anvil, { confirmations: 2 });
    await box.link(ADA, WALLET);
    const tx = await box.pay(box.move(WALLET, 3n));
    await anvil.mine(3);
    expect(await box.scan()).toMatchObject({ credited: 1 });
    await anvil.reorg(4);
    expect(await box.scan()).toMatchObject({ state: "ok", gone: 1 });
    await anvil.mine(3);
    const because = `1 credited deposit(s) are gone from the chain: 31337:${tx}:0`;
    expect(await box.scan()).toMatchObject({ state: "halted", problem: because });
    expect(await box.balance(ADA)).toBe("3");
    expect(await standingAlerts(box.database.pool)).toMatchObject([{ kind: "chain-stands-still", subject: "31337" }]);
    await box.pay(box.move(WALLET, 8n));
    await anvil.mine(3);
    expect(await box.scan()).toMatchObject({ state: "halted", credited: 0 });
  });

  test("deeper than anything that is remembered stops this chain with an alert, before anything is credited", async () => {
    await using box = await ScanBox.open(anvil, { confirmations: 2, finalityDepth: 5 });
    await box.link(ADA, WALLET);
    await anvil.mine(12);
    await box.scan();
    await anvil.reorg(10);
    await box.pay(box.move(WALLET, 3n));
    await anvil.mine(4);
    expect(await box.scan()).toMatchObject({ state: "halted", credited: 0 });
    expect(await standingAlerts(box.database.pool)).toMatchObject([{ kind: "reorg-too-deep", subject: "31337" }]);
    expect(await box.balance(ADA)).toBe("0");
  });
});

test("a chain that is off while it is reorganised goes on from where it parted when it is on again", async () => {
  await using box = await ScanBox.open(anvil, { confirmations: 10 });
  await box.link(ADA, WALLET);
  await anvil.mine(2);
  await box.pay(box.move(WALLET, 3n));
  expect(await box.scan()).toMatchObject({ found: 1, credited: 0 });
  const off = { chains: [{ ...box.chain, offBecause: "chains.anvil.enabled is false" }] };
  await anvil.reorg(2);
  await box.pay(box.move(WALLET, 4n));
  await anvil.mine(60);
  expect(await box.scan(off)).toMatchObject({ state: "off", credited: 0 });
  expect(await box.scan()).toMatchObject({ state: "ok", credited: 1, gone: 1 });
  expect(await box.balance(ADA)).toBe("4");
});

test("a head that went down is no reorganisation: what was found stays as it is", async () => {
  await using box = await ScanBox.open(anvil, { confirmations: 20 });
  await box.pay(box.move(WALLET, 3n));
  await anvil.mine(3);
  const { scannedBlock } = await box.scan();
  await anvil.call("anvil_rollback", [2]);
  expect(await box.scan()).toMatchObject({ state: "ok", gone: 0, reorgDepth: 0n, scannedBlock });
  expect(await box.deposits()).toMatchObject([{ state: "waiting" }]);
});
