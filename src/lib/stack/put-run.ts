import { openAsBlob } from "node:fs";
import { readFile, stat } from "node:fs/promises";
import { resolve } from "node:path";
import { z } from "zod";
import { nameBlock, BLOCK_BYTES_MAX, uploadObject, type UploadOutcome } from "../ingest/upload.ts";
import { objectUrl, parseBaseUrl, parseObjectName } from "../ingest/upload-target.ts";
import { FulaError, messageOf } from "../kernel/errors.ts";
import { Secret } from "../kernel/secret.ts";
import { askNetwork } from "../runtime/network.ts";

/** What `put` is given. */
export interface PutOptions {
  readonly file: string;
  /** `s3://<bucket>/<key>`. */
  readonly target: string;
  readonly endpoint?: string | undefined;
  readonly tokenFile?: string | undefined;
  readonly keyFile?: string | undefined;
  readonly viaIngest: readonly string[];
  readonly contentType?: string | undefined;
  readonly insecure: boolean;
  readonly dryRun: boolean;
}

/** What `put` prints; `--json` keeps these fields. */
export interface PutReport {
  readonly dryRun: boolean;
  readonly bucket: string;
  readonly key: string;
  /** The object's URL at the gateway. */
  readonly url: string;
  readonly sizeBytes: number;
  /** What a storage node calls the content; null where it is empty or larger than a block. */
  readonly cid: string | null;
  /** Null in a dry run. */
  readonly outcome: Omit<UploadOutcome, "sizeBytes"> | null;
}

/** What uploading takes from its command. */
export interface PutContext {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  readonly signal: AbortSignal;
  readonly onProgress: (sentBytes: number, sizeBytes: number) => void;
}

/** A file with a credential is a line or two. */
const CREDENTIAL_BYTES_MAX = 16 * 1_024;
const TOKEN = /^[!-~]+$/;

const keyDocument = z.object({ keyId: z.string(), secret: z.string() });

function unreadable(path: string, error: unknown): FulaError {
  return new FulaError("FULA_UPLOAD_FILE", `${path} cannot be read: ${messageOf(error)}.`, {
    cause: error,
    hint: "name a file that is there, and that this user may read.",
    details: { path },
  });
}

async function readCredential(path: string): Promise<string> {
  try {
    const { size } = await stat(path);
    if (size > CREDENTIAL_BYTES_MAX) throw new Error(`it has ${size} bytes, which no credential has`);
    return (await readFile(path, "utf8")).trim();
  } catch (error) {
    throw unreadable(path, error);
  }
}

function noCredential(path: string, hint: string): FulaError {
  return new FulaError("FULA_UPLOAD_FILE", `${path} does not hold a credential.`, { hint, details: { path } });
}

async function readToken(path: string): Promise<Secret> {
  const token = await readCredential(path);
  if (TOKEN.test(token)) return new Secret(token);
  throw noCredential(path, "it is to hold one token on one line, without the word Bearer.");
}

function pairOf(text: string): { readonly keyId: string; readonly secret: string } | null {
  if (text.startsWith("{")) {
    try {
      return keyDocument.safeParse(JSON.parse(text)).data ?? null;
    } catch {
      return null;
    }
  }
  const keyId = /^(?:export )?AWS_ACCESS_KEY_ID=(\S+)$/m.exec(text)?.[1];
  const secret = /^(?:export )?AWS_SECRET_ACCESS_KEY=(\S+)$/m.exec(text)?.[1];
  return keyId === undefined || secret === undefined ? null : { keyId, secret };
}

async function readKey(path: string): Promise<Secret> {
  const pair = pairOf(await readCredential(path));
  if (pair !== null) return new Secret(`${pair.keyId}.${pair.secret}`);
  throw noCredential(path, "it is to hold what fula-master key create printed with --json or --env.");
}

async function credentialOf({ tokenFile, keyFile }: PutOptions, cwd: string): Promise<Secret> {
  if (tokenFile !== undefined && keyFile === undefined) return await readToken(resolve(cwd, tokenFile));
  if (keyFile !== undefined && tokenFile === undefined) return await readKey(resolve(cwd, keyFile));
  throw new FulaError("FULA_USAGE", "put takes its credential from --token-file or from --key-file, one of them.", {
    hint: "fula-master put --help",
  });
}

function endpointOf({ endpoint, insecure }: PutOptions, env: PutContext["env"]): URL {
  const text = endpoint ?? env["AWS_ENDPOINT_URL_S3"];
  if (text !== undefined && text !== "") return parseBaseUrl(text, insecure);
  throw new FulaError("FULA_USAGE", "put needs --endpoint: the base URL of the gateway that the object is to be at.", {
    hint: "fula-master put <file> s3://bucket/key --endpoint https://gateway.example.com --token-file <file>",
  });
}

async function openFile(path: string): Promise<Blob> {
  try {
    if (!(await stat(path)).isFile()) throw new Error("it is no file");
    return await openAsBlob(path);
  } catch (error) {
    throw unreadable(path, error);
  }
}

async function cidOf(content: Blob): Promise<string | null> {
  if (content.size === 0 || content.size > BLOCK_BYTES_MAX) return null;
  return nameBlock(new Uint8Array(await content.arrayBuffer())).cid;
}

/**
 * Uploads a file as an object, by way of a storage node where one is named and can take it.
 * @throws FulaError FULA_USAGE, FULA_UPLOAD_FILE, FULA_UPLOAD_REFUSED, FULA_UPLOAD_SILENT; the signal's reason
 */
export async function runPut(options: PutOptions, context: PutContext): Promise<PutReport> {
  const { bucket, key } = parseObjectName(options.target);
  const gateway = endpointOf(options, context.env);
  const nodes = options.viaIngest.map((text) => parseBaseUrl(text, options.insecure));
  const url = objectUrl(gateway, { bucket, key }).href;
  const bearer = await credentialOf(options, context.cwd);
  const content = await openFile(resolve(context.cwd, options.file));
  const sizeBytes = content.size;
  const report = { bucket, key, url, sizeBytes, cid: await cidOf(content) };
  if (options.dryRun) return { dryRun: true, ...report, outcome: null };
  const { sizeBytes: _, ...outcome } = await uploadObject(
    { gateway, nodes, bucket, key, content, contentType: options.contentType ?? null },
    {
      fetch: askNetwork,
      bearer,
      signal: context.signal,
      onProgress: (sentBytes) => {
        context.onProgress(sentBytes, sizeBytes);
      },
    },
  );
  return { dryRun: false, ...report, outcome };
}
