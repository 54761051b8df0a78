import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { AccessKey } from "../../../src/lib/identity/access-key.ts";
import type { Verdict } from "../../../src/lib/identity/bearer.ts";
import { keyVerifier } from "../../../src/lib/identity/bearer-key.ts";
import { FakeClock } from "../../support/clock.ts";
import { PROPERTY_TIMEOUT_MS, property } from "../../support/property.ts";
import { TEST_KEY } from "../../support/signing.ts";

const PAIR = `${TEST_KEY.keyId}.${TEST_KEY.secret.reveal()}`;
const clock = new FakeClock();

async function verify(
  bearer: string | null,
  more: Partial<AccessKey> = {},
  staleMs: number | null = null,
): Promise<{ readonly verdict: Verdict; readonly used: readonly string[] }> {
  const used: string[] = [];
  const key = { ...TEST_KEY, ...more };
  const verifier = keyVerifier({
    findKey: async (keyId) => (keyId === key.keyId ? { key, staleMs } : null),
    onKeyUsed: (keyId) => {
      used.push(keyId);
    },
    clock,
  });
  return { verdict: await verifier.verify({ bearer, serviceAuth: null }), used };
}

describe("an access key that is sent as it is", () => {
  test("says who uses it, what he may and how long, and that it was used", async () => {
    const { verdict, used } = await verify(PAIR, { createdMs: 5_000, expiresMs: clock.nowMs() + 1 });
    expect(verdict).toMatchObject({
      state: "accepted",
      identity: {
        subject: TEST_KEY.subject,
        by: "key",
        scopes: new Set(["read", "write"]),
        credential: { issuedMs: 5_000, expiresMs: clock.nowMs() + 1, digest: expect.stringMatching(/^[0-9a-f]{64}$/) },
      },
    });
    expect(used).toEqual([TEST_KEY.keyId]);
  });

  test("is good without its secret being kept, and of a wallet stands for the wallet", async () => {
    const subject = { kind: "wallet", wallet: `0x${"ab".repeat(20)}` } as const;
    const { verdict } = await verify(PAIR, { secret: null, subject, scopes: ["storage:read"] });
    expect(verdict).toMatchObject({ state: "accepted", identity: { subject, scopes: new Set(["read"]) } });
  });

  test("is told to have ended only to whoever has its secret", async () => {
    const ended = { expiresMs: clock.nowMs() };
    expect((await verify(PAIR, ended)).verdict).toEqual({ state: "refused", because: "the access key has expired" });
    const { verdict } = await verify(`${PAIR}x`, ended);
    expect(verdict).toEqual((await verify(PAIR, { revoked: true })).verdict);
    expect(verdict).toEqual((await verify(PAIR, { keyId: "FULAZZZZZZZZZZZZZZZZ" })).verdict);
  });

  test("is not judged while the ledger cannot say whether it is in force", async () => {
    await expect(verify(PAIR, {}, 3_000)).rejects.toMatchObject({ code: "FULA_DATABASE_UNREACHABLE" });
  });

  test.each([null, "", "token", "a.b.c", TEST_KEY.keyId, PAIR.toLowerCase(), `X${PAIR}`])(
    "is left to other verifiers where it is none: %j",
    async (bearer) => {
      expect((await verify(bearer)).verdict).toEqual({ state: "absent" });
    },
  );

  test(
    "with anything about it changed is never taken, and is not noted as used",
    async () => {
      const char = fc.constantFrom(...Array.from("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567abcxyz019-_.=~ "));
      const edit = fc.tuple(fc.nat(PAIR.length), fc.nat(2), fc.string({ unit: char, maxLength: 3 }));
      await fc.assert(
        fc.asyncProperty(edit, async ([at, cut, put]) => {
          const changed = PAIR.slice(0, at) + put + PAIR.slice(at + cut);
          fc.pre(changed !== PAIR);
          const { verdict, used } = await verify(changed);
          expect([changed, verdict.state, used]).toEqual([changed, expect.stringMatching(/^(refused|absent)$/), []]);
        }),
        property(300, 300_000),
      );
    },
    PROPERTY_TIMEOUT_MS,
  );
});
