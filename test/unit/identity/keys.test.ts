import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { generateAccessKey, isKeyId } from "../../../src/lib/identity/access-key.ts";
import { createSecretSealer } from "../../../src/lib/identity/sealed-secret.ts";
import { ownerIdOf, resolveUserId } from "../../../src/lib/identity/user-id.ts";
import { FulaError } from "../../../src/lib/kernel/errors.ts";
import { systemRandom } from "../../../src/lib/kernel/random.ts";
import { Secret } from "../../../src/lib/kernel/secret.ts";
import { property } from "../../support/property.ts";

function codeOf(call: () => unknown): string {
  try {
    call();
  } catch (error) {
    if (error instanceof FulaError) return error.code;
    throw error;
  }
  return "accepted";
}

describe("an access key", () => {
  test("has an id of 20 and a secret of 40 characters that need no quoting in a shell", () => {
    const { keyId, secret } = generateAccessKey(systemRandom);
    expect(isKeyId(keyId)).toBe(true);
    expect(keyId).toHaveLength(20);
    expect(secret.reveal()).toMatch(/^[A-Za-z0-9_-]{40}$/);
  });

  test("prints no secret by accident", () => {
    const pair = generateAccessKey(systemRandom);
    expect(JSON.stringify(pair)).not.toContain(pair.secret.reveal());
  });
});

describe("a sealed secret", () => {
  const key = new Secret("ab".repeat(32));
  const sealer = createSecretSealer(key);

  test("opens to what it was", () => {
    fc.assert(
      fc.property(fc.string(), fc.string(), (text, context) => {
        const sealed = sealer.seal(new Secret(text), context, systemRandom);
        expect(sealer.open(sealed, context).reveal()).toBe(text);
      }),
      property(),
    );
  });

  test("is another one each time, and shows nothing of the secret", () => {
    const secret = new Secret("0123456789abcdefghij");
    const [one, two] = [1, 2].map(() => Buffer.from(sealer.seal(secret, "row", systemRandom)));
    expect(one?.equals(two ?? Buffer.alloc(0))).toBe(false);
    expect(one?.includes("0123456789")).toBe(false);
  });

  test("does not open after any bit of it was changed, nor cut short", () => {
    const sealed = sealer.seal(new Secret("secret"), "row", systemRandom);
    for (let index = 0; index < sealed.byteLength; index += 1) {
      const changed = Uint8Array.from(sealed);
      changed[index] = (changed[index] ?? 0) ^ 0x80;
      expect([index, codeOf(() => sealer.open(changed, "row"))]).toEqual([index, "FULA_ENCRYPTION_KEY_WRONG"]);
      expect(codeOf(() => sealer.open(sealed.subarray(0, index), "row"))).toBe("FULA_ENCRYPTION_KEY_WRONG");
    }
  });

  test("does not open in another row, nor under another key", () => {
    const sealed = sealer.seal(new Secret("secret"), "row", systemRandom);
    expect(codeOf(() => sealer.open(sealed, "other row"))).toBe("FULA_ENCRYPTION_KEY_WRONG");
    expect(codeOf(() => createSecretSealer(new Secret("cd".repeat(32))).open(sealed, "row"))).toBe(
      "FULA_ENCRYPTION_KEY_WRONG",
    );
  });

  test("opens under a key of another epoch, and seals under the one in use alone", () => {
    const next = new Secret("cd".repeat(32));
    const both = createSecretSealer(next, "access key secrets", [key]);
    expect(both.open(sealer.seal(new Secret("of before"), "row", systemRandom), "row").reveal()).toBe("of before");
    const sealed = both.seal(new Secret("of now"), "row", systemRandom);
    expect(createSecretSealer(next).open(sealed, "row").reveal()).toBe("of now");
    expect(codeOf(() => sealer.open(sealed, "row"))).toBe("FULA_ENCRYPTION_KEY_WRONG");
    expect(codeOf(() => createSecretSealer(next, "access key secrets", [new Secret("short")]))).toBe(
      "FULA_ENCRYPTION_KEY_INVALID",
    );
  });

  test.each([null, new Secret(""), new Secret("short"), new Secret("zz".repeat(32)), new Secret("ab".repeat(33))])(
    "needs an ENCRYPTION_KEY of 32 bytes in hex",
    (bad) => {
      expect(codeOf(() => createSecretSealer(bad))).toBe("FULA_ENCRYPTION_KEY_INVALID");
    },
  );
});

describe("a user id", () => {
  const alice = "ff8d9819fc0e12bf0d24892e45987e249a28dce836a85cad60e28eaaa8c6d976";

  test("is the SHA-256 of the lower-case e-mail address", () => {
    expect(resolveUserId("alice@example.com")).toBe(alice);
    expect(resolveUserId(" Alice@Example.COM ")).toBe(alice);
  });

  test("is never hashed again", () => {
    expect(resolveUserId(alice)).toBe(alice);
    expect(resolveUserId(alice.toUpperCase())).toBe(alice);
  });

  test.each(["", "alice", "a b@c", alice.slice(1), "@", "a@"])("is not made from %j", (text) => {
    expect(codeOf(() => resolveUserId(text))).toBe("FULA_USER_INVALID");
  });

  test.each([
    ["0x17c5185167401ed00cf5f5b2fc97d9bbfdb7d025", "05e13073153c9b4ce858be47ea8ab714"],
    ["dev-user", "405d6195a9d641cfeec11880049e25b3"],
    ["user123", "11c1a2672aad53eabc88f6317607a58f"],
  ])("gives the owner id that the fleet's gateway gives: %s", (userId, ownerId) => {
    expect(ownerIdOf(userId)).toBe(ownerId);
  });
});
