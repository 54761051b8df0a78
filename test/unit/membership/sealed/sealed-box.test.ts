import { createPrivateKey, diffieHellman, generateKeyPairSync } from "node:crypto";
import { chmodSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { inspect } from "node:util";
import fc from "fast-check";
import sodium from "libsodium-wrappers";
import { describe, expect, test } from "vitest";
import { Secret } from "../../../../src/lib/kernel/secret.ts";
import type { SealedKey } from "../../../../src/lib/membership/records.ts";
import { type BoxKey, ensureBoxKey, readBoxKey } from "../../../../src/lib/membership/sealed/box-key.ts";
import { openSealed, sealSecret } from "../../../../src/lib/membership/sealed/sealed-box.ts";
import { property } from "../../../support/property.ts";
import { tempDir } from "../../../support/temp-dir.ts";

async function newKey(name = "box"): Promise<BoxKey> {
  return await ensureBoxKey(join(tempDir(), `${name}.pem`));
}

/** Seals whatever text, as somebody does who writes no secret of ours. */
async function sealText(key: BoxKey, text: string): Promise<string> {
  await sodium.ready;
  const publicKey = Buffer.from(key.endpoint.slice("x25519:".length), "hex");
  return Buffer.from(sodium.crypto_box_seal(text, publicKey)).toString("base64");
}

describe("the key of a box", () => {
  test("is made once, closed to others, and the same from then on", async () => {
    const path = join(tempDir(), "keys", "box-x25519.pem");
    expect(await readBoxKey(path)).toBeNull();
    const made = await ensureBoxKey(path);
    expect(made).toMatchObject({ created: true, endpoint: expect.stringMatching(/^x25519:[0-9a-f]{64}$/) });
    expect(statSync(path).mode & 0o777).toBe(0o600);
    const again = await ensureBoxKey(path);
    expect(again).toMatchObject({ created: false, endpoint: made.endpoint });
    expect((await readBoxKey(path))?.endpoint).toBe(made.endpoint);
  });

  test("is one key however many processes make it at once", async () => {
    const path = join(tempDir(), "box-x25519.pem");
    const keys = await Promise.all(Array.from({ length: 8 }, async () => await ensureBoxKey(path)));
    expect(new Set(keys.map(({ endpoint }) => endpoint)).size).toBe(1);
    expect(keys.filter(({ created }) => created)).toHaveLength(1);
  });

  test("that others may read is closed to them", async () => {
    const path = join(tempDir(), "box-x25519.pem");
    await ensureBoxKey(path);
    chmodSync(path, 0o644);
    await ensureBoxKey(path);
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  test.each([
    ["no PEM at all", "secret-as-it-stands"],
    ["nothing", ""],
    [
      "a key of another kind",
      generateKeyPairSync("ed25519").privateKey.export({ format: "pem", type: "pkcs8" }).toString(),
    ],
  ])("with %s in its file is refused, not replaced, and not shown", async (_what, content) => {
    const path = join(tempDir(), "box-x25519.pem");
    writeFileSync(path, content);
    const error: unknown = await ensureBoxKey(path).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: "FULA_BOX_KEY_INVALID" });
    expect(inspect(error, { depth: 9 })).not.toContain("secret-as-it-stands");
    expect(readFileSync(path, "utf8")).toBe(content);
  });

  test("prints without its private half", async () => {
    const key = await newKey();
    const hex = key.privateKey.reveal();
    expect(hex).toMatch(/^[0-9a-f]{64}$/);
    expect(`${inspect(key)} ${JSON.stringify(key)}`).not.toContain(hex);
  });

  test("is what Node.js and libsodium take it for", async () => {
    const path = join(tempDir(), "box-x25519.pem");
    const key = await ensureBoxKey(path);
    await sodium.ready;
    const raw = Buffer.from(key.privateKey.reveal(), "hex");
    expect(`x25519:${Buffer.from(sodium.crypto_scalarmult_base(raw)).toString("hex")}`).toBe(key.endpoint);
    const other = generateKeyPairSync("x25519");
    const shared = diffieHellman({ privateKey: createPrivateKey(readFileSync(path)), publicKey: other.publicKey });
    const otherRaw = Buffer.from(other.publicKey.export({ format: "jwk" }).x ?? "", "base64url");
    expect(Buffer.from(sodium.crypto_scalarmult(raw, otherRaw))).toEqual(shared);
  });
});

describe("a sealed secret", () => {
  test("opens with its member's key, whatever the text", async () => {
    const key = await newKey();
    await fc.assert(
      fc.asyncProperty(fc.string({ unit: "grapheme", maxLength: 400 }), fc.integer({ min: 1 }), async (text, epoch) => {
        const sealed = await sealSecret({ pool: "masters", epoch, member: key.endpoint }, new Secret(text));
        expect((await openSealed(key, sealed)).reveal()).toBe(text);
      }),
      property(50),
    );
  });

  test("is another one each time, and shows nothing of what is in it", async () => {
    const key = await newKey();
    const to = { pool: "masters", epoch: 1, member: key.endpoint };
    const sealed = [await sealSecret(to, new Secret("swordfish")), await sealSecret(to, new Secret("swordfish"))];
    expect(sealed[0]?.sealed).not.toBe(sealed[1]?.sealed);
    for (const each of sealed)
      expect(Buffer.from(each.sealed, "base64").toString("latin1")).not.toMatch(/swordfish|masters/);
  });

  test("does not open with another box's key, whatever its record says", async () => {
    const [key, other] = [await newKey(), await newKey("other")];
    const sealed = await sealSecret({ pool: "masters", epoch: 1, member: key.endpoint }, new Secret("swordfish"));
    await expect(openSealed(other, sealed)).rejects.toMatchObject({ code: "FULA_SEALED_BOX" });
    await expect(openSealed(other, { ...sealed, member: other.endpoint })).rejects.toMatchObject({
      code: "FULA_SEALED_BOX",
    });
  });

  test.each<[string, Partial<SealedKey>]>([
    ["pool", { pool: "cluster" }],
    ["epoch", { epoch: 2 }],
  ])("cannot be passed off as one of another %s", async (_what, change) => {
    const key = await newKey();
    const sealed = await sealSecret({ pool: "masters", epoch: 1, member: key.endpoint }, new Secret("swordfish"));
    await expect(openSealed(key, { ...sealed, ...change })).rejects.toMatchObject({
      code: "FULA_SEALED_BOX",
      message: expect.stringContaining("epoch 1 of pool masters"),
    });
  });

  test("that was made for another member does not open, even where it was sealed to this box's key", async () => {
    const [key, other] = [await newKey(), await newKey("other")];
    const text = JSON.stringify({ pool: "masters", epoch: 1, member: other.endpoint, secret: "swordfish" });
    const record = { pool: "masters", epoch: 1, member: key.endpoint, sealed: await sealText(key, text) };
    await expect(openSealed(key, record)).rejects.toMatchObject({ code: "FULA_SEALED_BOX" });
  });

  test.each(["", "no JSON", "[]", '{"pool":"masters","epoch":1,"secret":"s"}', '{"pool":"masters","epoch":"1"}'])(
    "with “%s” in it is no secret of ours",
    async (text) => {
      const key = await newKey();
      const record = { pool: "masters", epoch: 1, member: key.endpoint, sealed: await sealText(key, text) };
      const error: unknown = await openSealed(key, record).catch((thrown: unknown) => thrown);
      expect(error).toMatchObject({ code: "FULA_SEALED_BOX" });
    },
  );

  test("with any bit changed, any byte missing or one too many does not open", async () => {
    const key = await newKey();
    const sealed = await sealSecret({ pool: "p", epoch: 1, member: key.endpoint }, new Secret("s"));
    const bytes = Buffer.from(sealed.sealed, "base64");
    const opens = async (changed: Uint8Array): Promise<boolean> => {
      const record = { ...sealed, sealed: Buffer.from(changed).toString("base64") };
      return await openSealed(key, record).then(
        () => true,
        () => false,
      );
    };
    expect(await opens(bytes)).toBe(true);
    const opened: number[] = [];
    for (let bit = 0; bit < bytes.length * 8; bit += 1) {
      const changed = Buffer.from(bytes);
      changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      if (await opens(changed)) opened.push(bit);
    }
    expect(opened).toEqual([]);
    for (let length = 0; length < bytes.length; length += 1) {
      if (await opens(bytes.subarray(0, length))) opened.push(length);
    }
    expect(opened).toEqual([]);
    expect(await opens(Buffer.concat([bytes, Buffer.alloc(1)]))).toBe(false);
  });

  test("is not made for a public key that has no private half", async () => {
    for (const member of [`x25519:${"0".repeat(64)}`, "x25519:ab", "fula-2"]) {
      await expect(sealSecret({ pool: "p", epoch: 1, member }, new Secret("s"))).rejects.toMatchObject({
        code: "FULA_MEMBERSHIP_INVALID",
      });
    }
  });

  test("that does not open says nothing of what was in it", async () => {
    const key = await newKey();
    const sealed = await sealSecret({ pool: "masters", epoch: 1, member: key.endpoint }, new Secret("swordfish"));
    const error: unknown = await openSealed(key, { ...sealed, epoch: 2 }).catch((thrown: unknown) => thrown);
    expect(inspect(error, { depth: 9 })).not.toContain("swordfish");
  });
});
