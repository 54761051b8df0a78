import { connect } from "node:net";
import type { AccessKeyPair } from "../../src/lib/identity/access-key.ts";
import { formatUtc } from "../../src/lib/kernel/clock.ts";
import type { Random } from "../../src/lib/kernel/random.ts";
import { frameChunks } from "./aws-chunks.ts";
import { signNow } from "./http.ts";
import { presign, sha256Of } from "./signing.ts";

/** Whom the requests are for. */
export interface FuzzTarget {
  readonly port: number;
  readonly pair: AccessKeyPair;
  readonly buckets: readonly string[];
  /** Of an upload that is open. */
  readonly uploadId: string;
}

/** A header line. */
export type Line = readonly [name: string, value: string];

interface Draft {
  readonly method: string;
  readonly path: string;
  readonly query: string;
  readonly headers: readonly Line[];
  readonly body: Buffer;
}

/** One of them. */
export function pick<T>(random: Random, choices: readonly T[]): T {
  const choice = choices[random.int(choices.length)];
  if (choice === undefined) throw new Error("There is nothing to choose from");
  return choice;
}

/** Some of them, also one twice. */
export function some<T>(random: Random, choices: readonly T[], most: number): readonly T[] {
  return Array.from({ length: random.int(most + 1) }, () => pick(random, choices));
}

const METHODS = ["GET", "HEAD", "PUT", "POST", "DELETE", "PUT", "GET", "POST", "OPTIONS", "PATCH"];
const KEYS = [
  "a",
  "a/b",
  "a/../b",
  "../../etc/passwd",
  "%2e%2e/%2e%2e",
  "./.",
  "//",
  "a%2Fb",
  "%",
  "%zz",
  "%00",
  "a%00b",
  "%FF%FE",
  "%C3%A9",
  "%ED%A0%80",
  "\u00e9",
  "__proto__",
  "constructor",
  "k".repeat(1_024),
  "k".repeat(1_025),
  "%F0%9F%98%80",
  "+",
  "%20",
  "~",
];
const BUCKETS = [
  "",
  "a",
  "ab",
  "UPPER",
  "127.0.0.1",
  "a..b",
  "-a",
  "x".repeat(64),
  "absent-bucket",
  "..",
  "%2e%2e",
  "healthz",
];
const QUERY_NAMES = [
  "list-type",
  "prefix",
  "delimiter",
  "max-keys",
  "marker",
  "continuation-token",
  "start-after",
  "encoding-type",
  "fetch-owner",
  "uploads",
  "uploadId",
  "partNumber",
  "max-parts",
  "part-number-marker",
  "key-marker",
  "upload-id-marker",
  "max-uploads",
  "delete",
  "tagging",
  "acl",
  "policy",
  "cors",
  "versioning",
  "versions",
  "versionId",
  "location",
  "lifecycle",
  "response-content-type",
  "x-id",
  "__proto__",
  "attributes",
  "retention",
  "max-buckets",
  "bucket-region",
  "version-id-marker",
  "response-expires",
  "x-amz-meta-a",
  "x-amz-meta-%0A",
  "x-amz-copy-source",
  "x-amz-tagging",
  "X-Amz-Content-Sha256",
  "X-Amz-Signature",
  "X-Amz-Algorithm",
];
/** Values of parameters that have broken servers. */
export const VALUES = [
  "",
  "0",
  "1",
  "2",
  "-1",
  "1000",
  "99999999999999999999",
  "1e9",
  "null",
  "true",
  "a/",
  "/",
  "%0D%0A",
  "%EF%BF%BF",
  "\u00e9",
  "%00",
  "%FF",
  "%F4%8F%BF%BF",
  "url",
  "a%20b",
  "%",
  "'; drop table bucket_roots; --",
  "x".repeat(2_000),
];
const HEADERS: readonly Line[] = [
  ["range", "bytes=0-0"],
  ["range", "bytes=-0"],
  ["range", "bytes=5-1"],
  ["range", "bytes=-99999999999999999999"],
  ["range", "bytes=0-99999999999999999999,1-2"],
  ["range", "pages=1-2"],
  ["if-match", "*"],
  ["if-match", '"a", W/"b"'],
  ["if-match", '"'],
  ["if-none-match", "*"],
  ["if-none-match", ",,,"],
  ["if-modified-since", "Sat, 29 Oct 1994 19:43:31 GMT"],
  ["if-modified-since", "yesterday"],
  ["if-range", "*"],
  ["content-md5", "AAAAAAAAAAAAAAAAAAAAAA=="],
  ["content-md5", "no"],
  ["x-amz-checksum-crc32", "AAAAAA=="],
  ["x-amz-checksum-crc32", "AAAAAA"],
  ["x-amz-checksum-sha256", "x"],
  ["x-amz-checksum-md5", "x"],
  ["x-amz-checksum-algorithm", "CRC32"],
  ["x-amz-checksum-type", "FULL_OBJECT"],
  ["x-amz-checksum-mode", "ENABLED"],
  ["x-amz-sdk-checksum-algorithm", "SHA256"],
  ["x-amz-trailer", "x-amz-checksum-crc32"],
  ["x-amz-trailer", "x-amz-meta-a"],
  ["x-amz-decoded-content-length", "5"],
  ["x-amz-decoded-content-length", "-5"],
  ["x-amz-decoded-content-length", "99999999999999999999"],
  ["x-amz-copy-source", "/fuzz-one/a"],
  ["x-amz-copy-source", "%zz"],
  ["x-amz-copy-source", "fuzz-one/../a?versionId=x"],
  ["x-amz-copy-source-range", "bytes=0-1"],
  ["x-amz-copy-source-if-match", "x"],
  ["x-amz-metadata-directive", "REPLACE"],
  ["x-amz-tagging", "a=b&a=c"],
  ["x-amz-tagging", "%FF=%00"],
  ["x-amz-acl", "public-read"],
  ["x-amz-acl", "private"],
  ["x-amz-storage-class", "GLACIER"],
  ["x-amz-mp-object-size", "7"],
  ["x-amz-meta-a", "b"],
  ["x-amz-meta-\u00e9", "b"],
  ["x-amz-meta-long", "m".repeat(3_000)],
  ["x-amz-security-token", "t"],
  ["content-encoding", "aws-chunked,gzip"],
  ["content-type", "\u00ff"],
  ["expect", "100-continue"],
  ["host", "other"],
  ["origin", "https://app.example.org"],
  ["origin", "null"],
  ["access-control-request-method", "PUT"],
  ["access-control-request-headers", "authorization, x-amz-date"],
  ["access-control-request-headers", "\u00ff;"],
  ["x-amz-meta-a", "voil\u00c3\u00a0"],
  ["x-amz-copy-source", "fuzz-two/%F0%9F%98%80"],
  ["x-amz-copy-source", "/fuzz-one%2Fa?versionId=null"],
  ["x-amz-tagging-directive", "REPLACE"],
  ["x-amz-meta-fula-remote-cid", "bafkr4ifpcne3t5pzugtkaqcn5i3nzskjtpfslsnnyejlpte2spfoihzsmi"],
  ["x-amz-date", "20200101T000000Z"],
];
const PAYLOADS = [
  "UNSIGNED-PAYLOAD",
  "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
  "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
  "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
  "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD",
  "0".repeat(64),
  "",
];

function drawDocument(random: Random, { uploadId }: FuzzTarget): Buffer {
  const key = pick(random, [
    "a",
    "&amp;",
    "&#0;",
    "&#x110000;",
    "&bomb;",
    "<![CDATA[a]]>",
    "",
    "\u0001",
    "k".repeat(1_025),
  ]);
  const part = `<Part><PartNumber>${pick(random, VALUES)}</PartNumber><ETag>${key}</ETag></Part>`;
  const document = pick(random, [
    `<Delete><Object><Key>${key}</Key></Object></Delete>`,
    `<Delete>${"<Object><Key>a</Key></Object>".repeat(1_001)}</Delete>`,
    `<Delete><Object><Key>${key}</Key><VersionId>${pick(random, VALUES)}</VersionId></Object><Quiet>${key}</Quiet></Delete>`,
    `<CompleteMultipartUpload>${part}${part}</CompleteMultipartUpload>`,
    `<CompleteMultipartUpload>${part.repeat(10_001)}</CompleteMultipartUpload>`,
    `<Tagging><TagSet><Tag><Key>${key}</Key><Value>${uploadId}</Value></Tag></TagSet></Tagging>`,
    `<CreateBucketConfiguration><LocationConstraint>${key}</LocationConstraint></CreateBucketConfiguration>`,
    `<!DOCTYPE a [<!ENTITY bomb "${"b".repeat(100)}">]><Delete>&bomb;</Delete>`,
    "<a>".repeat(2_000),
    "<a/>".repeat(200_000),
    "]]>",
  ]);
  return Buffer.from(document);
}

function drawBody(random: Random, target: FuzzTarget): Buffer {
  const kind = random.int(4);
  if (kind === 0) return Buffer.alloc(0);
  if (kind === 1) return drawDocument(random, target);
  const bytes = Buffer.from(random.bytes(random.int(600)));
  if (kind === 2) return bytes;
  const trailers = pick(random, [null, [], [["x-amz-checksum-crc32", "AAAAAA=="]], [["x-amz-meta-a", "b"]]] as const);
  return frameChunks([bytes, Buffer.from(random.bytes(random.int(50)))], { seed: null, trailers });
}

function drawDraft(random: Random, target: FuzzTarget): Draft {
  const bucket = random.int(3) > 0 ? pick(random, target.buckets) : pick(random, BUCKETS);
  const key = random.int(4) > 0 ? `/${pick(random, KEYS)}` : pick(random, ["", "/"]);
  const parameters = some(random, QUERY_NAMES, 3).map((name) => {
    const value = name === "uploadId" && random.int(2) === 0 ? target.uploadId : pick(random, VALUES);
    return random.int(4) === 0 ? name : `${name}=${value}`;
  });
  return {
    method: pick(random, METHODS),
    path: random.int(20) === 0 ? pick(random, ["/", "*", "", "http://x/a", "a"]) : `/${bucket}${key}`,
    query: parameters.join("&"),
    headers: some(random, HEADERS, 3),
    body: drawBody(random, target),
  };
}

/** Signs a draft in one of the ways there are, mostly rightly. */
function signDraft(random: Random, draft: Draft, target: FuzzTarget): { query: string; headers: readonly Line[] } {
  const payload = random.int(2) === 0 ? sha256Of(draft.body) : pick(random, PAYLOADS);
  const way = random.int(10);
  const host = ["host", `127.0.0.1:${target.port}`] as const;
  if (way === 0) return { query: draft.query, headers: [host, ...draft.headers] };
  if (way === 1) {
    const token = `Bearer ${target.pair.keyId}.${target.pair.secret.reveal()}`;
    return { query: draft.query, headers: [host, ...draft.headers, ["authorization", token]] };
  }
  try {
    if (way === 2) {
      const timestamp = formatUtc(Date.now()).replaceAll(/[-:]/g, "");
      const key = { ...target.pair, userId: "", scopes: [], revoked: false };
      const scope = { date: timestamp.slice(0, 8), region: "us-east-1", service: "s3" };
      const signed = presign({ ...draft, host: host[1], timestamp }, key, scope);
      return { query: signed, headers: [host, ...draft.headers] };
    }
    return { query: draft.query, headers: signNow(target.port, target.pair, { ...draft, payload }) };
  } catch {
    // A query that cannot be read cannot be signed either.
    return { query: draft.query, headers: [host, ...draft.headers, ["authorization", "AWS4-HMAC-SHA256 x"]] };
  }
}

/** How the length of a body is told, mostly rightly. */
export function lengthLines(random: Random, body: Buffer): readonly Line[] {
  const length = ["content-length", String(body.byteLength)] as const;
  return pick<readonly Line[]>(random, [
    [length],
    [length],
    [length],
    [length],
    [length],
    [],
    [["content-length", String(body.byteLength + 10)]],
    [["content-length", "-1"]],
    [["content-length", "99999999999999999999"]],
    [length, length],
    [["transfer-encoding", "chunked"]],
  ]);
}

/** Changes a few bytes, or cuts or doubles a piece. */
export function mutate(random: Random, bytes: Buffer): Buffer {
  const at = random.int(bytes.byteLength);
  const kind = random.int(3);
  if (kind === 0) return bytes.subarray(0, at);
  if (kind === 1) return Buffer.concat([bytes.subarray(0, at), bytes.subarray(Math.max(0, at - random.int(80)))]);
  const changed = Buffer.from(bytes);
  for (let left = 1 + random.int(4); left > 0; left -= 1) changed[random.int(changed.byteLength)] = random.int(256);
  return changed;
}

/** Draws one request, as it goes over the wire; the same bytes for the same seed, but for the time of its signature. */
export function drawRequest(random: Random, target: FuzzTarget): Buffer {
  const draft = drawDraft(random, target);
  const { query, headers } = signDraft(random, draft, target);
  const lines = [...headers, ...lengthLines(random, draft.body), ["connection", "close"] as const];
  const head = [
    `${draft.method} ${draft.path}${query === "" ? "" : `?${query}`} HTTP/1.1`,
    ...lines.map(([name, value]) => `${name}: ${value}`),
  ];
  const request = Buffer.concat([Buffer.from(`${head.join("\r\n")}\r\n\r\n`, "latin1"), draft.body]);
  return random.int(6) === 0 ? mutate(random, request) : request;
}

/** What a server did with bytes. */
export interface WireOutcome {
  /** All that it sent, Latin-1; empty where it ended the connection without a word. */
  readonly received: string;
  /** Neither an answer nor an end in time. */
  readonly isHanging: boolean;
}

/**
 * Sends bytes and waits for the answer. Where none comes, because the server waits for more, the sender ends its side:
 * then the server has to end, too.
 */
export async function exchangeBytes(
  port: number,
  bytes: Uint8Array,
  patience: { readonly answerMs: number; readonly endMs: number },
): Promise<WireOutcome> {
  const { promise, resolve } = Promise.withResolvers<WireOutcome>();
  let received = "";
  const socket = connect({ host: "127.0.0.1", port });
  socket.setEncoding("latin1");
  let timer = setTimeout(() => {
    socket.end();
    timer = setTimeout(() => {
      resolve({ received, isHanging: true });
      socket.destroy();
    }, patience.endMs);
  }, patience.answerMs);
  socket.on("data", (text: string) => {
    received += text;
  });
  // A server that has heard enough resets the connection.
  socket.on("error", () => {});
  socket.on("close", () => {
    clearTimeout(timer);
    resolve({ received, isHanging: false });
  });
  socket.write(bytes);
  return await promise;
}
