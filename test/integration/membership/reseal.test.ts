import { afterEach, beforeEach, expect, test } from "vitest";
import { createAccessKey, findAccessKey } from "../../../src/lib/identity/key-table.ts";
import { createSecretSealer } from "../../../src/lib/identity/sealed-secret.ts";
import { readSigningKeys, rotateSigningKey } from "../../../src/lib/identity/signing-keys.ts";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { systemRandom } from "../../../src/lib/kernel/random.ts";
import { Secret } from "../../../src/lib/kernel/secret.ts";
import { listWallets } from "../../../src/lib/billing/wallets.ts";
import { walletHash } from "../../../src/lib/billing/wallet-message.ts";
import { renderOtherEpochs } from "../../../src/lib/stack/other-epochs.ts";
import { type ResealReport, resealLedger } from "../../../src/lib/stack/reseal.ts";
import { freshDatabase, type TestDatabase } from "../../support/postgres.ts";

const OLD = new Secret("ab".repeat(32));
const NEXT = new Secret("cd".repeat(32));
const FOREIGN = new Secret("ef".repeat(32));
const USER = "a".repeat(64);
const ADDRESS = "0x52908400098527886e0f7030069857d2e4169ee7";

let database: TestDatabase;

beforeEach(async () => {
  database = await freshDatabase();
});
afterEach(async () => {
  await database.drop();
});

function secretsOf(encryptionKey: Secret, others: readonly Secret[]): Parameters<typeof resealLedger>[1]["secrets"] {
  const keys = others.map((key, at) => ({
    epoch: at + 1,
    systemKey: key,
    jwtSecret: key,
    sessionSecret: key,
    encryptionKey: key,
  }));
  const none = { postgresPassword: null, clusterSecret: null, swarmKey: null, pinServiceSecret: null };
  const rest = { systemKey: null, jwtSecret: null, sessionSecret: null, otherMasterSecrets: renderOtherEpochs(keys) };
  return { ...none, ...rest, encryptionKey };
}

async function reseal(secrets: ReturnType<typeof secretsOf>): Promise<ResealReport> {
  return await resealLedger(database.pool, { secrets }, { clock: systemClock, random: systemRandom });
}

async function makeKey(encryptionKey: Secret): Promise<string> {
  const subject = { kind: "user", userId: USER } as const;
  const key = {
    subject,
    scopes: ["storage:read"],
    label: "",
    expiresMs: null,
    bearerOnly: false,
    actor: "test",
  } as const;
  const sealer = createSecretSealer(encryptionKey);
  return (await createAccessKey(database.pool, key, { sealer, random: systemRandom })).pair.keyId;
}

async function rotate(encryptionKey: Secret): Promise<void> {
  const rotation = { overlapMs: 60_000, propagationMs: 0, retireEnv: false, actor: "test" };
  const sealer = createSecretSealer(encryptionKey, "signing keys");
  await rotateSigningKey(database.pool, rotation, { sealer, random: systemRandom });
}

async function storeWallet(encryptionKey: Secret): Promise<void> {
  const sealer = createSecretSealer(encryptionKey, "wallet addresses");
  const sealed = Buffer.from(sealer.seal(new Secret(ADDRESS), `wallet of user ${USER}`, systemRandom));
  await database.pool.query(
    `insert into user_wallets (user_id, chain_id, wallet_address_hash, encrypted_wallet_address, is_verified)
     values ($1, 1, $2, $3, 1), ($1, 2, $2, 'sealed by other software', 1)`,
    [USER, walletHash(ADDRESS), `fm1:${sealed.toString("base64url")}`],
  );
}

test("everything that an older key sealed is sealed anew, and then opens without it; a second time nothing is to be done", async () => {
  const keys = [await makeKey(OLD), await makeKey(NEXT)];
  await rotate(OLD);
  await storeWallet(OLD);
  expect(await reseal(secretsOf(NEXT, [OLD]))).toEqual({ resealed: 3, current: 1, unopened: 0 });
  for (const key of keys) {
    expect((await findAccessKey(database.pool, createSecretSealer(NEXT), key))?.secret?.reveal()).toMatch(/\S{40}/);
  }
  const signing = await readSigningKeys(database.pool, createSecretSealer(NEXT, "signing keys"));
  expect(signing.map(({ secret }) => secret === null)).toEqual([false]);
  const wallets = await listWallets(database.pool, USER, createSecretSealer(NEXT, "wallet addresses"));
  expect(new Set(wallets.map(({ address }) => address))).toEqual(new Set([ADDRESS, null]));
  expect(await reseal(secretsOf(NEXT, [OLD]))).toEqual({ resealed: 0, current: 4, unopened: 0 });
});

test("what no known key opens is counted and stays as it is", async () => {
  const key = await makeKey(FOREIGN);
  await makeKey(OLD);
  expect(await reseal(secretsOf(NEXT, [OLD]))).toEqual({ resealed: 1, current: 0, unopened: 1 });
  expect((await findAccessKey(database.pool, createSecretSealer(FOREIGN), key))?.secret).not.toBeNull();
});

test("where one row cannot be written, all of them open as they did before", async () => {
  const keys = [await makeKey(OLD), await makeKey(OLD)];
  await rotate(OLD);
  await database.pool.query(
    `create function refuse() returns trigger language plpgsql as $$ begin raise exception 'no'; end $$;
     create trigger refuse before update on signing_keys for each row execute function refuse()`,
  );
  await expect(reseal(secretsOf(NEXT, [OLD]))).rejects.toThrow("no");
  for (const key of keys) {
    expect((await findAccessKey(database.pool, createSecretSealer(OLD), key))?.secret).not.toBeNull();
  }
});
