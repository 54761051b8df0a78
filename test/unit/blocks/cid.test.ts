import { blake3 } from "@noble/hashes/blake3.js";
import * as fc from "fast-check";
import { base32 } from "multiformats/bases/base32";
import { base36 } from "multiformats/bases/base36";
import { base58btc } from "multiformats/bases/base58";
import { base64url } from "multiformats/bases/base64";
import { CID } from "multiformats/cid";
import { create as createMultihash } from "multiformats/hashes/digest";
import { describe, expect, test } from "vitest";
import {
  BLAKE3,
  blockMatches,
  createCid,
  DAG_PB_CODEC,
  IDENTITY,
  parseCid,
  RAW_CODEC,
  SHA2_256,
  verifyBlock,
} from "../../../src/lib/blocks/cid.ts";
import { isFulaError } from "../../../src/lib/kernel/errors.ts";
import { property } from "../../support/property.ts";

const digest32 = fc.uint8Array({ minLength: 32, maxLength: 32 });
const anyCid: fc.Arbitrary<CID> = fc.oneof(
  digest32.map((digest) => CID.createV0(createMultihash(SHA2_256, digest))),
  fc
    .tuple(fc.constantFrom(RAW_CODEC, DAG_PB_CODEC, 0x71, 0x0129), fc.constantFrom(SHA2_256, BLAKE3), digest32)
    .map(([codec, code, digest]) => CID.createV1(codec, createMultihash(code, digest))),
  fc
    .tuple(fc.constantFrom(RAW_CODEC, 0x71), fc.uint8Array({ maxLength: 128 }))
    .map(([codec, digest]) => CID.createV1(codec, createMultihash(IDENTITY, digest))),
  // sha2-512: nothing here can check it, but a pin may carry it.
  fc
    .uint8Array({ minLength: 64, maxLength: 64 })
    .map((digest) => CID.createV1(RAW_CODEC, createMultihash(0x13, digest))),
);
const anySpelling: fc.Arbitrary<readonly [CID, string]> = anyCid.chain((cid) =>
  cid.version === 0
    ? fc.constant([cid, cid.toString()] as const)
    : fc.constantFrom(base32, base36, base58btc).map((base) => [cid, cid.toString(base)] as const),
);

function raw(...bytes: number[]): string {
  return base32.encode(Uint8Array.from(bytes));
}

/** The parsed CID, or null where it was refused in the one way it may be. */
function parseOrNull(text: string): CID | null {
  try {
    return parseCid(text);
  } catch (error) {
    if (isFulaError(error, "FULA_CID_INVALID")) return null;
    throw error;
  }
}

describe("parseCid", () => {
  test("reads back every CID in each of its spellings", () => {
    fc.assert(
      fc.property(anySpelling, ([cid, text]) => {
        const parsed = parseCid(text);
        expect(parsed.equals(cid)).toBe(true);
        expect(parsed.version).toBe(cid.version);
      }),
      property(500),
    );
  });

  test("a changed character is refused or names another CID, never the same one", () => {
    const characters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789=-_ ".split("");
    fc.assert(
      fc.property(anySpelling, fc.nat(), fc.constantFrom(...characters), ([cid, text], position, character) => {
        const at = position % text.length;
        fc.pre(text[at] !== character);
        const changed = parseOrNull(`${text.slice(0, at)}${character}${text.slice(at + 1)}`);
        expect(changed?.equals(cid) ?? false).toBe(false);
      }),
      property(2_000),
    );
  });

  test("a cut, doubled, added or removed character is refused or names another CID", () => {
    fc.assert(
      fc.property(anySpelling, fc.nat(), fc.constantFrom("a", "1", "z", "=", "\n"), ([cid, text], position, added) => {
        const at = position % text.length;
        for (const changed of [
          text.slice(0, at),
          `${text.slice(0, at)}${text.slice(at + 1)}`,
          `${text.slice(0, at)}${text.slice(at, at + 1)}${text.slice(at)}`,
          `${text.slice(0, at)}${added}${text.slice(at)}`,
          `${text}${added}`,
          `${added}${text}`,
        ]) {
          if (changed !== text) expect(parseOrNull(changed)?.equals(cid) ?? false, changed).toBe(false);
        }
      }),
      property(500),
    );
  });

  test("garbage is refused with FULA_CID_INVALID and nothing else", () => {
    const garbage = fc.oneof(
      fc.string({ maxLength: 600, unit: "binary" }),
      fc
        .tuple(fc.constantFrom("b", "k", "z", "Qm", "B", "f", "u"), fc.string({ maxLength: 200 }))
        .map((parts) => parts.join("")),
      fc.uint8Array({ maxLength: 100 }).map((bytes) => base32.encode(bytes)),
      fc.uint8Array({ maxLength: 100 }).map((bytes) => base58btc.encode(bytes)),
    );
    fc.assert(
      fc.property(garbage, (text) => {
        const cid = parseOrNull(text);
        // What happens to be a CID is one in canonical form.
        if (cid !== null)
          expect([
            cid.toString(),
            cid.version === 0 ? "" : cid.toString(base36),
            cid.version === 0 ? "" : cid.toString(base58btc),
          ]).toContain(text);
      }),
      property(1_000),
    );
  });

  const digest = new Uint8Array(32).fill(5);
  const v1 = CID.createV1(RAW_CODEC, createMultihash(SHA2_256, digest));
  const v0 = CID.createV0(createMultihash(SHA2_256, digest));

  test.each([
    ["an empty text", ""],
    ["upper-case base32 behind a lower-case prefix", `b${v1.toString().slice(1).toUpperCase()}`],
    ["upper-case base32", v1.toString().toUpperCase()],
    ["base64url, which pins never use", v1.toString(base64url)],
    ["a v0 with a base58btc prefix", `z${v0.toString()}`],
    ["a text of a million characters", `b${"a".repeat(1_000_000)}`],
    ["a path behind the CID", `/ipfs/${v1.toString()}`],
    ["white space around it", ` ${v1.toString()}`],
    ["version 2", raw(2, 0x55, SHA2_256, 32, ...digest)],
    ["a SHA2-256 of 31 bytes", raw(1, 0x55, SHA2_256, 31, ...digest.subarray(1))],
    ["a BLAKE3 of 16 bytes", raw(1, 0x55, BLAKE3, 16, ...digest.subarray(16))],
    [
      "an identity digest of 129 bytes",
      CID.createV1(RAW_CODEC, createMultihash(IDENTITY, new Uint8Array(129))).toString(),
    ],
    ["a length that says more than there is", raw(1, 0x55, SHA2_256, 33, ...digest)],
    ["bytes after the digest", raw(1, 0x55, SHA2_256, 32, ...digest, 0)],
    ["a codec in two bytes where one is enough", raw(1, 0xd5, 0x00, SHA2_256, 32, ...digest)],
    ["a hash code in two bytes where one is enough", raw(1, 0x55, 0x92, 0x00, 32, ...digest)],
    ["a digest length in two bytes where one is enough", raw(1, 0x55, SHA2_256, 0xa0, 0x00, ...digest)],
  ])("refuses %s", (_what, text) => {
    expect(parseOrNull(text)).toBeNull();
  });

  test("the same CID in its plain spelling is taken, so the cases above fail for their own reason", () => {
    expect(parseCid(v1.toString()).equals(v1)).toBe(true);
    expect(parseCid(v0.toString()).equals(v0)).toBe(true);
    expect(parseCid(raw(1, 0x55, SHA2_256, 32, ...digest)).equals(v1)).toBe(true);
  });

  test("the message shows the beginning of a long text and not all of it", () => {
    expect(() => parseCid("x".repeat(5_000))).toThrow(/^.{0,200}$/);
  });
});

describe("verifyBlock", () => {
  test("knows the CIDs that other programs made", () => {
    // Kubo: printf 'hello world\n' | ipfs add --cid-version 1 --raw-leaves
    expect(createCid(RAW_CODEC, Buffer.from("hello world\n")).toString()).toBe(
      "bafkreifjjcie6lypi6ny7amxnfftagclbuxndqonfipmb64f2km2devei4",
    );
    // BLAKE3 of no bytes, from the test vectors of the BLAKE3 team.
    expect(Buffer.from(blake3(new Uint8Array())).toString("hex")).toBe(
      "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
    );
  });

  test("every changed, cut or longer block is told from the right one", () => {
    const hashed = fc.tuple(
      fc.uint8Array({ minLength: 1, maxLength: 200 }),
      fc.constantFrom("sha", "blake", "identity"),
    );
    fc.assert(
      fc.property(hashed, fc.nat(), fc.integer({ min: 1, max: 255 }), ([bytes, kind], position, delta) => {
        const sha = createCid(RAW_CODEC, bytes);
        const digests = {
          sha: sha.multihash,
          blake: createMultihash(BLAKE3, blake3(bytes)),
          identity: createMultihash(IDENTITY, bytes),
        };
        const cid = CID.createV1(
          RAW_CODEC,
          kind === "sha" ? digests.sha : kind === "blake" ? digests.blake : digests.identity,
        );
        expect(blockMatches(cid, bytes)).toBe(true);
        const changed = Uint8Array.from(bytes);
        const at = position % bytes.length;
        changed[at] = ((changed[at] ?? 0) + delta) % 256;
        expect(blockMatches(cid, changed)).toBe(false);
        expect(blockMatches(cid, bytes.subarray(1))).toBe(false);
        expect(blockMatches(cid, Uint8Array.of(...bytes, 0))).toBe(false);
      }),
      property(300),
    );
  });

  test("says which CID and how many bytes did not fit", () => {
    const cid = createCid(RAW_CODEC, Buffer.from("a"));
    expect(() => verifyBlock(cid, Buffer.from("bb"))).toThrow(
      `The 2 bytes sent as ${cid.toString()} do not hash to it.`,
    );
  });
});
