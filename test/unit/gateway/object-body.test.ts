import { createHash } from "node:crypto";
import { crc32 } from "node:zlib";
import { describe, expect, test } from "vitest";
import { openObjectBody } from "../../../src/lib/gateway/object-body.ts";
import { S3Error, toS3Error } from "../../../src/lib/gateway/s3-error.ts";
import type { AuthenticatedRequest } from "../../../src/lib/identity/authenticate.ts";
import { type PayloadForm, parsePayloadForm } from "../../../src/lib/identity/payload.ts";
import { RequestHeaders } from "../../../src/lib/identity/raw-request.ts";
import { collect, cutAt, frameChunks } from "../../support/aws-chunks.ts";
import { sha256Of } from "../../support/signing.ts";

const BODY = Buffer.from("hello world\n");

function crc32Base64(bytes: Uint8Array): string {
  const digest = Buffer.alloc(4);
  digest.writeUInt32BE(crc32(bytes));
  return digest.toString("base64");
}

function authOf(payload: PayloadForm): Pick<AuthenticatedRequest, "payload" | "chunkSigner"> {
  return { payload, chunkSigner: null };
}

async function receive(
  headers: Readonly<Record<string, string>>,
  body: Uint8Array,
  payload = "UNSIGNED-PAYLOAD",
  maxBytes = 1_000_000,
): Promise<{ readonly bytes: string; readonly checksum: unknown }> {
  const opened = await openObjectBody(
    new RequestHeaders(Object.entries(headers).flat()),
    authOf(parsePayloadForm(payload)),
    cutAt(
      body,
      [1, 5].filter((place) => place <= body.byteLength),
    ),
    maxBytes,
  );
  return { bytes: (await collect(opened.bytes)).toString(), checksum: opened.verifiedChecksum() };
}

async function codeOf(receiving: Promise<unknown>): Promise<string> {
  try {
    await receiving;
  } catch (error) {
    const known = toS3Error(error, 412);
    if (!(error instanceof S3Error) && known.code === "InternalError") throw error;
    return known.code;
  }
  return "accepted";
}

const LENGTH = { "content-length": "12" };

describe("a body that is not framed", () => {
  test("comes through whole", async () => {
    expect((await receive(LENGTH, BODY)).bytes).toBe("hello world\n");
  });

  test("whose SHA-256 was signed is refused when it is another one", async () => {
    expect(await codeOf(receive(LENGTH, BODY, sha256Of(BODY)))).toBe("accepted");
    expect(await codeOf(receive(LENGTH, BODY, sha256Of("hello world")))).toBe("XAmzContentSHA256Mismatch");
  });

  test("with a Content-MD5 is refused when it is another one, or none at all", async () => {
    const md5 = createHash("md5").update(BODY).digest("base64");
    expect(await codeOf(receive({ ...LENGTH, "content-md5": md5 }, BODY))).toBe("accepted");
    expect(await codeOf(receive({ ...LENGTH, "content-md5": md5 }, Buffer.from("hello world!")))).toBe("BadDigest");
    expect(await codeOf(receive({ ...LENGTH, "content-md5": "nonsense" }, BODY))).toBe("InvalidDigest");
  });

  test.each([
    ["crc32", crc32Base64(BODY)],
    ["sha1", createHash("sha1").update(BODY).digest("base64")],
    ["sha256", createHash("sha256").update(BODY).digest("base64")],
  ])(
    "with an x-amz-checksum-%s is refused when it is another one, and says which was verified",
    async (name, value) => {
      const headers = { ...LENGTH, [`x-amz-checksum-${name}`]: value };
      expect((await receive(headers, BODY)).checksum).toEqual({ name, value });
      expect(await codeOf(receive(headers, Buffer.from("hello world!")))).toBe("BadDigest");
      expect(await codeOf(receive({ ...LENGTH, [`x-amz-checksum-${name}`]: "AAAA" }, BODY))).toBe("InvalidRequest");
    },
  );

  test.each([
    [
      "a checksum that nothing here can verify",
      { ...LENGTH, "x-amz-checksum-xxhash64": "AAAAAAAAAAA=" },
      "NotImplemented",
    ],
    [
      "two checksums",
      { ...LENGTH, "x-amz-checksum-crc32": "AAAAAA==", "x-amz-checksum-crc32c": "AAAAAA==" },
      "InvalidRequest",
    ],
    [
      "trailers that its encoding does not have",
      { ...LENGTH, "x-amz-trailer": "x-amz-checksum-crc32" },
      "InvalidRequest",
    ],
    ["a frame that its hash does not announce", { ...LENGTH, "content-encoding": "aws-chunked" }, "InvalidArgument"],
    ["no length", {}, "MissingContentLength"],
    ["a length that is no number", { "content-length": "1e3" }, "InvalidArgument"],
    ["a longer body than announced", { "content-length": "11" }, "IncompleteBody"],
    ["a shorter body than announced", { "content-length": "13" }, "IncompleteBody"],
  ])("with %s is refused", async (_what, headers, expected) => {
    expect(await codeOf(receive(headers, BODY))).toBe(expected);
  });

  test("that is announced as too large is refused before a byte of it is read", async () => {
    const untouched = async function* (): AsyncGenerator<Uint8Array> {
      yield await Promise.reject(new Error("The body was read"));
    };
    const opening = openObjectBody(
      new RequestHeaders(["content-length", "13"]),
      authOf({ kind: "unsigned" }),
      untouched(),
      12,
    );
    expect(await codeOf(opening)).toBe("EntityTooLarge");
  });

  test("that turns out too large, its length not announced, is refused", async () => {
    expect(await codeOf(receive({ "transfer-encoding": "chunked" }, BODY, "UNSIGNED-PAYLOAD", 11))).toBe(
      "EntityTooLarge",
    );
    expect(await codeOf(receive({ "transfer-encoding": "chunked" }, BODY, "UNSIGNED-PAYLOAD", 12))).toBe("accepted");
  });
});

describe("a body framed as aws-chunked", () => {
  const payload = "STREAMING-UNSIGNED-PAYLOAD-TRAILER";
  const headers = {
    "content-encoding": "aws-chunked",
    "x-amz-decoded-content-length": "12",
    "x-amz-trailer": "x-amz-checksum-crc32",
  };
  const framed = (value: string): Buffer =>
    frameChunks([BODY.subarray(0, 6), BODY.subarray(6)], { seed: null, trailers: [["x-amz-checksum-crc32", value]] });

  test("comes through without its frame and trailer, which is verified", async () => {
    const { bytes, checksum } = await receive(headers, framed(crc32Base64(BODY)), payload);
    expect(bytes).toBe("hello world\n");
    expect(checksum).toEqual({ name: "crc32", value: crc32Base64(BODY) });
  });

  test("is refused when its trailing checksum is another one, or no checksum", async () => {
    expect(await codeOf(receive(headers, framed("AAAAAA=="), payload))).toBe("BadDigest");
    expect(await codeOf(receive(headers, framed("zz"), payload))).toBe("InvalidRequest");
  });

  test.each([
    ["no decoded length", { "x-amz-trailer": headers["x-amz-trailer"] }, "MissingContentLength"],
    ["a decoded length that is too large", { ...headers, "x-amz-decoded-content-length": "1000001" }, "EntityTooLarge"],
    ["a trailer that is no checksum", { ...headers, "x-amz-trailer": "x-amz-meta-late" }, "NotImplemented"],
    ["two trailers", { ...headers, "x-amz-trailer": "x-amz-checksum-crc32,x-amz-checksum-sha1" }, "InvalidRequest"],
    ["a checksum in front and behind", { ...headers, "x-amz-checksum-crc32": "AAAAAA==" }, "InvalidRequest"],
  ])("with %s is refused", async (_what, wrong, expected) => {
    expect(await codeOf(receive(wrong, framed(crc32Base64(BODY)), payload))).toBe(expected);
  });
});
