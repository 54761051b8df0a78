import { createHash, createHmac } from "node:crypto";
import { type AuthenticationFacts, authenticate } from "../../src/lib/identity/authenticate.ts";
import { decodeAwsChunked } from "../../src/lib/identity/aws-chunked.ts";
import { canonicalRequest } from "../../src/lib/identity/canonical-request.ts";
import { createChunkSigner } from "../../src/lib/identity/chunk-signer.ts";
import type { RawRequest } from "../../src/lib/identity/raw-request.ts";
import { deriveSigningKey, renderScope } from "../../src/lib/identity/signature.ts";
import { cutAt, frameChunks } from "../support/aws-chunks.ts";
import { authenticationFacts, presign, rawRequest, signRequest, TEST_KEY, TEST_SCOPE } from "../support/signing.ts";
import { type Measured, measureInTurns, printAgainstFirst } from "./measure.ts";

const REQUESTS = 2_000;
const CHUNKS = 256;
const CHUNK_BYTES = 64 * 1_024;
/** What a socket gives at once. */
const READ_BYTES = 64 * 1_024;
const ROUNDS = 7;
const TIMESTAMP = "20261120T030000Z";

const PUT = {
  method: "PUT",
  path: "/photos/2026/11/a%20picture.jpg",
  query: "x-id=PutObject",
  headers: [
    ["content-type", "image/jpeg"],
    ["content-length", "1048576"],
    ["user-agent", "aws-sdk-js/3.1000.0 md/nodejs#24"],
    ["x-amz-user-agent", "aws-sdk-js/3.1000.0"],
    ["x-amz-meta-camera", "one"],
    ["amz-sdk-invocation-id", "0b3b6d0e-4b0b-4a0b-8b0b-0b0b0b0b0b0b"],
  ],
  payload: "UNSIGNED-PAYLOAD",
} as const;

function hmac(key: string | Uint8Array, text: string): Buffer {
  return createHmac("sha256", key).update(text, "latin1").digest();
}

/** The least that any verifier computes: five HMACs and the hash of what is signed. */
function bareChain(secret: string, canonical: string): string {
  const hash = createHash("sha256").update(canonical, "latin1").digest("hex");
  const { date, region, service } = TEST_SCOPE;
  const key = [region, service, "aws4_request"].reduce((each, text) => hmac(each, text), hmac(`AWS4${secret}`, date));
  return hmac(key, `AWS4-HMAC-SHA256\n${TIMESTAMP}\n${renderScope(TEST_SCOPE)}\n${hash}`).toString("hex");
}

async function authenticateAll(request: RawRequest, facts: AuthenticationFacts): Promise<void> {
  for (let times = 0; times < REQUESTS; times += 1) await authenticate(request, facts);
}

async function benchRequests(): Promise<readonly Measured[]> {
  const facts = authenticationFacts(TEST_KEY);
  const secret = TEST_KEY.secret.reveal();
  const { headers } = signRequest(PUT);
  const signed = rawRequest(PUT, headers);
  const unsigned = headers.filter(([name]) => name !== "authorization");
  const names = unsigned.map(([name]) => name).toSorted();
  const canonical = canonicalRequest(rawRequest(PUT, unsigned), names, PUT.payload);
  const get = { method: "GET", path: PUT.path };
  const presigned = rawRequest({ ...get, query: presign(get) }, [["host", "127.0.0.1:9000"]]);
  const bearer = rawRequest(get, [
    ["host", "127.0.0.1:9000"],
    ["authorization", `Bearer ${TEST_KEY.keyId}.${secret}`],
  ]);
  return await measureInTurns(
    [
      {
        name: "bare HMAC chain over the same bytes",
        run: () => {
          for (let times = 0; times < REQUESTS; times += 1) bareChain(secret, canonical);
        },
      },
      { name: "signature in the header", run: async () => await authenticateAll(signed, facts) },
      { name: "presigned URL", run: async () => await authenticateAll(presigned, facts) },
      { name: "key as a bearer token", run: async () => await authenticateAll(bearer, facts) },
    ],
    ROUNDS,
  );
}

async function benchChunks(): Promise<readonly Measured[]> {
  const chunk = new Uint8Array(CHUNK_BYTES).fill(7);
  const signingKey = deriveSigningKey(TEST_KEY.secret.reveal(), TEST_SCOPE);
  const seed = { signingKey, timestamp: TIMESTAMP, scope: renderScope(TEST_SCOPE), seed: "0".repeat(64) };
  const body = frameChunks(
    Array.from({ length: CHUNKS }, () => chunk),
    { seed, trailers: null },
  );
  const places = Array.from(
    { length: Math.floor(body.byteLength / READ_BYTES) },
    (_none, each) => (each + 1) * READ_BYTES,
  );
  return await measureInTurns(
    [
      {
        name: "SHA-256 and HMAC over the same bytes",
        run: () => {
          for (let times = 0; times < CHUNKS; times += 1) {
            hmac(signingKey, `${seed.seed}\n${createHash("sha256").update(chunk).digest("hex")}`);
          }
        },
      },
      {
        name: "chunks of 64 KiB, unframed and checked",
        run: async () => {
          const decoded = decodeAwsChunked(cutAt(body, places), {
            decodedBytes: CHUNKS * CHUNK_BYTES,
            signer: createChunkSigner(seed),
            trailerNames: null,
            onTrailers: () => {},
          });
          for await (const _piece of decoded);
        },
      },
    ],
    ROUNDS,
  );
}

function microseconds(count: number): (measured: Measured) => string {
  return ({ name, medianMs }) => `${name}: ${((medianMs * 1_000) / count).toFixed(1)} µs each`;
}

/** What checking Signature V4 costs a request and a chunk, against the HMACs that nobody can do without. */
export async function bench(): Promise<void> {
  const requests = await benchRequests();
  printAgainstFirst(requests);
  console.log(`\n${requests.map(microseconds(REQUESTS)).join("\n")}\n`);
  const chunks = await benchChunks();
  printAgainstFirst(chunks);
  console.log(`\n${chunks.map(microseconds(CHUNKS)).join("\n")}`);
}
