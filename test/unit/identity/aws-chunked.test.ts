import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { decodeAwsChunked } from "../../../src/lib/identity/aws-chunked.ts";
import { type ChunkSeed, createChunkSigner } from "../../../src/lib/identity/chunk-signer.ts";
import { Refusal } from "../../../src/lib/identity/refusal.ts";
import { deriveSigningKey, renderScope } from "../../../src/lib/identity/signature.ts";
import { collect, cutAt, frameChunks, type Framing } from "../../support/aws-chunks.ts";
import { property } from "../../support/property.ts";
import { TEST_KEY, TEST_SCOPE } from "../../support/signing.ts";

const SEED: ChunkSeed = {
  signingKey: deriveSigningKey(TEST_KEY.secret.reveal(), TEST_SCOPE),
  timestamp: "20261120T030000Z",
  scope: renderScope(TEST_SCOPE),
  seed: "5".repeat(64),
};

interface Decoded {
  readonly bytes: Buffer;
  readonly trailers: ReadonlyMap<string, string>;
}

async function decode(
  framed: Uint8Array,
  options: {
    readonly decodedBytes: number;
    readonly signed: boolean;
    readonly trailerNames?: readonly string[] | null;
    readonly cuts?: readonly number[];
  },
): Promise<Decoded> {
  let trailers: ReadonlyMap<string, string> | null = null;
  const bytes = await collect(
    decodeAwsChunked(cutAt(framed, options.cuts ?? []), {
      decodedBytes: options.decodedBytes,
      signer: options.signed ? createChunkSigner(SEED) : null,
      trailerNames: options.trailerNames ?? null,
      onTrailers: (found) => {
        trailers = found;
      },
    }),
  );
  if (trailers === null) throw new Error("The decoder ended without telling its trailers");
  return { bytes, trailers };
}

async function refusalOf(decoding: Promise<unknown>): Promise<string> {
  try {
    await decoding;
  } catch (error) {
    if (error instanceof Refusal) return error.code;
    throw error;
  }
  return "accepted";
}

const anyChunks = fc.array(fc.uint8Array({ minLength: 1, maxLength: 300 }), { maxLength: 6 });
const anyForm = fc.constantFrom("unsigned-trailer", "signed", "signed-trailer");

function framingOf(form: string): Framing {
  return {
    seed: form === "unsigned-trailer" ? null : SEED,
    trailers: form === "signed" ? null : [["x-amz-checksum-crc32", "AAAAAA=="]],
  };
}

function optionsOf(form: string, chunks: readonly Uint8Array[]): Parameters<typeof decode>[1] {
  return {
    decodedBytes: Buffer.concat(chunks).byteLength,
    signed: form !== "unsigned-trailer",
    trailerNames: form === "signed" ? null : ["x-amz-checksum-crc32"],
  };
}

describe("an aws-chunked body", () => {
  test("gives the same bytes and trailers wherever the network cuts it", async () => {
    await fc.assert(
      fc.asyncProperty(anyChunks, anyForm, fc.array(fc.nat(2_500), { maxLength: 12 }), async (chunks, form, places) => {
        const framed = frameChunks(chunks, framingOf(form));
        const cuts = places.map((place) => Math.min(place, framed.byteLength));
        const { bytes, trailers } = await decode(framed, { ...optionsOf(form, chunks), cuts });
        expect(bytes.equals(Buffer.concat(chunks))).toBe(true);
        expect([...trailers]).toEqual(form === "signed" ? [] : [["x-amz-checksum-crc32", "AAAAAA=="]]);
      }),
      property(),
    );
  });

  test("gives the same bytes when every byte arrives alone", async () => {
    const chunks = [Buffer.from("hello "), Buffer.from("world\n")];
    const framed = frameChunks(chunks, framingOf("signed-trailer"));
    const cuts = Array.from({ length: framed.byteLength }, (_, index) => index);
    const { bytes } = await decode(framed, { ...optionsOf("signed-trailer", chunks), cuts });
    expect(bytes.toString()).toBe("hello world\n");
  });

  test("is refused when any byte of it is missing at the end, but for the empty line that ends it", async () => {
    for (const form of ["unsigned-trailer", "signed", "signed-trailer"]) {
      const chunks = [Buffer.from("hello "), Buffer.from("world\n")];
      const framed = frameChunks(chunks, framingOf(form));
      for (let length = 0; length < framed.byteLength - 2; length += 1) {
        const code = await refusalOf(decode(framed.subarray(0, length), optionsOf(form, chunks)));
        expect([form, length, code]).not.toContain("accepted");
      }
    }
  });

  test("with signed chunks is refused when any byte of size, content or signature is another one", async () => {
    const chunks = [Buffer.from("hello "), Buffer.from("world\n")];
    const framed = frameChunks(chunks, framingOf("signed-trailer"));
    const lineEnds = new Set([0x0d, 0x0a]);
    for (const [index, byte] of framed.entries()) {
      if (lineEnds.has(byte)) continue;
      const changed = Buffer.from(framed);
      changed[index] = byte ^ 0x01;
      expect([index, await refusalOf(decode(changed, optionsOf("signed-trailer", chunks)))]).not.toContain("accepted");
    }
  });

  test("whose chunks changed places is refused", async () => {
    const one = frameChunks([Buffer.from("aaaa"), Buffer.from("bbbb")], { seed: SEED, trailers: null });
    const line = one.indexOf("\r\n") + 2;
    const secondStart = line + 6;
    const secondEnd = secondStart + secondStart;
    const swapped = Buffer.concat([
      one.subarray(secondStart, secondEnd),
      one.subarray(0, secondStart),
      one.subarray(secondEnd),
    ]);
    expect(await refusalOf(decode(swapped, { decodedBytes: 8, signed: true }))).toBe("SignatureDoesNotMatch");
  });

  test.each([
    ["announces fewer bytes than it holds", { decodedBytes: 11 }, "IncompleteBody"],
    ["announces more bytes than it holds", { decodedBytes: 13 }, "IncompleteBody"],
    ["is signed although it is announced as unsigned", { signed: false }, "InvalidRequest"],
    ["has trailers although it announces none", { trailerNames: null }, "InvalidRequest"],
    ["has other trailers than it announces", { trailerNames: ["x-amz-checksum-sha1"] }, "MalformedTrailerError"],
    [
      "lacks a trailer that it announces",
      { trailerNames: ["x-amz-checksum-crc32", "x-amz-checksum-sha1"] },
      "MalformedTrailerError",
    ],
  ])("that %s is refused", async (_what, wrong, expected) => {
    const chunks = [Buffer.from("hello "), Buffer.from("world\n")];
    const framed = frameChunks(chunks, framingOf("signed-trailer"));
    expect(await refusalOf(decode(framed, { ...optionsOf("signed-trailer", chunks), ...wrong }))).toBe(expected);
  });

  test("that is not signed although it is announced as signed is refused", async () => {
    const framed = frameChunks([Buffer.from("x")], { seed: null, trailers: null });
    expect(await refusalOf(decode(framed, { decodedBytes: 1, signed: true }))).toBe("InvalidRequest");
  });

  test.each([
    ["a size that is no number", "zz\r\n"],
    ["a size beyond all bounds", `${"f".repeat(13)}\r\n`],
    ["a line without end", "5".repeat(10_000)],
    ["a chunk that runs over its size", "1\r\nab\r\n0\r\n\r\n"],
    ["a negative size", "-1\r\n\r\n"],
  ])("with %s is refused", async (_what, text) => {
    expect(await refusalOf(decode(Buffer.from(text), { decodedBytes: 1, signed: false, trailerNames: [] }))).toBe(
      "InvalidRequest",
    );
  });

  test("with trailers without end is refused", async () => {
    const framed = Buffer.from(`1\r\na\r\n0\r\n${"x-amz-checksum-crc32:AAAAAA==\r\n".repeat(1_000)}`);
    const options = { decodedBytes: 1, signed: false, trailerNames: ["x-amz-checksum-crc32"] };
    expect(await refusalOf(decode(framed, options))).toBe("MalformedTrailerError");
  });
});

// https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html, "Example: PUT Object":
// 66,560 times the letter a, in chunks of 64 KiB.
describe("the streaming example of the S3 documentation", () => {
  test("is accepted with the published signatures", async () => {
    const scope = { date: "20130524", region: "us-east-1", service: "s3" };
    const signer = createChunkSigner({
      signingKey: deriveSigningKey("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", scope),
      timestamp: "20130524T000000Z",
      scope: renderScope(scope),
      seed: "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
    });
    const framed = Buffer.from(
      [
        "10000;chunk-signature=ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
        "a".repeat(65_536),
        "400;chunk-signature=0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
        "a".repeat(1_024),
        "0;chunk-signature=b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
        "",
        "",
      ].join("\r\n"),
    );
    const decoded = decodeAwsChunked(cutAt(framed, [1_000]), {
      decodedBytes: 66_560,
      signer,
      trailerNames: null,
      onTrailers: () => {},
    });
    expect((await collect(decoded)).byteLength).toBe(66_560);
  });
});
