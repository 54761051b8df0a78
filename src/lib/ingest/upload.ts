import { blake3 } from "@noble/hashes/blake3.js";
import { CID } from "multiformats/cid";
import { create as createMultihash } from "multiformats/hashes/digest";
import { BLAKE3, RAW_CODEC } from "../blocks/cid.ts";
import { FulaError, messageOf } from "../kernel/errors.ts";
import {
  mapBlock,
  type NamedBlock,
  type ObjectHeaders,
  putWhole,
  sendBlock,
  takesNames,
  type UploadDeps,
  UploadRefusal,
} from "./upload-requests.ts";
import { type ObjectName, objectUrl } from "./upload-target.ts";

/** An object to upload. */
export interface UploadRequest extends ObjectName, ObjectHeaders {
  /** Base URL of the gateway that the object is to be at. */
  readonly gateway: URL;
  /** Base URLs of storage nodes, in the order in which they are tried; none = the gateway takes the bytes. */
  readonly nodes: readonly URL[];
  /** The bytes; read twice where they go to the gateway. */
  readonly content: Blob;
}

/** Why the bytes went to the gateway although storage nodes were named. */
export interface FellBack {
  /** Which step was not possible: the object's size, the gateway, the nodes, or making an object of the block. */
  readonly at: "size" | "capabilities" | "ingest" | "mapping";
  readonly because: string;
}

/** What became of an upload. */
export interface UploadOutcome {
  /** Who took the bytes. */
  readonly via: "node" | "gateway";
  /** Base URL of that node; null where the gateway took them. */
  readonly node: string | null;
  /** What the gateway calls the content: by way of a node its CID. Without quotes. */
  readonly etag: string;
  readonly sizeBytes: number;
  /** Null where nothing went otherwise than asked. */
  readonly fellBack: FellBack | null;
}

/** What IPFS peers exchange as one block at most; a node that takes less says so. */
export const BLOCK_BYTES_MAX = 2 * 1_024 * 1_024;

/** Names bytes as storage nodes do: CIDv1 of codec raw and hash BLAKE3. */
export function nameBlock(bytes: Uint8Array<ArrayBuffer>): NamedBlock {
  return { cid: CID.createV1(RAW_CODEC, createMultihash(BLAKE3, blake3(bytes))).toString(), bytes };
}

class NotPossible extends Error {
  readonly at: FellBack["at"];

  constructor(at: FellBack["at"], because: string) {
    super(because);
    this.at = at;
  }
}

/** Runs one step of the way by a node. Whatever it fails for, the other way is left. */
async function step<T>(at: FellBack["at"], { signal }: UploadDeps, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    signal.throwIfAborted();
    throw new NotPossible(at, messageOf(error));
  }
}

/** @returns the node that took it */
async function giveToNode(nodes: readonly URL[], block: NamedBlock, deps: UploadDeps): Promise<URL> {
  const failures: string[] = [];
  for (const node of nodes) {
    try {
      await sendBlock(node, block, deps);
      return node;
    } catch (error) {
      deps.signal.throwIfAborted();
      failures.push(messageOf(error));
    }
  }
  throw new Error(failures.join("; "));
}

async function byNode(url: URL, request: UploadRequest, deps: UploadDeps): Promise<UploadOutcome> {
  const { gateway, nodes, content } = request;
  const sizeBytes = content.size;
  if (sizeBytes === 0 || sizeBytes > BLOCK_BYTES_MAX) {
    throw new NotPossible("size", `storage nodes take blocks of 1 to ${BLOCK_BYTES_MAX} bytes`);
  }
  const isKnown = await step("capabilities", deps, async () => await takesNames(gateway, deps));
  if (!isKnown) throw new NotPossible("capabilities", `${gateway.origin} does not say that it takes names of blocks`);
  const block = nameBlock(new Uint8Array(await content.arrayBuffer()));
  const node = await step("ingest", deps, async () => await giveToNode(nodes, block, deps));
  await step("mapping", deps, async () => {
    await mapBlock(url, block, request, deps);
  });
  return { via: "node", node: node.origin, etag: block.cid, sizeBytes, fellBack: null };
}

/** What the gateway said of the whole object is the upload's end. */
function failed(request: UploadRequest, error: unknown): FulaError {
  const { bucket, key } = request;
  const message = `s3://${bucket}/${key} was not stored: ${messageOf(error)}.`;
  const details = { bucket, key };
  if (error instanceof UploadRefusal && error.status < 500 && error.status !== 429 && error.status !== 408) {
    return new FulaError("FULA_UPLOAD_REFUSED", message, {
      cause: error,
      hint: "see that the bucket is there, that the credential is in force and may write, and that the account has room.",
      details: { ...details, status: error.status },
    });
  }
  return new FulaError("FULA_UPLOAD_SILENT", message, {
    cause: error,
    hint: "run it again: what was not stored leaves nothing behind.",
    details,
  });
}

/**
 * Uploads an object as clients of the fleet do: asks the gateway what it can, gives the block to a storage node, has the
 * gateway make an object of its name, and sends the whole object to the gateway where any of this is not possible.
 * @throws FulaError FULA_UPLOAD_REFUSED, FULA_UPLOAD_SILENT, FULA_USAGE; the signal's reason
 */
export async function uploadObject(request: UploadRequest, deps: UploadDeps): Promise<UploadOutcome> {
  const url = objectUrl(request.gateway, request);
  let fellBack: FellBack | null = null;
  if (request.nodes.length > 0) {
    try {
      return await byNode(url, request, deps);
    } catch (error) {
      if (!(error instanceof NotPossible)) throw error;
      fellBack = { at: error.at, because: error.message };
    }
  }
  try {
    const etag = await putWhole(url, request.content, request, deps);
    return { via: "gateway", node: null, etag, sizeBytes: request.content.size, fellBack };
  } catch (error) {
    deps.signal.throwIfAborted();
    throw failed(request, error);
  }
}
