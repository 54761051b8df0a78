import { create, type KuboRPCClient } from "kubo-rpc-client";
import type { CID } from "multiformats/cid";
import { FulaError, messageOf } from "../kernel/errors.ts";
import { assertBlockFits, BLOCK_BYTES_MAX, type BlockStore } from "./block-store.ts";
import { BLAKE3, blockMatches, IDENTITY, isEmptyBlock, verifyBlock } from "./cid.ts";

/** How long to wait for a Kubo node, in milliseconds. */
export interface KuboPatience {
  /** For an answer from its own disk. */
  readonly answerMs: number;
  /** For a block that it has to fetch from other nodes. */
  readonly fetchMs: number;
}

const DEFAULT_PATIENCE: KuboPatience = { answerMs: 30_000, fetchMs: 10_000 };

/** Every call of Kubo takes this option, which the types of its client know of none: what is not there is missing at once. */
const OWN_DISK_ONLY: object = { offline: true };

/** A Kubo node to which blocks are given by somebody who has hashed them. */
export interface VerifiedPuts {
  /**
   * Stores bytes that are known to hash to the CID; the key under which Kubo stored them is compared all the same.
   * @throws FulaError FULA_BLOCK_MISMATCH, FULA_BLOCK_TOO_LARGE, FULA_KUBO_UNREACHABLE
   */
  putVerified(cid: CID, bytes: Uint8Array, signal?: AbortSignal): Promise<void>;
}

/**
 * Blocks on a Kubo node, through its RPC API (0.36 and later). A block that it does not have is fetched from the nodes
 * that it is connected with, for a short time: in a federation not every node holds every pin.
 * @param url `http://host:port` of the RPC API, or https
 */
export function openKuboBlockStore(url: string, patience: KuboPatience = DEFAULT_PATIENCE): BlockStore & VerifiedPuts {
  return new KuboBlockStore(url, patience);
}

class KuboBlockStore implements BlockStore, VerifiedPuts {
  readonly #url: string;
  readonly #patience: KuboPatience;
  readonly #kubo: KuboRPCClient;

  constructor(url: string, patience: KuboPatience) {
    this.#url = url;
    this.#patience = patience;
    this.#kubo = create({ url });
  }

  async put(cid: CID, bytes: Uint8Array, signal?: AbortSignal): Promise<void> {
    assertBlockFits(cid, bytes);
    verifyBlock(cid, bytes);
    await this.putVerified(cid, bytes, signal);
  }

  async putVerified(cid: CID, bytes: Uint8Array, signal?: AbortSignal): Promise<void> {
    assertBlockFits(cid, bytes);
    if (isKnownToAll(cid)) return;
    const stored = await this.#ask(this.#patience.answerMs, signal, async (stop) =>
      this.#kubo.block.put(bytes, {
        // Kubo keeps blocks by multihash: the codec of a CID is nothing that it stores.
        format: "raw",
        version: 1,
        mhtype: cid.multihash.code === BLAKE3 ? "blake3" : "sha2-256",
        pin: false,
        // We hold to the limit of what peers exchange; Kubo before 0.40 has a lower one of its own.
        allowBigBlock: true,
        signal: stop,
      }),
    );
    if (Buffer.compare(stored.multihash.bytes, cid.multihash.bytes) === 0) return;
    throw new FulaError(
      "FULA_BLOCK_MISMATCH",
      `Kubo at ${this.#url} stored ${cid.toString()} as ${stored.toString()}.`,
      { hint: "see that blocks.kuboApi is a Kubo node, and what lies between: the bytes were changed on their way." },
    );
  }

  async add(cid: CID, bytes: Uint8Array, signal?: AbortSignal): Promise<null> {
    await this.put(cid, bytes, signal);
    // Others write to the node too, and it keeps no record of whom: its own garbage collection takes what nobody pinned.
    return null;
  }

  async get(cid: CID, signal?: AbortSignal): Promise<Uint8Array> {
    const found = await this.find(cid, signal);
    if (found !== null) return found;
    const fetched = await this.#fetch(cid, signal);
    if (fetched === null) throw missing(cid, this.#url);
    return this.#verified(cid, fetched);
  }

  async find(cid: CID, signal?: AbortSignal): Promise<Uint8Array | null> {
    signal?.throwIfAborted();
    if (isEmptyBlock(cid)) return new Uint8Array();
    if (cid.multihash.code === IDENTITY) return cid.multihash.digest;
    const bytes = await this.#read(cid, signal);
    return bytes === null ? null : this.#verified(cid, bytes);
  }

  async has(cid: CID): Promise<boolean> {
    if (isKnownToAll(cid)) return true;
    const found = await this.#orNull(
      this.#ask(this.#patience.answerMs, undefined, async (signal) =>
        this.#kubo.block.stat(cid, { ...OWN_DISK_ONLY, signal }),
      ),
    );
    return found !== null;
  }

  async delete(cid: CID): Promise<boolean> {
    if (isKnownToAll(cid)) return false;
    const error = await this.#ask(this.#patience.answerMs, undefined, async (signal) => {
      for await (const removed of this.#kubo.block.rm(cid, { signal })) if (removed.error) return removed.error;
      return null;
    });
    if (error === null) return true;
    if (isMissing(error)) return false;
    if (!error.message.includes("pinned")) throw this.#failure(error);
    throw new FulaError("FULA_BLOCK_PINNED", `Kubo at ${this.#url} keeps ${cid.toString()}: ${error.message}.`, {
      hint: "fula-master pin rm takes the pin away; the block goes with Kubo's next garbage collection.",
      details: { cid: cid.toString() },
    });
  }

  #verified(cid: CID, bytes: Uint8Array): Uint8Array {
    if (bytes.byteLength <= BLOCK_BYTES_MAX && blockMatches(cid, bytes)) return bytes;
    throw new FulaError(
      "FULA_BLOCK_CORRUPT",
      `Kubo at ${this.#url} gives bytes for ${cid.toString()} that do not hash to it.`,
      {
        hint: "ipfs repo verify lists what is damaged; ipfs block rm --force removes the block, then store or fetch it again.",
        details: { cid: cid.toString() },
      },
    );
  }

  /** The bytes that lie on the node itself; null where it has none. */
  async #read(cid: CID, signal: AbortSignal | undefined): Promise<Uint8Array | null> {
    return this.#orNull(
      this.#ask(this.#patience.answerMs, signal, async (stop) =>
        this.#kubo.block.get(cid, { ...OWN_DISK_ONLY, signal: stop }),
      ),
    );
  }

  /** The bytes as other nodes have them; null where none gave them in time. */
  async #fetch(cid: CID, signal: AbortSignal | undefined): Promise<Uint8Array | null> {
    const { fetchMs } = this.#patience;
    const timeout = AbortSignal.timeout(fetchMs);
    try {
      return await this.#kubo.block.get(cid, { signal: withTimeout(timeout, signal) });
    } catch (error) {
      signal?.throwIfAborted();
      if (timeout.aborted || isMissing(error)) return null;
      throw this.#failure(error);
    }
  }

  async #orNull<T>(answer: Promise<T>): Promise<T | null> {
    try {
      return await answer;
    } catch (error) {
      if (error instanceof FulaError && isMissing(error.cause)) return null;
      throw error;
    }
  }

  // The client's own `timeout` option never ends a call, so each is ended by a signal.
  async #ask<T>(
    timeoutMs: number,
    signal: AbortSignal | undefined,
    call: (stop: AbortSignal) => Promise<T>,
  ): Promise<T> {
    signal?.throwIfAborted();
    try {
      return await call(withTimeout(AbortSignal.timeout(timeoutMs), signal));
    } catch (error) {
      signal?.throwIfAborted();
      throw this.#failure(error);
    }
  }

  #failure(error: unknown): FulaError {
    const cause =
      error instanceof Error && error.cause instanceof Error
        ? `${error.message}: ${error.cause.message}`
        : messageOf(error);
    return new FulaError("FULA_KUBO_UNREACHABLE", `Kubo at ${this.#url} did not do what was asked: ${cause}.`, {
      cause: error,
      hint: "see that Kubo runs (fula-master status) and that blocks.kuboApi in fula-master.yaml is its RPC API.",
      details: { url: this.#url },
    });
  }
}

/** Blocks whose bytes follow from their CID: nobody has to keep or fetch them. */
function isKnownToAll(cid: CID): boolean {
  return cid.multihash.code === IDENTITY || isEmptyBlock(cid);
}

function withTimeout(timeout: AbortSignal, signal: AbortSignal | undefined): AbortSignal {
  return signal === undefined ? timeout : AbortSignal.any([timeout, signal]);
}

/** Kubo has no code for it: every error is a 500, and its text tells. */
function isMissing(error: unknown): boolean {
  return error instanceof Error && /not found locally|could not find|block not found/i.test(error.message);
}

function missing(cid: CID, url: string): FulaError {
  return new FulaError(
    "FULA_BLOCK_MISSING",
    `Block ${cid.toString()} is neither on Kubo at ${url} nor on a node near it.`,
    {
      hint: "fula-master sweep shows which pins lack blocks; ipfs swarm peers shows which nodes Kubo is connected with.",
      details: { cid: cid.toString() },
    },
  );
}
