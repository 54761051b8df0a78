import { createHash } from "node:crypto";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { type PrivateKeyAccount, privateKeyToAccount } from "viem/accounts";
import { issueWalletChallenge, type WalletChallenge } from "../../../src/lib/billing/wallet-challenges.ts";
import { walletHash } from "../../../src/lib/billing/wallet-message.ts";
import { linkWallet, listWallets, unlinkWallet, type Wallet } from "../../../src/lib/billing/wallets.ts";
import { createSecretSealer } from "../../../src/lib/identity/sealed-secret.ts";
import { FulaError } from "../../../src/lib/kernel/errors.ts";
import { systemRandom } from "../../../src/lib/kernel/random.ts";
import { Secret } from "../../../src/lib/kernel/secret.ts";
import { freshDatabase, type TestDatabase } from "../../support/postgres.ts";

const DOMAIN = "cloud.example.org";
const ALICE = "a".repeat(64);
const BOB = "b".repeat(64);
const BASE = 8453;
const sealer = createSecretSealer(new Secret("5a".repeat(32)), "wallet addresses");
const account = walletOf(1);

function walletOf(number: number): PrivateKeyAccount {
  return privateKeyToAccount(`0x${number.toString(16).padStart(64, "0")}`);
}

let database: TestDatabase;

beforeAll(async () => {
  database = await freshDatabase();
});
beforeEach(async () => {
  await database.pool.query("truncate user_wallets, wallet_owners, wallet_challenges");
});
afterAll(async () => {
  await database.drop();
});

async function challenge(userId = ALICE, from = account, chainId = BASE): Promise<WalletChallenge> {
  return await issueWalletChallenge(
    database.pool,
    { userId, address: from.address, chainId },
    { domain: DOMAIN, random: systemRandom },
  );
}

interface Attempt {
  readonly userId?: string;
  readonly from?: PrivateKeyAccount;
  readonly chainId?: number;
  readonly domain?: string;
  readonly signature?: string;
  readonly creditWaiting?: () => Promise<void>;
}

async function link(message: string, attempt: Attempt = {}): Promise<Wallet> {
  const { userId = ALICE, from = account, chainId = BASE, domain = DOMAIN, creditWaiting = async () => {} } = attempt;
  const signature = attempt.signature ?? (await from.signMessage({ message }));
  const deps = { domain, sealer, random: systemRandom, creditWaiting, ownerId: "0f".repeat(16), note: async () => {} };
  return await linkWallet(database.pool, { userId, address: from.address, chainId }, { message, signature }, deps);
}

async function unlink(userId: string, address: PrivateKeyAccount["address"]): Promise<number> {
  return await unlinkWallet(database.pool, { userId, address }, { ownerId: "0f".repeat(16), note: async () => {} });
}

async function codesOf(attempts: readonly Promise<unknown>[]): Promise<readonly string[]> {
  const outcomes = await Promise.allSettled(attempts);
  return outcomes.map((outcome) => {
    if (outcome.status === "fulfilled") return "linked";
    const { reason } = outcome;
    return reason instanceof Error && "code" in reason ? String(reason.code) : String(reason);
  });
}

async function wallets(): Promise<readonly object[]> {
  const { rows } = await database.pool.query<object>("select * from user_wallets order by id");
  return rows;
}

describe("a wallet is linked", () => {
  test("by the text that was given out for it, and its address can be read again (defect 25)", async () => {
    const { message } = await challenge();
    expect(message).toContain(`${DOMAIN} wants you to sign in with your Ethereum account:\n${account.address}`);
    expect(message).toContain(ALICE);
    const linked = await link(message);
    expect(linked).toMatchObject({ address: account.address, chainId: BASE, verified: true });
    expect(await listWallets(database.pool, ALICE, sealer)).toEqual([linked]);
  });

  test("sealed: neither table nor dump has the address, and its hash is the fleet's", async () => {
    await link((await challenge()).message);
    const [row] = await wallets();
    expect(row).toMatchObject({
      user_id: ALICE,
      wallet_address: null,
      wallet_address_hash: createHash("sha256").update(account.address.toLowerCase()).digest("hex"),
      is_verified: 1,
    });
    expect(JSON.stringify(row).toLowerCase()).not.toContain(account.address.slice(2).toLowerCase());
    const { rows } = await database.pool.query("select row_to_json(c)::text as text from wallet_challenges c");
    expect(JSON.stringify(rows).toLowerCase()).not.toContain(account.address.slice(2).toLowerCase());
  });

  test("and its address stays unknown, not wrong, where other software or another key sealed it", async () => {
    await link((await challenge()).message);
    await database.pool.query(
      "insert into user_wallets (user_id, chain_id, wallet_address_hash, encrypted_wallet_address, is_verified) values ($1, 1, 'h', 'iv:tag:text', 1)",
      [ALICE],
    );
    const other = createSecretSealer(new Secret("6b".repeat(32)), "wallet addresses");
    const found = await listWallets(database.pool, ALICE, other);
    expect(found.map(({ address }) => address)).toEqual([null, null]);
  });

  test("with what waits for it credited in the same transaction: when that fails, nothing is linked", async () => {
    const { message } = await challenge();
    const failing = async (): Promise<void> => {
      await Promise.resolve();
      throw new Error("no credit");
    };
    await expect(link(message, { creditWaiting: failing })).rejects.toThrow("no credit");
    expect(await wallets()).toEqual([]);
    await link(message);
    expect(await wallets()).toHaveLength(1);
  });

  test("though a deposit from it is none that the ledger takes", async () => {
    const taken = async (): Promise<void> => {
      await Promise.resolve();
      throw new FulaError("FULA_CREDIT_REFERENCE_TAKEN", "It stands for something else.");
    };
    expect(await link((await challenge()).message, { creditWaiting: taken })).toMatchObject({ verified: true });
    expect(await wallets()).toHaveLength(1);
  });

  test("on a second chain too, by the same user", async () => {
    await link((await challenge()).message);
    await link((await challenge(ALICE, account, 1)).message, { chainId: 1 });
    expect((await listWallets(database.pool, ALICE, sealer)).map(({ chainId }) => chainId)).toEqual([1, BASE]);
  });

  test("and taken off again, on every chain; then another user may link it", async () => {
    await link((await challenge()).message);
    await link((await challenge(ALICE, account, 1)).message, { chainId: 1 });
    expect(await unlink(ALICE, account.address)).toBe(2);
    await expect(unlink(ALICE, account.address)).rejects.toMatchObject({
      code: "FULA_WALLET_NOT_FOUND",
    });
    await link((await challenge(BOB)).message, { userId: BOB });
    const { rows } = await database.pool.query("select user_id from wallet_owners where wallet_address_hash = $1", [
      walletHash(account.address),
    ]);
    expect(rows).toEqual([{ user_id: BOB }]);
  });
});

describe("a signature links nothing (defect 6)", () => {
  test("a second time", async () => {
    const { message } = await challenge();
    await link(message);
    await expect(link(message)).rejects.toMatchObject({ code: "FULA_WALLET_CHALLENGE_USED" });
    await unlink(ALICE, account.address);
    await expect(link(message)).rejects.toMatchObject({ code: "FULA_WALLET_CHALLENGE_USED" });
  });

  test("twice at the same time", async () => {
    const { message } = await challenge();
    const signature = await account.signMessage({ message });
    const codes = await codesOf(Array.from({ length: 8 }, async () => await link(message, { signature })));
    expect(codes.toSorted()).toEqual([...Array<string>(7).fill("FULA_WALLET_CHALLENGE_USED"), "linked"]);
  });

  test("after its ten minutes, by the database's clock", async () => {
    const { message, issuedAt, expiresAt } = await challenge();
    expect(Date.parse(expiresAt) - Date.parse(issuedAt)).toBe(600_000);
    await database.pool.query(
      "update wallet_challenges set issued_at = issued_at - interval '11 minutes', expires_at = expires_at - interval '11 minutes'",
    );
    await expect(link(message)).rejects.toMatchObject({
      code: "FULA_WALLET_CHALLENGE",
      message: expect.stringMatching(/was good until/),
    });
  });

  test("for another user, another wallet or another chain than it was given out for", async () => {
    const { message } = await challenge();
    const other = walletOf(2);
    for (const attempt of [{ userId: BOB }, { chainId: 1 }]) {
      await expect(link(message, attempt)).rejects.toMatchObject({ code: "FULA_WALLET_CHALLENGE" });
    }
    // Signed by the wallet that asks to be linked, but given out for another one.
    await expect(link(message, { from: other })).rejects.toMatchObject({ code: "FULA_WALLET_CHALLENGE" });
    const foreign = await other.signMessage({ message });
    await expect(link(message, { signature: foreign })).rejects.toMatchObject({ code: "FULA_WALLET_SIGNATURE" });
    expect(await wallets()).toEqual([]);
    await link(message);
  });

  test("on a site of another domain", async () => {
    const { message } = await challenge();
    await expect(link(message, { domain: "evil.example" })).rejects.toMatchObject({
      code: "FULA_WALLET_CHALLENGE",
      message: expect.stringContaining(DOMAIN),
    });
    const lured = message.replaceAll(DOMAIN, "evil.example");
    await expect(link(lured)).rejects.toMatchObject({ code: "FULA_WALLET_CHALLENGE" });
  });

  test("under a text that was changed, even where its nonce is good and its signature too", async () => {
    const { message } = await challenge();
    for (const changed of [
      message.replace(ALICE, BOB),
      message.replace("Chain ID: 8453", "Chain ID: 1"),
      message.replace(/Expiration Time: .*/, "Expiration Time: 2099-01-01T00:00:00.000Z"),
      `${message}\n`,
    ]) {
      await expect(link(changed), changed).rejects.toMatchObject({ code: "FULA_WALLET_CHALLENGE" });
    }
    for (const text of ["", "link my wallet", "I am a@example.org"]) {
      await expect(link(text), text).rejects.toMatchObject({ code: "FULA_WALLET_CHALLENGE" });
    }
    await link(message);
  });
});

describe("a wallet that another user has verified", () => {
  test("is not linked, and the text stays good for when it is free", async () => {
    await link((await challenge()).message);
    const { message } = await challenge(BOB);
    await expect(link(message, { userId: BOB })).rejects.toMatchObject({
      code: "FULA_WALLET_TAKEN",
      message: `The wallet ${account.address} belongs to another account.`,
    });
    await unlink(ALICE, account.address);
    await link(message, { userId: BOB });
  });

  test("two users who link it at the same time: one has it, the other is told", async () => {
    const users = Array.from({ length: 6 }, (_, index) => String(index).repeat(64));
    const texts = await Promise.all(users.map(async (user) => (await challenge(user)).message));
    const codes = await codesOf(texts.map(async (text, index) => await link(text, { userId: users[index] ?? "" })));
    expect(codes.toSorted()).toEqual([...Array<string>(5).fill("FULA_WALLET_TAKEN"), "linked"]);
    expect(await wallets()).toHaveLength(1);
  });
});

test("texts that nobody signed are swept away a day later, and no others", async () => {
  const old = await challenge();
  await database.pool.query(
    "update wallet_challenges set issued_at = issued_at - interval '25 hours', expires_at = expires_at - interval '25 hours'",
  );
  const fresh = await challenge();
  await challenge(BOB);
  const { rows } = await database.pool.query<{ nonce_hash: string }>("select nonce_hash from wallet_challenges");
  const hashes = rows.map(({ nonce_hash }) => nonce_hash);
  const hashOf = (nonce: string): string => createHash("sha256").update(nonce).digest("hex");
  expect(hashes).not.toContain(hashOf(old.nonce));
  expect(hashes).toContain(hashOf(fresh.nonce));
});
