import { type Authenticator, nkeyAuthenticator, nkeys } from "@nats-io/transport-node";
import { describe, expect, test } from "vitest";
import { userAuthenticator } from "../../../src/lib/membership/kv/nkey-authenticator.ts";

function seedOf(pair: ReturnType<typeof nkeys.createUser>): string {
  return new TextDecoder().decode(pair.getSeed());
}

function answerOf(authenticator: Authenticator, nonce: string): { readonly nkey: string; readonly signature: Buffer } {
  const answer = authenticator(nonce);
  if (typeof answer !== "object" || !("nkey" in answer)) throw new Error("no NKey was named");
  return { nkey: answer.nkey, signature: Buffer.from(answer.sig ?? "", "base64url") };
}

describe("whoever logs in with an NKey", () => {
  test("says and signs what the library would", () => {
    for (let i = 0; i < 20; i += 1) {
      const pair = nkeys.createUser();
      const nonce = `nonce ${i} ü`;
      const theirs = answerOf(nkeyAuthenticator(pair.getSeed()), nonce);
      const ours = answerOf(userAuthenticator(seedOf(pair)), nonce);
      expect(ours.nkey).toBe(pair.getPublicKey());
      // Ed25519 signs the same the same way; the server takes Base64 of either alphabet.
      expect(ours).toEqual(theirs);
    }
  });

  test("is told where a seed is none, or was copied wrongly", () => {
    const seed = seedOf(nkeys.createUser());
    const wrong = `${seed.slice(0, 20)}${seed[20] === "A" ? "B" : "A"}${seed.slice(21)}`;
    for (const text of ["", "SUA", wrong, seed.slice(0, -1), nkeys.createUser().getPublicKey()]) {
      expect(() => userAuthenticator(text)).toThrow();
    }
  });
});
