import { createHash } from "node:crypto";
import { z } from "zod";
import { messageOf } from "../kernel/errors.ts";
import type { Secret } from "../kernel/secret.ts";
import { below } from "./upload-target.ts";

/** The network, handed in. */
export type Fetch = (url: string, init: RequestInit) => Promise<Response>;

/** What every request of an upload needs. */
export interface UploadDeps {
  readonly fetch: Fetch;
  /** A session token, a wallet token, or `<key id>.<secret>`. */
  readonly bearer: Secret;
  readonly signal: AbortSignal;
  /** Told of bytes of the object that were handed to the network; starts anew with a second way. */
  readonly onProgress?: ((sentBytes: number) => void) | undefined;
}

/** A block, and the name that it was computed here to have. */
export interface NamedBlock {
  /** CIDv1, raw, BLAKE3. */
  readonly cid: string;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** What a server answered instead of doing what was asked. */
export class UploadRefusal extends Error {
  override readonly name = "UploadRefusal";
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

const PROBE_MS = 5_000;
const MAPPING_MS = 30_000;
const BLOCK_MS = 90_000;
const ANSWER_LENGTH_MAX = 64 * 1_024;

const capabilitiesSchema = z.object({ remoteCidPut: z.boolean() });
const takenSchema = z.object({ cid: z.string() });
const ingestErrorSchema = z.object({ error: z.string() });

/** Sends a request to the very server that was named: a credential goes nowhere else. */
async function send(url: URL, init: RequestInit, deps: UploadDeps, withinMs: number | null): Promise<Response> {
  const signal = withinMs === null ? deps.signal : AbortSignal.any([deps.signal, AbortSignal.timeout(withinMs)]);
  try {
    return await deps.fetch(url.href, { ...init, signal, redirect: "error" });
  } catch (error) {
    deps.signal.throwIfAborted();
    throw new Error(`${url.origin} does not answer: ${reasonOf(error)}`, { cause: error });
  }
}

/** What Node.js says of a request that failed stands in the cause of an error that says nothing. */
function reasonOf(error: unknown): string {
  return error instanceof TypeError && error.cause !== undefined ? messageOf(error.cause) : messageOf(error);
}

async function readShort(response: Response): Promise<string> {
  return (await response.text()).slice(0, ANSWER_LENGTH_MAX);
}

function credentialOf({ bearer }: UploadDeps): { readonly authorization: string } {
  return { authorization: `Bearer ${bearer.reveal()}` };
}

function parsed<T>(schema: z.ZodType<T>, text: string): T | null {
  try {
    return schema.safeParse(JSON.parse(text)).data ?? null;
  } catch {
    return null;
  }
}

/**
 * Asks a gateway whether it takes names of blocks instead of bytes. An old one would store an object of no bytes.
 * @throws where it says nothing of it
 */
export async function takesNames(gateway: URL, deps: UploadDeps): Promise<boolean> {
  const response = await send(below(gateway, "/fula/capabilities"), {}, deps, PROBE_MS);
  const capabilities = parsed(capabilitiesSchema, await readShort(response));
  return response.ok && capabilities?.remoteCidPut === true;
}

/** Gives a block to a storage node. @throws UploadRefusal, and what the network throws */
export async function sendBlock(node: URL, { cid, bytes }: NamedBlock, deps: UploadDeps): Promise<void> {
  const url = below(node, `/v0/block?cid=${cid}`);
  deps.onProgress?.(0);
  const response = await send(url, { method: "PUT", headers: credentialOf(deps), body: bytes }, deps, BLOCK_MS);
  const text = await readShort(response);
  if (response.status !== 200) {
    const said = parsed(ingestErrorSchema, text)?.error ?? "it gives no reason";
    throw new UploadRefusal(response.status, `${url.origin} answers ${response.status}: ${said}`);
  }
  const taken = parsed(takenSchema, text)?.cid;
  if (taken !== cid) throw new UploadRefusal(200, `${url.origin} says that it took ${taken ?? "something else"}`);
  deps.onProgress?.(bytes.byteLength);
}

function refusalOf(url: URL, response: Response): UploadRefusal {
  const code = response.headers.get("x-amz-error-code");
  return new UploadRefusal(
    response.status,
    `${url.origin} answers ${response.status}${code === null ? "" : ` ${code}`}`,
  );
}

/** @throws UploadRefusal for what is no success, or names nothing */
async function etagOf(url: URL, response: Response): Promise<string> {
  await response.body?.cancel();
  const etag = response.headers.get("etag");
  if (response.status !== 200 || etag === null) throw refusalOf(url, response);
  return etag.replaceAll('"', "");
}

/** Headers that an object keeps. */
export interface ObjectHeaders {
  readonly contentType: string | null;
}

function keptHeaders({ contentType }: ObjectHeaders): Record<string, string> {
  return contentType === null ? {} : { "content-type": contentType };
}

/** Makes an object of a block that a storage node took. @throws UploadRefusal, also where it became something else */
export async function mapBlock(url: URL, block: NamedBlock, kept: ObjectHeaders, deps: UploadDeps): Promise<void> {
  const headers = {
    ...credentialOf(deps),
    ...keptHeaders(kept),
    "x-amz-meta-fula-remote-cid": block.cid,
    "x-amz-meta-fula-remote-size": String(block.bytes.byteLength),
  };
  const etag = await etagOf(url, await send(url, { method: "PUT", headers }, deps, MAPPING_MS));
  if (etag !== block.cid) throw new UploadRefusal(200, `${url.origin} made ${etag} of it`);
}

async function md5Of(content: Blob, signal: AbortSignal): Promise<string> {
  const md5 = createHash("md5");
  for await (const piece of content.stream()) {
    signal.throwIfAborted();
    md5.update(piece);
  }
  return md5.digest("base64");
}

function counting(content: Blob, onProgress: (sentBytes: number) => void): ReadableStream<Uint8Array> {
  let sentBytes = 0;
  onProgress(0);
  return content.stream().pipeThrough(
    new TransformStream<Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>>({
      transform: (piece, controller) => {
        sentBytes += piece.byteLength;
        onProgress(sentBytes);
        controller.enqueue(piece);
      },
    }),
  );
}

/**
 * Sends a whole object to a gateway, with its MD5, so that nothing else is stored.
 * @returns its ETag
 * @throws UploadRefusal, and what the network throws
 */
export async function putWhole(url: URL, content: Blob, kept: ObjectHeaders, deps: UploadDeps): Promise<string> {
  const headers = {
    ...credentialOf(deps),
    ...keptHeaders(kept),
    "content-length": String(content.size),
    "content-md5": await md5Of(content, deps.signal),
  };
  const body = counting(content, deps.onProgress ?? (() => {}));
  return await etagOf(url, await send(url, { method: "PUT", headers, body, duplex: "half" }, deps, null));
}
