import fc from "fast-check";
import { privateKeyToAccount, type PrivateKeyAccount } from "viem/accounts";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { adjustUser } from "../../../src/lib/billing/adjustments.ts";
import { creditUser, creditUsersTx } from "../../../src/lib/billing/credits.ts";
import { creditSettled } from "../../../src/lib/billing/deposit-credit.ts";
import { formatUnits, parseUnits } from "../../../src/lib/billing/money.ts";
import { compareUsage } from "../../../src/lib/billing/reconcile.ts";
import { verifyLedger } from "../../../src/lib/billing/verify.ts";
import { issueWalletChallenge } from "../../../src/lib/billing/wallet-challenges.ts";
import { walletHash } from "../../../src/lib/billing/wallet-message.ts";
import { settleLinkedWallets } from "../../../src/lib/billing/wallet-settlement.ts";
import { linkWallet, unlinkWallet } from "../../../src/lib/billing/wallets.ts";
import { PostgresRoots } from "../../../src/lib/buckets/roots/postgres-roots.ts";
import { createSecretSealer } from "../../../src/lib/identity/sealed-secret.ts";
import { ownAccountOf, ownerOfSubject } from "../../../src/lib/identity/subject.ts";
import { ownerIdOf } from "../../../src/lib/identity/user-id.ts";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { systemRandom } from "../../../src/lib/kernel/random.ts";
import { Secret } from "../../../src/lib/kernel/secret.ts";
import { moveTo, rootCid } from "../../support/bucket-moves.ts";
import { freshDatabase, type TestDatabase } from "../../support/postgres.ts";
import { property } from "../../support/property.ts";
import { keptUsage } from "../../support/usage.ts";
import { adjustment, emptyBooks, userId } from "./ledger.ts";

const DOMAIN = "cloud.example.org";
const BASE = 8453;
const ADA = userId("ada");
const BEN = userId("ben");
const sealer = createSecretSealer(new Secret("5a".repeat(32)), "wallet addresses");
const idle = new AbortController().signal;

let database: TestDatabase;
let roots: PostgresRoots;
beforeAll(async () => {
  database = await freshDatabase();
  await database.pool.query("update bucket_mode set mode = 'cas'");
  roots = new PostgresRoots({ pool: database.pool, node: "m-1", clock: systemClock, random: systemRandom });
});
beforeEach(async () => {
  await empty();
});
afterAll(async () => {
  await database.drop();
});

async function empty(): Promise<void> {
  await database.pool.query(
    "truncate bucket_roots, bucket_commits, user_wallets, wallet_owners, wallet_challenges, token_transactions, ingest_leases",
  );
  await emptyBooks(database.pool);
}

function walletOf(number: number): PrivateKeyAccount {
  return privateKeyToAccount(`0x${number.toString(16).padStart(64, "0")}`);
}

function ownOf({ address }: PrivateKeyAccount): string {
  return ownAccountOf(address.toLowerCase());
}

function ownerOf({ address }: PrivateKeyAccount): string {
  return ownerOfSubject({ kind: "wallet", wallet: address.toLowerCase() });
}

async function link(user: string, from: PrivateKeyAccount): Promise<void> {
  const claim = { userId: user, address: from.address, chainId: BASE };
  const { message } = await issueWalletChallenge(database.pool, claim, { domain: DOMAIN, random: systemRandom });
  const creditWaiting = async (): Promise<void> => {};
  const signed = { message, signature: await from.signMessage({ message }) };
  const note = async (): Promise<void> => {};
  const deps = { domain: DOMAIN, sealer, random: systemRandom, creditWaiting, ownerId: ownerOf(from), note };
  await linkWallet(database.pool, claim, signed, deps);
}

async function unlink(user: string, { address }: PrivateKeyAccount): Promise<void> {
  const ownerId = ownerOfSubject({ kind: "wallet", wallet: address.toLowerCase() });
  await unlinkWallet(database.pool, { userId: user, address }, { ownerId, note: async () => {} });
}

/** Saves into a bucket, made for an account unless it is there. */
async function save(ownerId: string, bucket: string, objects: number, payer: string): Promise<void> {
  const before = await roots.get({ ownerId, bucket });
  await roots.cas({ ownerId, bucket }, moveTo(before, rootCid(objects), { objects, userId: payer }));
}

let pins = 0;

async function pin(user: string, size: number): Promise<void> {
  pins += 1;
  await database.pool.query(
    "insert into pins (requestid, user_id, cid, size, status) values ($1, $2, $1, $3, 'pinned')",
    [`pin-${pins}`, user, size],
  );
}

async function balances(): Promise<Readonly<Record<string, string>>> {
  const { rows } = await database.pool.query<{ user_id: string; balance: string }>(
    "select user_id, balance_fula as balance from user_credits where balance_fula <> 0",
  );
  return Object.fromEntries(rows.map(({ user_id, balance }) => [user_id, formatUnits(parseUnits(balance))]));
}

async function usage(): Promise<Readonly<Record<string, bigint>>> {
  return Object.fromEntries(await keptUsage(database.pool));
}

async function totals(): Promise<readonly string[]> {
  const { rows } = await database.pool.query<{ bytes: string; units: string }>(
    `select (select coalesce(sum(bytes), 0) from user_usage) as bytes,
            (select coalesce(sum(balance_fula), 0)::numeric(38, 18) from user_credits) as units`,
  );
  return [rows[0]?.bytes ?? "", rows[0]?.units ?? ""];
}

async function expectClean(): Promise<void> {
  expect((await verifyLedger(database.pool)).checks.filter(({ ok }) => !ok)).toEqual([]);
  expect((await compareUsage(database.pool, 10)).differences).toEqual([]);
}

describe("a wallet that is linked to an account", () => {
  const wallet = walletOf(1);
  const own = ownOf(wallet);

  test("brings it what it stores and what it has, and nothing of either is lost or doubled", async () => {
    await save(ownerOf(wallet), "photos", 3, own);
    await save(ownerIdOf(ADA), "photos", 5, ADA);
    await pin(own, 7);
    await creditUser(database.pool, {
      type: "deposit",
      userId: own,
      amountUnits: parseUnits("2.5"),
      reference: "8453:0x1:0",
      referralBonuses: false,
    });
    expect(await usage()).toEqual({ [own]: 307n, [ADA]: 500n });
    await link(ADA, wallet);
    // Two buckets of one name, of two owners, are two contents.
    expect(await usage()).toEqual({ [ADA]: 807n });
    expect(await balances()).toEqual({ [ADA]: "2.5" });
    await expectClean();
  });

  test("has what it saves from then on billed to it, whichever bucket was there", async () => {
    await save(ownerOf(wallet), "photos", 3, own);
    await link(ADA, wallet);
    await save(ownerOf(wallet), "photos", 4, own);
    await save(ownerOf(wallet), "films", 1, ADA);
    expect(await usage()).toEqual({ [ADA]: 500n });
    await expectClean();
  });

  test("has those of its buckets billed that nobody paid for, because an import did not know whose they are", async () => {
    await save(ownerOf(wallet), "photos", 3, own);
    await database.pool.query("update bucket_roots set user_id = null");
    expect(await usage()).toEqual({});
    await link(ADA, wallet);
    expect(await usage()).toEqual({ [ADA]: 300n });
    await expectClean();
  });

  test("brings its debt, and is no longer suspended for it, while the account is", async () => {
    await adjustUser(database.pool, { ...adjustment("x", "-1.25"), userId: own });
    await link(ADA, wallet);
    expect(await balances()).toEqual({ [ADA]: "-1.25" });
    const { rows } = await database.pool.query(
      "select user_id, is_suspended, suspended_at is not null as dated from user_credits order by is_suspended",
    );
    expect(rows).toEqual([
      { user_id: own, is_suspended: 0, dated: false },
      { user_id: ADA, is_suspended: 1, dated: true },
    ]);
    await expectClean();
  });

  test("brings the leases of what it sent to a storage node, one where both had sent it", async () => {
    const lease = `insert into ingest_leases (user_id, cid, bytes, node, expires_at) values`;
    await database.pool.query(`${lease} ($1, 'a', 5, 'n', now() + interval '1 hour'), ($1, 'b', 5, 'n', now())`, [own]);
    await database.pool.query(`${lease} ($1, 'b', 5, 'n', now() + interval '2 hours')`, [ADA]);
    await link(ADA, wallet);
    const { rows } = await database.pool.query(
      "select user_id, cid, expires_at > now() as open from ingest_leases order by cid",
    );
    expect(rows).toEqual([
      { user_id: ADA, cid: "a", open: true },
      { user_id: ADA, cid: "b", open: true },
    ]);
  });

  test("leaves no debt behind: it stays with an account that owes until that is paid", async () => {
    await save(ownerOf(wallet), "photos", 3, own);
    await adjustUser(database.pool, { ...adjustment("owed", "-1.25"), userId: own });
    await link(BEN, wallet);
    await expect(unlink(BEN, wallet)).rejects.toMatchObject({ code: "FULA_WALLET_DEBT" });
    expect(await usage()).toEqual({ [BEN]: 300n });
    await adjustUser(database.pool, { ...adjustment("paid", "1.25"), userId: BEN });
    await unlink(BEN, wallet);
    expect(await usage()).toEqual({ [own]: 300n });
    await expectClean();
  });

  test("takes its buckets with it when it is unlinked, and leaves pins and balance with who paid", async () => {
    await save(ownerOf(wallet), "photos", 3, own);
    await save(ownerIdOf(ADA), "photos", 5, ADA);
    await pin(own, 7);
    await creditUser(database.pool, {
      type: "deposit",
      userId: own,
      amountUnits: 1n,
      reference: "8453:0x2:0",
      referralBonuses: false,
    });
    await link(ADA, wallet);
    await unlink(ADA, wallet);
    expect(await usage()).toEqual({ [own]: 300n, [ADA]: 507n });
    expect(await balances()).toEqual({ [ADA]: formatUnits(1n) });
    await link(BEN, wallet);
    expect(await usage()).toEqual({ [BEN]: 300n, [ADA]: 507n });
    await expectClean();
  });

  test("has what came to its own account too late handed over later, once", async () => {
    await link(ADA, wallet);
    await save(ownerOf(wallet), "photos", 3, own);
    await pin(own, 7);
    await adjustUser(database.pool, { ...adjustment("x", "4"), userId: own });
    expect(await settleLinkedWallets(database.pool, idle)).toBe(1);
    expect(await settleLinkedWallets(database.pool, idle)).toBe(0);
    expect(await usage()).toEqual({ [ADA]: 307n });
    expect(await balances()).toEqual({ [ADA]: "4" });
    await adjustUser(database.pool, { ...adjustment("x", "4"), userId: own });
    expect(await settleLinkedWallets(database.pool, idle)).toBe(1);
    expect(await balances()).toEqual({ [ADA]: "8" });
    await expectClean();
  });

  test("has it handed over though that of another one does not fit into its account", async () => {
    const [first, second] = [walletOf(1), walletOf(2)].toSorted((a, b) => (ownOf(a) < ownOf(b) ? -1 : 1));
    if (first === undefined || second === undefined) throw new Error("two wallets were made");
    await link(ADA, first);
    await link(BEN, second);
    const most = "99999999999999999999";
    for (const user of [ADA, ownOf(first)])
      await adjustUser(database.pool, { ...adjustment(user, most), userId: user });
    await adjustUser(database.pool, { ...adjustment("y", "4"), userId: ownOf(second) });
    await expect(settleLinkedWallets(database.pool, idle)).rejects.toMatchObject({ code: "FULA_AMOUNT_INVALID" });
    expect((await balances())[BEN]).toBe("4");
  });

  test("which two accounts link at once is one's, and its bytes and balance with it", async () => {
    await save(ownerOf(wallet), "photos", 3, own);
    await adjustUser(database.pool, { ...adjustment("x", "4"), userId: own });
    const outcomes = await Promise.allSettled([link(ADA, wallet), link(BEN, wallet)]);
    expect(outcomes.map(({ status }) => status).toSorted()).toEqual(["fulfilled", "rejected"]);
    const winner = outcomes[0]?.status === "fulfilled" ? ADA : BEN;
    expect(await usage()).toEqual({ [winner]: 300n });
    expect(await balances()).toEqual({ [winner]: "4" });
    await expectClean();
  });

  test("while it saves has every save counted for one of both, and in the end for the account", async () => {
    const ownerId = ownerOf(wallet);
    await save(ownerId, "bucket-0", 1, own);
    const saves = Array.from({ length: 12 }, async (_, index) => {
      await save(ownerId, `bucket-${index % 4}`, index + 1, own);
    });
    await Promise.allSettled([...saves, link(ADA, wallet)]);
    await settleLinkedWallets(database.pool, idle);
    const { rows } = await database.pool.query<{ bytes: string }>("select sum(total_bytes) as bytes from bucket_roots");
    expect(await usage()).toEqual({ [ADA]: BigInt(rows[0]?.bytes ?? 0) });
    await expectClean();
  });
});

test("a deposit from a wallet that is linked to nobody goes to its own account, once it has one", async () => {
  const wallet = walletOf(1);
  const own = ownOf(wallet);
  await database.pool.query(
    `insert into token_transactions
            (tx_hash, chain_id, from_address, to_address, amount_raw, amount_fula, block_number, block_timestamp, block_hash)
     values ($1, $2, $3, $4, '2500000000000000000', 2.5, 1, 1, $5)`,
    [`0x${"cd".repeat(32)}`, BASE, wallet.address, `0x${"ab".repeat(20)}`, `0x${"ef".repeat(32)}`],
  );
  const run = { pool: database.pool, chainId: BASE, fence: null, signal: idle, credit: creditUsersTx };
  expect((await creditSettled({ ...run, referralBonuses: false })).count).toBe(0);
  await save(ownerOf(wallet), "photos", 3, own);
  expect(await creditSettled({ ...run, referralBonuses: false })).toMatchObject({ count: 1, refused: 0 });
  expect(await balances()).toEqual({ [own]: "2.5" });
  await link(ADA, wallet);
  expect(await balances()).toEqual({ [ADA]: "2.5" });
  await expectClean();
});

describe("whatever is linked and unlinked in whatever order", () => {
  const wallets = [walletOf(1), walletOf(2)];
  const step = fc.record({
    act: fc.constantFrom("link", "unlink", "save", "pin", "pay", "settle"),
    wallet: fc.nat(1),
    user: fc.constantFrom(ADA, BEN),
    amount: fc.integer({ min: 1, max: 9 }),
  });

  test("the bytes and the FULA of all accounts together stay what they were, and the books are right", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 14 }), async (steps) => {
        await empty();
        const linked = new Map<number, string>();
        for (const { act, wallet: index, user, amount } of steps) {
          const wallet = wallets[index] ?? walletOf(1);
          const payer = linked.get(index) ?? ownOf(wallet);
          const before = await totals();
          if (act === "save") await save(ownerOf(wallet), "photos", amount, payer);
          if (act === "pin") await pin(payer, amount);
          if (act === "pay") {
            await adjustUser(database.pool, { ...adjustment("x", String(amount - 4.5)), userId: ownOf(wallet) });
          }
          if (act === "link" && !linked.has(index)) {
            await link(user, wallet);
            linked.set(index, user);
          }
          if (act === "unlink" && linked.has(index)) {
            const owes = ((await balances())[payer] ?? "0").startsWith("-");
            const unlinked = unlink(payer, wallet);
            if (owes) await expect(unlinked).rejects.toMatchObject({ code: "FULA_WALLET_DEBT" });
            else await unlinked;
            if (!owes) linked.delete(index);
          }
          if (act === "settle") await settleLinkedWallets(database.pool, idle);
          if (["link", "unlink", "settle"].includes(act)) expect(await totals()).toEqual(before);
        }
        await settleLinkedWallets(database.pool, idle);
        const left = new Set(Object.keys({ ...(await usage()), ...(await balances()) }));
        for (const index of linked.keys()) expect(left.has(ownOf(wallets[index] ?? walletOf(1)))).toBe(false);
        await expectClean();
      }),
      property(6, 200),
    );
  });
});

test("a wallet's own account is named by the hash that its deposits are found by", () => {
  const { address } = walletOf(3);
  expect(ownAccountOf(address.toLowerCase())).toBe(walletHash(address));
});
