import { describe, expect, test } from "vitest";
import { createIdentities, type Identities, type Verdict } from "../../../src/lib/identity/bearer.ts";
import { rememberIdentities } from "../../../src/lib/identity/remembered-identities.ts";
import { ManualClock } from "../../support/manual-clock.ts";

const USER = "ab".repeat(32);

/** Identities that can be changed, and what they were asked. */
class Ledger {
  readonly clock = new ManualClock();
  readonly asked: string[] = [];
  answer: Verdict = this.accepted(null);
  isDenied = false;
  /** Null where questions are answered at once. */
  gate: Promise<void> | null = null;
  readonly identities: Identities = rememberIdentities(
    createIdentities({
      verifiers: [
        {
          verify: async ({ bearer, serviceAuth }) => {
            this.asked.push(bearer ?? serviceAuth ?? "");
            await this.gate;
            return bearer === "stranger" ? { state: "absent" } : this.answer;
          },
        },
      ],
      denials: { judge: () => (this.isDenied ? "denied" : "allowed") },
      accountOf: async () => await Promise.reject(new Error("Nobody is a wallet here")),
    }),
    this.clock,
  );

  accepted(expiresMs: number | null): Verdict {
    const credential = { digest: "00".repeat(32), issuedMs: null, expiresMs };
    const scopes = new Set(["read"] as const);
    return { state: "accepted", identity: { subject: { kind: "user", userId: USER }, scopes, by: "jwt", credential } };
  }

  async stateOf(bearer: string): Promise<string> {
    return (await this.identities.identify({ bearer, serviceAuth: null })).state;
  }
}

describe("a token that was accepted", () => {
  test("is not asked about again for two seconds, and then it is", async () => {
    const ledger = new Ledger();
    for (const _ of [1, 2, 3]) expect(await ledger.stateOf("a")).toBe("accepted");
    await ledger.clock.step(1_999);
    expect(await ledger.stateOf("a")).toBe("accepted");
    expect(ledger.asked).toEqual(["a"]);
    ledger.answer = { state: "refused", because: "the session has expired" };
    await ledger.clock.step(1);
    expect(await ledger.stateOf("a")).toBe("refused");
    expect(await ledger.stateOf("a")).toBe("refused");
    expect(ledger.asked).toEqual(["a", "a", "a"]);
  });

  test("is refused at once where it was revoked, and asked about where it has ended", async () => {
    const ledger = new Ledger();
    ledger.answer = ledger.accepted(ledger.clock.nowMs() + 1_000);
    expect(await ledger.stateOf("a")).toBe("accepted");
    ledger.isDenied = true;
    expect(await ledger.stateOf("a")).toBe("refused");
    ledger.isDenied = false;
    expect(await ledger.stateOf("a")).toBe("accepted");
    expect(ledger.asked).toEqual(["a"]);
    ledger.answer = { state: "refused", because: "the token has expired" };
    await ledger.clock.step(1_000);
    expect(await ledger.stateOf("a")).toBe("refused");
  });

  test("is nobody else's, and one of another kind is asked about each time", async () => {
    const ledger = new Ledger();
    expect([await ledger.stateOf("a"), await ledger.stateOf("b"), await ledger.stateOf("stranger")]).toEqual([
      "accepted",
      "accepted",
      "refused",
    ]);
    for (const _ of [1, 2]) await ledger.identities.identify({ bearer: null, serviceAuth: "s" });
    expect(ledger.asked).toEqual(["a", "b", "stranger", "s", "s"]);
  });
});

test("tokens that nobody knows do not keep out those that are known, however many there are", async () => {
  const ledger = new Ledger();
  expect(await ledger.stateOf("known")).toBe("accepted");
  await ledger.clock.step(2_000);
  const opened = Promise.withResolvers<void>();
  ledger.gate = opened.promise;
  const strangers = Array.from({ length: 512 }, async () => await ledger.stateOf("stranger"));
  await expect(ledger.stateOf("one more")).rejects.toMatchObject({ code: "FULA_KEY_LOOKUPS_FULL" });
  const known = ledger.stateOf("known");
  await Promise.resolve();
  // Sixteen of them are looked up at the same time, and the known one beside them.
  expect(ledger.asked).toEqual(["known", ...Array.from({ length: 16 }, () => "stranger"), "known"]);
  opened.resolve();
  expect(await known).toBe("accepted");
  expect(new Set(await Promise.all(strangers))).toEqual(new Set(["refused"]));
});
