import { describe, expect, test } from "vitest";
import { createKeyring, type Keyring } from "../../../src/lib/identity/keyring.ts";
import type { SigningKey } from "../../../src/lib/identity/signing-keys.ts";
import { FulaError } from "../../../src/lib/kernel/errors.ts";
import { Secret } from "../../../src/lib/kernel/secret.ts";

const DOWN = new FulaError("FULA_DATABASE_UNREACHABLE", "The ledger does not answer.");

function key(kid: string, signsInMs: number, verifiesForMs: number | null = null): SigningKey {
  return { kid, secret: kid === "env" ? null : new Secret(`secret of ${kid}`), signsInMs, verifiesForMs };
}

/** A ledger whose keys can be changed, and a clock that stands until it is moved. */
class Ledger {
  keys: readonly SigningKey[] = [];
  failure: FulaError | null = null;
  asked = 0;
  ms = 0;

  readonly open = async (
    envSecret: Secret | null = new Secret("of the settings"),
    otherEnvSecrets: readonly Secret[] = [],
  ): Promise<Keyring> => {
    const keyring = createKeyring({
      read: async () => {
        this.asked += 1;
        if (this.failure !== null) throw this.failure;
        return await Promise.resolve(this.keys);
      },
      envSecret,
      otherEnvSecrets,
      clock: { monotonicMs: () => this.ms },
    });
    await keyring.refresh();
    return keyring;
  };
}

async function kids(keyring: Keyring, kid: string | null = null): Promise<readonly string[]> {
  return (await keyring.verifying(kid)).map((each) => each.kid);
}

describe("a keyring", () => {
  test("without keys in the ledger signs and verifies with JWT_SECRET", async () => {
    const keyring = await new Ledger().open();
    expect(keyring.signing().secret.reveal()).toBe("of the settings");
    expect([await kids(keyring), await kids(keyring, "env")]).toEqual([["env"], ["env"]]);
  });

  test("verifies with JWT_SECRET of other epochs too, and signs with the one in use alone", async () => {
    const ledger = new Ledger();
    const keyring = await ledger.open(new Secret("of now"), [new Secret("of next"), new Secret("of before")]);
    const secrets = (await keyring.verifying("env")).map(({ secret }) => secret.reveal());
    expect(secrets).toEqual(["of now", "of next", "of before"]);
    expect(keyring.signing().secret.reveal()).toBe("of now");
    ledger.keys = [key("new", -1_000), key("env", -9_000, -1)];
    await keyring.refresh();
    expect(await kids(keyring)).toEqual(["new"]);
  });

  test("without any key says so, and verifies nothing", async () => {
    const keyring = await new Ledger().open(null);
    expect(() => keyring.signing()).toThrow(expect.objectContaining({ code: "FULA_SIGNING_KEY_MISSING" }));
    expect(await kids(keyring)).toEqual([]);
  });

  test("tells how old what it knows is, and which keys it cannot open while they are in force", async () => {
    const ledger = new Ledger();
    const lost = { ...key("lost", -1_000), secret: null };
    ledger.keys = [lost, { ...lost, kid: "over", verifiesForMs: -1 }, key("good", -2_000), key("env", -9_000, 1_000)];
    const keyring = await ledger.open();
    expect(keyring.state()).toEqual({ ageMs: 0, unopened: ["lost"] });
    expect([keyring.signing().kid, await kids(keyring)]).toEqual(["good", ["good", "env"]]);
    ledger.failure = DOWN;
    ledger.ms = 31_000;
    await expect(keyring.refresh()).rejects.toBe(DOWN);
    expect(keyring.state().ageMs).toBe(31_000);
  });

  test("signs with a new key once its time has come, and verifies with it from the start", async () => {
    const ledger = new Ledger();
    ledger.keys = [key("new", 30_000), key("old", -1_000, 90_000)];
    const keyring = await ledger.open();
    expect([keyring.signing().kid, await kids(keyring)]).toEqual(["old", ["new", "old", "env"]]);
    ledger.ms = 30_000;
    expect(keyring.signing().kid).toBe("new");
  });

  test("verifies with the key of before until its overlap is over, and not for a moment longer", async () => {
    const ledger = new Ledger();
    ledger.keys = [key("new", 0), key("old", -1_000, 90_000)];
    const keyring = await ledger.open();
    ledger.ms = 89_999;
    expect(await kids(keyring, "old")).toEqual(["old"]);
    ledger.ms = 90_000;
    expect([await kids(keyring, "old"), await kids(keyring)]).toEqual([[], ["new", "env"]]);
    expect(ledger.asked).toBe(1);
  });

  test("takes JWT_SECRET out of use where the ledger says so", async () => {
    const ledger = new Ledger();
    ledger.keys = [key("new", 0), key("env", -1_000, 10)];
    const keyring = await ledger.open();
    expect(await kids(keyring, "env")).toEqual(["env"]);
    ledger.ms = 10;
    expect([await kids(keyring, "env"), await kids(keyring)]).toEqual([[], ["new"]]);
  });

  test("asks for a key that is new to it, once for all who ask, and not more often than once a second", async () => {
    const ledger = new Ledger();
    const keyring = await ledger.open();
    ledger.keys = [key("new", 0)];
    ledger.ms = 999;
    expect([await kids(keyring, "new"), ledger.asked]).toEqual([[], 1]);
    ledger.ms = 1_000;
    const many = await Promise.all(Array.from({ length: 50 }, async () => await kids(keyring, "new")));
    expect([new Set(many.flat()), ledger.asked]).toEqual([new Set(["new"]), 2]);
    for (let times = 0; times < 50; times += 1) await kids(keyring, `made up ${times}`);
    expect(ledger.asked).toBe(2);
  });

  test("goes on verifying with the keys that it knows while the ledger is silent, and refuses to judge others", async () => {
    const ledger = new Ledger();
    ledger.keys = [key("one", 0)];
    const keyring = await ledger.open();
    ledger.failure = DOWN;
    ledger.ms = 3_600_000;
    await expect(keyring.refresh()).rejects.toBe(DOWN);
    expect([await kids(keyring, "one"), keyring.signing().kid]).toEqual([["one"], "one"]);
    ledger.ms += 1_000;
    await expect(keyring.verifying("two")).rejects.toBe(DOWN);
  });
});
