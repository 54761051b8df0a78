import { expect, test } from "vitest";
import type { AccessKey } from "../../../src/lib/identity/access-key.ts";
import { createKeyCache } from "../../../src/lib/identity/key-cache.ts";
import { FulaError } from "../../../src/lib/kernel/errors.ts";
import { Secret } from "../../../src/lib/kernel/secret.ts";
import { accessKey } from "../../support/signing.ts";
import { ManualClock } from "../../support/manual-clock.ts";

const KEY: AccessKey = accessKey({ keyId: "k", secret: new Secret("s") });
const DOWN = new FulaError("FULA_DATABASE_UNREACHABLE", "The ledger does not answer.");

/** A ledger that can be taken away. */
class Ledger {
  key: AccessKey | null = KEY;
  answer: "at once" | "never" | FulaError = "at once";
  asked = 0;

  readonly find = async (): Promise<AccessKey | null> => {
    this.asked += 1;
    if (this.answer === "never") await new Promise(() => {});
    if (this.answer instanceof FulaError) throw this.answer;
    return this.key;
  };
}

test("a key is asked for once in two seconds, and refused after them at the latest", async () => {
  const [ledger, clock] = [new Ledger(), new ManualClock()];
  const find = createKeyCache({ find: ledger.find, clock, staleMaxMs: 60_000 });
  expect(await find("k")).toEqual({ key: KEY, staleMs: null });
  ledger.key = { ...KEY, revoked: true };
  await clock.step(1_999);
  expect(await find("k")).toEqual({ key: KEY, staleMs: null });
  expect(ledger.asked).toBe(1);
  await clock.step(1);
  expect((await find("k"))?.key.revoked).toBe(true);
  ledger.answer = DOWN;
  await expect(find("k")).rejects.toBe(DOWN);
});

test("a key that is not there is asked for every time", async () => {
  const [ledger, clock] = [new Ledger(), new ManualClock()];
  ledger.key = null;
  const find = createKeyCache({ find: ledger.find, clock, staleMaxMs: 60_000 });
  expect([await find("k"), await find("k"), ledger.asked]).toEqual([null, null, 2]);
});

test("while the ledger fails, a known key is told as stale, but not for ever; an unknown one fails", async () => {
  const [ledger, clock] = [new Ledger(), new ManualClock()];
  const find = createKeyCache({ find: ledger.find, clock, staleMaxMs: 60_000 });
  await find("k");
  ledger.answer = DOWN;
  await clock.step(10_000);
  expect(await find("k")).toEqual({ key: KEY, staleMs: 10_000 });
  await expect(find("other")).rejects.toBe(DOWN);
  await clock.step(50_001);
  await expect(find("k")).rejects.toBe(DOWN);
  ledger.answer = "at once";
  expect(await find("k")).toEqual({ key: KEY, staleMs: null });
});

test("a ledger that hangs is not waited for where the key is known", async () => {
  const [ledger, clock] = [new Ledger(), new ManualClock()];
  const find = createKeyCache({ find: ledger.find, clock, staleMaxMs: 60_000 });
  await find("k");
  ledger.answer = "never";
  await clock.step(5_000);
  const found = find("k");
  await clock.step(2_000);
  expect(await found).toEqual({ key: KEY, staleMs: 7_000 });
});

test("an error of another kind is no outage", async () => {
  const [ledger, clock] = [new Ledger(), new ManualClock()];
  const find = createKeyCache({ find: ledger.find, clock, staleMaxMs: 60_000 });
  await find("k");
  ledger.answer = new FulaError("FULA_ENCRYPTION_KEY_WRONG", "The key does not open.");
  await clock.step(5_000);
  await expect(find("k")).rejects.toBe(ledger.answer);
});

test("what asks for a key at the same time asks once, but joins no question that is older than an answer may be", async () => {
  const [ledger, clock] = [new Ledger(), new ManualClock()];
  const find = createKeyCache({ find: ledger.find, clock, staleMaxMs: 60_000 });
  await Promise.all([find("k"), find("k"), find("k")]);
  expect(ledger.asked).toBe(1);
  await clock.step(5_000);
  expect(await Promise.all([find("k"), find("k")])).toHaveLength(2);
  expect(ledger.asked).toBe(2);
  ledger.answer = "never";
  await clock.step(5_000);
  const [hanging] = [find("k")];
  await clock.step(2_000);
  expect((await hanging)?.staleMs).toBe(7_000);
  ledger.answer = "at once";
  expect((await find("k"))?.staleMs).toBeNull();
});

test("who makes keys up takes four questions of the ledger at most, and nothing from those whose keys are known", async () => {
  const [ledger, clock] = [new Ledger(), new ManualClock()];
  const find = createKeyCache({ find: ledger.find, clock, staleMaxMs: 60_000 });
  await find("k");
  ledger.answer = "never";
  const made = Array.from({ length: 256 }, (_, index) => find(`made-up-${index}`));
  for (const each of made) each.catch(() => {});
  expect(ledger.asked).toBe(5);
  await expect(find("one-more")).rejects.toMatchObject({ code: "FULA_KEY_LOOKUPS_FULL" });
  await clock.step(5_000);
  ledger.answer = "at once";
  expect(await find("k")).toEqual({ key: KEY, staleMs: null });
  await clock.step(5_000);
  await expect(made[0]).rejects.toMatchObject({ code: "FULA_DATABASE_UNREACHABLE" });
  expect((await made[255])?.key).toEqual(KEY);
});
