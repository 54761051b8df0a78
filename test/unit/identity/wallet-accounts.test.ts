import { describe, expect, test } from "vitest";
import { ownAccountOf } from "../../../src/lib/identity/subject.ts";
import { createWalletAccounts } from "../../../src/lib/identity/wallet-accounts.ts";
import { FulaError } from "../../../src/lib/kernel/errors.ts";
import { ManualClock } from "../../support/manual-clock.ts";

const WALLET = `0x${"b".repeat(40)}`;
const ADA = "a".repeat(64);

function box() {
  const clock = new ManualClock();
  const ledger = { owner: null as string | null, isSilent: false, asked: 0 };
  const accountOf = createWalletAccounts({
    readOwner: async () => {
      ledger.asked += 1;
      await Promise.resolve();
      if (ledger.isSilent) throw new FulaError("FULA_DATABASE_UNREACHABLE", "silent");
      return ledger.owner;
    },
    clock,
    staleMaxMs: 30_000,
  });
  return { clock, ledger, accountOf };
}

describe("the account that pays for a wallet", () => {
  test("is its own until it is linked, and the other one two seconds later at the latest", async () => {
    const { clock, ledger, accountOf } = box();
    expect(await accountOf(WALLET)).toEqual({ userId: ownAccountOf(WALLET), staleMs: null });
    ledger.owner = ADA;
    await clock.step(1_999);
    expect(await accountOf(WALLET)).toEqual({ userId: ownAccountOf(WALLET), staleMs: null });
    expect(ledger.asked).toBe(1);
    await clock.step(1);
    expect(await accountOf(WALLET)).toEqual({ userId: ADA, staleMs: null });
  });

  test("is asked for once by all who ask at the same time", async () => {
    const { ledger, accountOf } = box();
    await Promise.all(Array.from({ length: 50 }, async () => await accountOf(WALLET)));
    expect(ledger.asked).toBe(1);
  });

  test("is the last one that was known while the ledger is silent, with its age, and then none", async () => {
    const { clock, ledger, accountOf } = box();
    ledger.owner = ADA;
    await accountOf(WALLET);
    ledger.isSilent = true;
    await clock.step(30_000);
    expect(await accountOf(WALLET)).toEqual({ userId: ADA, staleMs: 30_000 });
    await clock.step(1);
    await expect(accountOf(WALLET)).rejects.toMatchObject({ code: "FULA_DATABASE_UNREACHABLE" });
  });

  test("is never guessed where it was not known before", async () => {
    const { ledger, accountOf } = box();
    ledger.isSilent = true;
    await expect(accountOf(WALLET)).rejects.toMatchObject({ code: "FULA_DATABASE_UNREACHABLE" });
  });
});
