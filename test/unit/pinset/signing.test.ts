import { createPrivateKey, generateKeyPairSync, sign } from "node:crypto";
import { chmodSync, existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { verifyEd25519Stream } from "../../../src/lib/pinset/ed25519-stream.ts";
import { isUsablePublicKey, keyIdOf, rawKeyOf, verifyEd25519 } from "../../../src/lib/pinset/keys.ts";
import { minisignKeyLine, parseMinisignPublicKey, renderMinisignPublicKey } from "../../../src/lib/pinset/minisign.ts";
import {
  ensureSigningKey,
  publicKeyFromPem,
  readOwnPublicKey,
  readSigningKey,
  signingKeyFiles,
} from "../../../src/lib/pinset/signing.ts";
import { checkedKeyId, loadTrustedKeys } from "../../../src/lib/pinset/trust.ts";
import { property } from "../../support/property.ts";
import { tempDir } from "../../support/temp-dir.ts";

const keysDir = (): string => join(tempDir(), "keys");

const modeOf = (path: string): number => statSync(path).mode & 0o777;

describe("the snapshot key", () => {
  test("is made once, PKCS#8 in PEM, for its owner alone, with its public half in two forms", async () => {
    const dir = keysDir();
    const files = signingKeyFiles(dir);
    expect(await readSigningKey(dir)).toBeNull();
    const made = await ensureSigningKey(dir);
    expect(made.created).toBe(true);
    expect(readFileSync(files.private, "utf8")).toMatch(/^-----BEGIN PRIVATE KEY-----\n/);
    expect([modeOf(dir), modeOf(files.private)]).toEqual([0o700, 0o600]);
    expect(readdirSync(dir).toSorted()).toEqual([
      "snapshot-ed25519.pem",
      "snapshot-ed25519.pub.pem",
      "snapshot-minisign.pub",
    ]);
    const again = await ensureSigningKey(dir);
    expect([again.created, again.keyId]).toEqual([false, made.keyId]);
    expect(publicKeyFromPem(readFileSync(files.public, "utf8"), files.public)).toEqual(made.publicKey);
    expect(parseMinisignPublicKey(readFileSync(files.minisign, "utf8"))).toEqual(made.publicKey);
  });

  test("signs so that its public half verifies, and nothing else does", async () => {
    const key = await ensureSigningKey(keysDir());
    const { publicKey } = key;
    const message = Buffer.from("manifest");
    const signature = key.sign(message);
    expect(signature).toHaveLength(64);
    expect(verifyEd25519(publicKey, message, signature)).toBe(true);
    expect(verifyEd25519(publicKey, Buffer.from("manifest."), signature)).toBe(false);
    expect(verifyEd25519(publicKey, message, signature.subarray(1))).toBe(false);
    expect(verifyEd25519(rawKeyOf(`ed25519:${"0".repeat(64)}`) ?? new Uint8Array(), message, signature)).toBe(false);
  });

  test.each(["public", "minisign"] as const)(
    "its %s file is made again where it is missing or says something else",
    async (which) => {
      const dir = keysDir();
      const files = signingKeyFiles(dir);
      await ensureSigningKey(dir);
      const content = readFileSync(files[which], "utf8");
      for (const harm of [() => rmSync(files[which]), () => writeFileSync(files[which], "changed")]) {
        harm();
        await ensureSigningKey(dir);
        expect(readFileSync(files[which], "utf8")).toBe(content);
      }
    },
  );

  test("is closed again where others could read it", async () => {
    const dir = keysDir();
    const { private: path } = signingKeyFiles(dir);
    await ensureSigningKey(dir);
    chmodSync(path, 0o644);
    await ensureSigningKey(dir);
    expect(modeOf(path)).toBe(0o600);
  });

  test("is never replaced silently: what is no key stops everything", async () => {
    const dir = keysDir();
    const { private: path } = signingKeyFiles(dir);
    await ensureSigningKey(dir);
    const rsa = generateKeyPairSync("rsa", { modulusLength: 1024 }).privateKey.export({ format: "pem", type: "pkcs8" });
    for (const content of ["", "not a key", rsa.toString()]) {
      writeFileSync(path, content);
      await expect(ensureSigningKey(dir)).rejects.toMatchObject({ code: "FULA_SIGNING_KEY_INVALID" });
      expect(readFileSync(path, "utf8")).toBe(content);
    }
  });

  test("that was lost is not replaced by a new one, because other boxes trust it", async () => {
    const dir = keysDir();
    const files = signingKeyFiles(dir);
    const { publicKey } = await ensureSigningKey(dir);
    rmSync(files.private);
    await expect(ensureSigningKey(dir)).rejects.toMatchObject({ code: "FULA_SIGNING_KEY_LOST", kind: "refused" });
    expect(existsSync(files.private)).toBe(false);
    // Its old snapshots still verify.
    expect(await readOwnPublicKey(dir)).toEqual(publicKey);
  });

  test("is one key, however many processes make it at once", async () => {
    const dir = keysDir();
    const keys = await Promise.all(Array.from({ length: 8 }, () => ensureSigningKey(dir)));
    expect(new Set(keys.map(({ keyId }) => keyId)).size).toBe(1);
    expect(keys.filter(({ created }) => created)).toHaveLength(1);
    expect(readdirSync(dir)).toHaveLength(3);
  });

  test("of a box is trusted there together with those of the settings, each once", async () => {
    const dir = keysDir();
    const own = await ensureSigningKey(dir);
    const other = await ensureSigningKey(keysDir());
    expect(await loadTrustedKeys(dir, [other.keyId, own.keyId, other.keyId])).toEqual([
      { keyId: own.keyId, source: "own" },
      { keyId: other.keyId, source: "settings" },
    ]);
    expect(await loadTrustedKeys(keysDir(), [])).toEqual([]);
  });
});

/** Points of small order (https://eprint.iacr.org/2020/1244, table 6): for these keys anybody can sign. */
const WEAK_KEYS = [
  "0100000000000000000000000000000000000000000000000000000000000000",
  "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
  "0000000000000000000000000000000000000000000000000000000000000000",
  "0000000000000000000000000000000000000000000000000000000000000080",
  "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
  "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
];

describe("public keys", () => {
  test.each(WEAK_KEYS)("the weak key %s is never trusted", (hex) => {
    expect(isUsablePublicKey(Buffer.from(hex, "hex"))).toBe(false);
    expect(() => checkedKeyId(`ed25519:${hex}`)).toThrow(expect.objectContaining({ code: "FULA_KEY_UNUSABLE" }));
  });

  test.each([
    "",
    "ed25519:",
    "ed25519:00",
    `ed25519:${"A".repeat(64)}`,
    `ED25519:${"a".repeat(64)}`,
    `ed25519:${"f".repeat(64)}`,
  ])("%j is not a key", (text) => {
    expect(() => checkedKeyId(text)).toThrow(expect.objectContaining({ code: "FULA_KEY_UNUSABLE" }));
  });

  test("in minisign's form are read with and without the comment, and nothing else is", async () => {
    const { publicKey } = await ensureSigningKey(keysDir());
    const line = minisignKeyLine(publicKey);
    for (const text of [
      line,
      `${line}\n`,
      renderMinisignPublicKey(publicKey),
      renderMinisignPublicKey(publicKey).replaceAll("\n", "\r\n"),
    ]) {
      expect(parseMinisignPublicKey(text)).toEqual(publicKey);
    }
    for (const text of ["", "x", line.slice(1), `${line}x`, `${line}\n${line}`, `A${line.slice(1)}`]) {
      expect(parseMinisignPublicKey(text)).toBeNull();
    }
  });
});

async function* inPieces(message: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let start = 0; start < message.length; start += size) yield message.subarray(start, start + size);
}

describe("a signature over a message that passes by in pieces", () => {
  const anyKey = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((seed) => {
    // RFC 8410 §7: the PKCS#8 frame of a 32-byte seed.
    const der = Buffer.concat([Buffer.from("302e020100300506032b657004220420", "hex"), seed]);
    return createPrivateKey({ key: der, format: "der", type: "pkcs8" });
  });

  test("is judged exactly as OpenSSL judges it, good and bad ones", async () => {
    let good = 0;
    let bad = 0;
    await fc.assert(
      fc.asyncProperty(
        anyKey,
        fc.uint8Array({ maxLength: 300 }),
        fc.integer({ min: 1, max: 64 }),
        fc.option(fc.tuple(fc.nat(63), fc.integer({ min: 1, max: 255 })), { freq: 2 }),
        async (key, message, pieceBytes, change) => {
          const publicKey = publicKeyFromPem(key.export({ format: "pem", type: "pkcs8" }).toString(), "key");
          const signature = new Uint8Array(sign(null, message, key));
          if (change !== null) signature[change[0]] = (signature[change[0]] ?? 0) ^ change[1];
          const expected = verifyEd25519(publicKey, message, signature);
          if (expected) good += 1;
          else bad += 1;
          expect(await verifyEd25519Stream(publicKey, inPieces(message, pieceBytes), signature)).toBe(expected);
        },
      ),
      property(60),
    );
    expect(Math.min(good, bad)).toBeGreaterThan(10);
  });

  test("with the order added to its second half is refused (malleability)", async () => {
    const key = await ensureSigningKey(keysDir());
    const { publicKey } = key;
    const message = Buffer.from("message");
    const signature = key.sign(message);
    const order = 2n ** 252n + 27742317777372353535851937790883648493n;
    const s = BigInt(`0x${Buffer.from(signature.slice(32).toReversed()).toString("hex")}`) + order;
    const moved = Buffer.from(s.toString(16).padStart(64, "0"), "hex").toReversed();
    const forged = Buffer.concat([signature.subarray(0, 32), moved]);
    expect(await verifyEd25519Stream(publicKey, inPieces(message, 3), forged)).toBe(false);
    expect(verifyEd25519(publicKey, message, forged)).toBe(false);
    expect(await verifyEd25519Stream(publicKey, inPieces(message, 3), signature)).toBe(true);
  });

  test("is refused where its length is wrong or the key is weak", async () => {
    const key = await ensureSigningKey(keysDir());
    const { publicKey } = key;
    const signature = key.sign(Buffer.from("m"));
    for (const wrong of [signature.subarray(1), Buffer.concat([signature, Buffer.of(0)]), new Uint8Array()]) {
      expect(await verifyEd25519Stream(publicKey, inPieces(Buffer.from("m"), 1), wrong)).toBe(false);
    }
    const weak = Buffer.from(WEAK_KEYS[0] ?? "", "hex");
    expect(
      await verifyEd25519Stream(weak, inPieces(Buffer.from("m"), 1), Buffer.concat([weak, Buffer.alloc(32)])),
    ).toBe(false);
  });

  test("is right for the second test vector of RFC 8032 §7.1", async () => {
    const publicKey = Buffer.from("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "hex");
    const signature = Buffer.from(
      "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
      "hex",
    );
    expect(await verifyEd25519Stream(publicKey, inPieces(Buffer.of(0x72), 1), signature)).toBe(true);
    expect(keyIdOf(publicKey)).toBe(`ed25519:${publicKey.toString("hex")}`);
  });
});
