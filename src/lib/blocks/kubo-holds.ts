import { create, type KuboRPCClient } from "kubo-rpc-client";
import type { CID } from "multiformats/cid";
import { FulaError, messageOf } from "../kernel/errors.ts";
import { RAW_CODEC } from "./cid.ts";

/** Whether a hold takes what a block names with it. */
export type HoldDepth = "recursive" | "direct";

/** Whether a hold was made, or a pin that was there does. */
export type HoldOutcome = "made" | "present";

/** Pins of our own on a Kubo node, which its garbage collection heeds. Each has a name that tells it from all others. */
export interface KuboHolds {
  /**
   * Holds a block, or a whole DAG, that lies on the node; fetches nothing. What is pinned already stays as it is.
   * @returns `present` where it was pinned already, by whomever
   * @throws FulaError FULA_BLOCK_MISSING where a block of it is not on the node; FULA_KUBO_UNREACHABLE
   */
  hold(cid: CID, depth: HoldDepth, signal?: AbortSignal): Promise<HoldOutcome>;
  /** Ends a hold; false where there is none. A pin of another name stays. @throws FulaError FULA_KUBO_UNREACHABLE */
  letGo(cid: CID, signal?: AbortSignal): Promise<boolean>;
  /** Every block that is held by itself, without what it names; those of whole DAGs are not among them. @throws FulaError FULA_KUBO_UNREACHABLE */
  held(signal?: AbortSignal): AsyncIterable<CID>;
}

const HOLD_NAME = "fula-hold";

/** Every call of Kubo takes this option, which the types of its client know of none. */
const OWN_DISK_ONLY: object = { offline: true };

// Kubo has no codes: every error is a 500, and its text tells.
const NOT_PINNED = /not pinned/;
const PINNED_WHOLLY = /already pinned recursively/;
const NOT_THERE = /not found locally|could not find|block not found/i;

function matches(error: unknown, text: RegExp): boolean {
  return error instanceof Error && text.test(error.message);
}

class RpcHolds implements KuboHolds {
  readonly #url: string;
  readonly #kubo: KuboRPCClient;

  constructor(url: string) {
    this.#url = url;
    this.#kubo = create({ url });
  }

  async hold(cid: CID, depth: HoldDepth, signal?: AbortSignal): Promise<HoldOutcome> {
    // A second pin of a CID takes the name of the first away, and whoever made that one would not know it again.
    if ((await this.#nameOf(cid, depth, signal)) !== null) return "present";
    if (depth === "recursive" && cid.code !== RAW_CODEC) await this.#assertWhole(cid, signal);
    try {
      const options = { ...OWN_DISK_ONLY, recursive: depth === "recursive", name: HOLD_NAME, ...of(signal) };
      await this.#kubo.pin.add(cid, options);
      return "made";
    } catch (error) {
      if (matches(error, PINNED_WHOLLY)) return "present";
      signal?.throwIfAborted();
      throw matches(error, NOT_THERE) ? missing(cid, this.#url, error) : this.#failure(error);
    }
  }

  async letGo(cid: CID, signal?: AbortSignal): Promise<boolean> {
    for (const depth of ["recursive", "direct"] as const) {
      if ((await this.#nameOf(cid, depth, signal)) !== HOLD_NAME) continue;
      try {
        await this.#kubo.pin.rm(cid, { recursive: depth === "recursive", ...of(signal) });
        return true;
      } catch (error) {
        if (matches(error, NOT_PINNED)) return false;
        signal?.throwIfAborted();
        throw this.#failure(error);
      }
    }
    return false;
  }

  async *held(signal?: AbortSignal): AsyncGenerator<CID> {
    try {
      const pins = this.#kubo.pin.ls({ ...OWN_DISK_ONLY, type: "direct", names: true, ...of(signal) });
      for await (const pin of pins) if (pin.name === HOLD_NAME) yield pin.cid;
    } catch (error) {
      signal?.throwIfAborted();
      throw this.#failure(error);
    }
  }

  /** Kubo pins a DAG by fetching what is not there, for as long as it takes, whatever the option says. */
  async #assertWhole(cid: CID, signal: AbortSignal | undefined): Promise<void> {
    let fault = "";
    try {
      const refs = this.#kubo.refs(cid, { ...OWN_DISK_ONLY, recursive: true, unique: true, ...of(signal) });
      for await (const { err } of refs) fault ||= err === undefined ? "" : String(err);
    } catch (error) {
      signal?.throwIfAborted();
      throw matches(error, NOT_THERE) ? missing(cid, this.#url, error) : this.#failure(error);
    }
    if (fault !== "") throw missing(cid, this.#url, new Error(fault));
  }

  /** Name of the pin; empty where it has none, null where there is no such pin. */
  async #nameOf(cid: CID, type: HoldDepth, signal: AbortSignal | undefined): Promise<string | null> {
    try {
      // The kind is named because Kubo would look into every other pin for one that holds it indirectly.
      const pins = this.#kubo.pin.ls({ ...OWN_DISK_ONLY, paths: [cid], type, names: true, ...of(signal) });
      for await (const pin of pins) return pin.name ?? "";
      return null;
    } catch (error) {
      if (matches(error, NOT_PINNED)) return null;
      signal?.throwIfAborted();
      throw this.#failure(error);
    }
  }

  #failure(error: unknown): FulaError {
    return new FulaError("FULA_KUBO_UNREACHABLE", `Kubo at ${this.#url} did not pin as asked: ${messageOf(error)}.`, {
      cause: error,
      hint: "see that Kubo runs (fula-master status) and that blocks.kuboApi in fula-master.yaml is its RPC API.",
      details: { url: this.#url },
    });
  }
}

/** No option at all where there is no signal: the client would send the word "undefined". */
function of(signal: AbortSignal | undefined): { readonly signal?: AbortSignal } {
  return signal === undefined ? {} : { signal };
}

function missing(cid: CID, url: string, cause: unknown): FulaError {
  return new FulaError(
    "FULA_BLOCK_MISSING",
    `Kubo at ${url} cannot hold ${cid.toString()}: a block of it is not there.`,
    {
      cause,
      hint: "send the content again: a garbage collection may have been faster than its pin.",
      details: { cid: cid.toString() },
    },
  );
}

/** Holds on the Kubo node of this RPC API (0.36 and later). @param url `http://host:port`, or https */
export function openKuboHolds(url: string): KuboHolds {
  return new RpcHolds(url);
}
