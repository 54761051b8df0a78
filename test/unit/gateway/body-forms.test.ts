import { describe, expect, test } from "vitest";
import { type ChecksumName, startChecksum } from "../../../src/lib/gateway/checksums.ts";
import { openObjectBody } from "../../../src/lib/gateway/object-body.ts";
import { S3Error } from "../../../src/lib/gateway/s3-error.ts";
import { authenticate } from "../../../src/lib/identity/authenticate.ts";
import { Refusal } from "../../../src/lib/identity/refusal.ts";
import { deriveSigningKey, renderScope } from "../../../src/lib/identity/signature.ts";
import { collect, cutAt, frameChunks } from "../../support/aws-chunks.ts";
import { authenticationFacts, rawRequest, sha256Of, signRequest, TEST_KEY, TEST_SCOPE } from "../../support/signing.ts";

// What the traced clients send: plain hashes (most), rclone, restic and minio-go, the AWS SDKs' streams, aws-cli.
const FRAMED = {
  "STREAMING-UNSIGNED-PAYLOAD-TRAILER": { signed: false, trailer: true },
  "STREAMING-AWS4-HMAC-SHA256-PAYLOAD": { signed: true, trailer: false },
  "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER": { signed: true, trailer: true },
} as const;
const FORMS = ["hashed", "UNSIGNED-PAYLOAD", ...Object.keys(FRAMED)];
const CHECKSUMS: readonly ChecksumName[] = ["crc32", "crc32c", "crc64nvme", "sha1", "sha256"];
const CHUNKS = [Buffer.from("the first chunk, "), Buffer.from("and the second one\r\n0\r\n")];
const BODY = Buffer.concat(CHUNKS);
const TIMESTAMP = "20261120T030000Z";

type Line = readonly [string, string];

interface Sent {
  readonly headers: readonly Line[];
  readonly body: Buffer;
}

function framingOf(form: string): { readonly signed: boolean; readonly trailer: boolean } | null {
  return Object.entries(FRAMED).find(([name]) => name === form)?.[1] ?? null;
}

/** A PUT in one form, with these checksum headers and trailers, as a client signs it. */
function put(form: string, sums: { readonly headers?: readonly Line[]; readonly trailers?: readonly Line[] }): Sent {
  const framing = framingOf(form);
  const { headers: own = [], trailers = [] } = sums;
  const announced: readonly Line[] =
    framing === null
      ? []
      : [
          ["content-encoding", "aws-chunked"],
          ["x-amz-decoded-content-length", String(BODY.byteLength)],
          ...[...new Set(trailers.map(([name]) => name))].map((name): Line => ["x-amz-trailer", name]),
        ];
  const payload = form === "hashed" ? sha256Of(BODY) : form;
  const unsigned = { method: "PUT", path: "/photos/a", payload, headers: [...announced, ...own] };
  const { headers, signature } = signRequest(unsigned);
  const signingKey = deriveSigningKey(TEST_KEY.secret.reveal(), TEST_SCOPE);
  const seed = { signingKey, timestamp: TIMESTAMP, scope: renderScope(TEST_SCOPE), seed: signature };
  const body =
    framing === null
      ? BODY
      : frameChunks(CHUNKS, { seed: framing.signed ? seed : null, trailers: framing.trailer ? trailers : null });
  return { headers: [...headers, ["content-length", String(body.byteLength)]], body };
}

/** What becomes of it: its bytes and the checksum that was verified, or the code of the refusal. */
async function receive({ headers, body }: Sent): Promise<unknown> {
  const request = rawRequest({ method: "PUT", path: "/photos/a" }, headers);
  try {
    const auth = await authenticate(request, authenticationFacts(TEST_KEY));
    const opened = await openObjectBody(request.headers, auth, cutAt(body, [1, 30]), 1_000_000);
    return { bytes: (await collect(opened.bytes)).toString("latin1"), checksum: opened.verifiedChecksum() };
  } catch (error) {
    if (error instanceof S3Error || error instanceof Refusal) return error.code;
    throw error;
  }
}

async function sumOf(name: ChecksumName, bytes: Uint8Array): Promise<string> {
  const checksum = await startChecksum(name);
  checksum.update(bytes);
  return checksum.digest();
}

const whole = (checksum: unknown): object => ({ bytes: BODY.toString("latin1"), checksum });

describe.each(FORMS)("a body in the form %s", (form) => {
  const trails = framingOf(form)?.trailer === true;

  test("comes through without its frame, with no checksum", async () => {
    expect(await receive(put(form, {}))).toEqual(whole(null));
  });

  test.each(CHECKSUMS)(
    "is verified by %s, in a header or a trailer, and nothing of it gets into the object",
    async (name) => {
      const value = await sumOf(name, BODY);
      const wrong = await sumOf(name, Buffer.from("other"));
      const header = `x-amz-checksum-${name}`;
      expect(await receive(put(form, { headers: [[header, value]] }))).toEqual(whole({ name, value }));
      expect(await receive(put(form, { headers: [[header, wrong]] }))).toBe("BadDigest");
      expect(await receive(put(form, { headers: [[header, value.slice(1)]] }))).toBe("InvalidRequest");
      expect(
        await receive(
          put(form, {
            headers: [
              [header, value],
              [header, value],
            ],
          }),
        ),
      ).toBe("InvalidRequest");
      if (!trails) return;
      expect(await receive(put(form, { trailers: [[header, value]] }))).toEqual(whole({ name, value }));
      expect(await receive(put(form, { trailers: [[header, wrong]] }))).toBe("BadDigest");
      expect(await receive(put(form, { trailers: [[header, "x"]] }))).toBe("InvalidRequest");
      expect(
        await receive(
          put(form, {
            trailers: [
              [header, value],
              [header, value],
            ],
          }),
        ),
      ).toBe("MalformedTrailerError");
      expect(await receive(put(form, { headers: [[header, value]], trailers: [[header, value]] }))).toBe(
        "InvalidRequest",
      );
    },
  );

  test("is refused when any one bit of it was flipped on the way", async () => {
    const value = await sumOf("crc32", BODY);
    const sums = trails
      ? { trailers: [["x-amz-checksum-crc32", value]] as const }
      : { headers: [["x-amz-checksum-crc32", value]] as const };
    const sent = put(form, sums);
    for (let at = 0; at < sent.body.byteLength; at += 1) {
      const body = Buffer.from(sent.body);
      body[at] = (body[at] ?? 0) ^ 0x10;
      const outcome = await receive({ ...sent, body });
      // A name in a trailer may be written in either case; all else must be refused.
      if (typeof outcome !== "string") expect([at, outcome]).toEqual([at, whole({ name: "crc32", value })]);
    }
  });

  test("is refused when it is shorter or longer than its headers say", async () => {
    const sent = put(form, {});
    expect(await receive({ ...sent, body: sent.body.subarray(0, -4) })).toMatch(/^(IncompleteBody|InvalidRequest)$/);
    const longer = Buffer.concat([sent.body, Buffer.from("more")]);
    expect(await receive({ ...sent, body: longer })).toMatch(/^(IncompleteBody|InvalidRequest|MalformedTrailerError)$/);
  });
});

test("trailers that were announced and never came, or came without having been announced, are refused", async () => {
  for (const form of ["STREAMING-UNSIGNED-PAYLOAD-TRAILER", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"]) {
    const value = await sumOf("crc32", BODY);
    const announced = put(form, { trailers: [["x-amz-checksum-crc32", value]] });
    expect(await receive({ ...announced, body: put(form, {}).body })).not.toMatchObject(whole(null));
    const silent = put(form, {});
    expect(await receive({ ...silent, body: announced.body })).not.toMatchObject(whole(null));
  }
});
