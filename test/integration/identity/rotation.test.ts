import { randomBytes } from "node:crypto";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { scopesOf, type Verdict } from "../../../src/lib/identity/bearer.ts";
import { jwtVerifier } from "../../../src/lib/identity/bearer-jwt.ts";
import { createKeyring, type Keyring } from "../../../src/lib/identity/keyring.ts";
import { createSecretSealer } from "../../../src/lib/identity/sealed-secret.ts";
import { signSessionToken } from "../../../src/lib/identity/session-token.ts";
import { listSigningKeys, readSigningKeys, rotateSigningKey } from "../../../src/lib/identity/signing-keys.ts";
import { type Clock, systemClock } from "../../../src/lib/kernel/clock.ts";
import { systemRandom } from "../../../src/lib/kernel/random.ts";
import { Secret } from "../../../src/lib/kernel/secret.ts";
import { freshDatabase, type TestDatabase } from "../../support/postgres.ts";

const ENCRYPTION_KEY = new Secret(randomBytes(32).toString("hex"));
const ENV_SECRET = new Secret(randomBytes(32).toString("hex"));
const USER = "a".repeat(64);
const MINUTE_MS = 60_000;
const sealer = createSecretSealer(ENCRYPTION_KEY, "signing keys");
const otherSealer = createSecretSealer(new Secret("ab".repeat(32)), "signing keys");
let database: TestDatabase;

beforeAll(async () => {
  database = await freshDatabase();
});
afterAll(async () => {
  await database.drop();
});
beforeEach(async () => {
  await database.pool.query("delete from signing_keys");
});

/** A master, as far as tokens are concerned. */
async function openMaster(clock: Pick<Clock, "monotonicMs"> = systemClock): Promise<Keyring> {
  const read = async (): ReturnType<typeof readSigningKeys> => await readSigningKeys(database.pool, sealer);
  const keyring = createKeyring({ read, envSecret: ENV_SECRET, clock });
  await keyring.refresh();
  return keyring;
}

async function sign(keyring: Keyring): Promise<string> {
  const issuedMs = systemClock.nowMs();
  const claims = {
    subject: { kind: "user", userId: USER },
    scopes: scopesOf("storage:*"),
    madeFrom: null,
    madeFromKey: null,
  } as const;
  const times = { issuedMs, expiresMs: issuedMs + 3_600_000 };
  return await signSessionToken(keyring.signing(), { ...claims, ...times, id: systemRandom.uuid() });
}

async function verify(keyring: Keyring, bearer: string): Promise<Verdict["state"]> {
  const facts = { keyring, clock: systemClock, withoutExpiry: true, isRevoked: async () => false };
  return (await jwtVerifier(facts).verify({ bearer, serviceAuth: null })).state;
}

async function rotate(overlapMs: number, propagationMs: number, retireEnv = false, by = sealer): Promise<string> {
  const rotation = { overlapMs, propagationMs, retireEnv, actor: "operator@test" };
  return (await rotateSigningKey(database.pool, rotation, { sealer: by, random: systemRandom })).kid;
}

describe("a rotation of the keys that sign tokens", () => {
  test("fails no request at either of two masters: each token is good at the other all the time", async () => {
    let passedMs = 0;
    const clock = { monotonicMs: () => passedMs };
    const masters = [await openMaster(clock), await openMaster(clock)] as const;
    const early = await sign(masters[0]);
    const kid = await rotate(3_600_000, 10 * MINUTE_MS);
    // Each hears of it at another time, before the key signs.
    await masters[0].refresh();
    const signing = (): readonly string[] => masters.map((master) => master.signing().kid);
    expect(signing()).toEqual(["env", "env"]);
    for (; passedMs <= 16 * MINUTE_MS; passedMs += MINUTE_MS) {
      for (const [signer, verifier] of [masters, masters.toReversed()] as const) {
        expect(await verify(verifier ?? masters[0], await sign(signer ?? masters[1]))).toBe("accepted");
      }
      expect(await verify(masters[1], early)).toBe("accepted");
      if (passedMs === 5 * MINUTE_MS) await masters[1].refresh();
    }
    expect(signing()).toEqual([kid, kid]);
  });

  test("ends the tokens of before with the overlap, and those of JWT_SECRET only where that is retired", async () => {
    const master = await openMaster();
    const ofEnv = await sign(master);
    await rotate(0, 0);
    await master.refresh();
    const ofFirst = await sign(master);
    expect([await verify(master, ofEnv), await verify(master, ofFirst)]).toEqual(["accepted", "accepted"]);
    await rotate(0, 0, true);
    await master.refresh();
    const ofSecond = await sign(master);
    const states = [await verify(master, ofEnv), await verify(master, ofFirst), await verify(master, ofSecond)];
    expect(states).toEqual(["refused", "refused", "accepted"]);
    // For good: neither a later rotation nor a new process brings it back.
    await rotate(3_600_000, 0);
    expect(await verify(await openMaster(), ofEnv)).toBe("refused");
  });

  test("is one at a time, whoever begins two: each gives the other's key its end", async () => {
    await Promise.all([rotate(60_000, 0), rotate(60_000, 0), rotate(60_000, 0)]);
    const keys = await listSigningKeys(database.pool);
    expect(keys.map(({ verifiesUntil }) => verifiesUntil === null)).toEqual([true, false, false]);
  });

  test("is refused where more keys would verify than may be tried for each token", async () => {
    for (let times = 0; times < 16; times += 1) await rotate(3_600_000, 0);
    await expect(rotate(3_600_000, 0)).rejects.toMatchObject({ code: "FULA_SIGNING_KEYS_TOO_MANY" });
    expect(await listSigningKeys(database.pool)).toHaveLength(16);
  });

  test("under another ENCRYPTION_KEY keeps no master from knowing the keys that it can open, and which are over", async () => {
    const master = await openMaster();
    await rotate(0, 0);
    await master.refresh();
    const early = await sign(master);
    const unopened = await rotate(0, 0, false, otherSealer);
    const kid = await rotate(60_000, 0);
    await master.refresh();
    expect(await verify(master, early)).toBe("refused");
    expect(master.signing().kid).toBe(kid);
    expect(await master.verifying(unopened)).toEqual([]);
    expect((await openMaster()).signing().kid).toBe(kid);
  });

  test("leaves the secret sealed, and a master with another ENCRYPTION_KEY reads none of it", async () => {
    await rotate(0, 0);
    await expect(readSigningKeys(database.pool, otherSealer)).rejects.toMatchObject({
      code: "FULA_ENCRYPTION_KEY_WRONG",
    });
    const { rows } = await database.pool.query(
      "select action, target_id from admin_audit_log order by id desc limit 1",
    );
    const [key] = await listSigningKeys(database.pool);
    expect(rows).toEqual([{ action: "key.rotate", target_id: key?.kid }]);
  });
});
