import { z } from "zod";
import { FulaError, messageOf } from "../kernel/errors.ts";
import { isEmptyBlock, parseCid } from "./cid.ts";

/** Asks an HTTP server. */
export type Ask = (url: string, init: RequestInit) => Promise<Response>;

/** What a Kubo node does with other nodes, through its RPC API. */
export interface KuboNetwork {
  /**
   * Adds up the bytes of every block below a CID, each once. What the node does not have it fetches.
   * @throws FulaError FULA_KUBO_UNREACHABLE; the signal's reason
   */
  measure(cid: string, signal: AbortSignal): Promise<bigint>;
  /** Connects with a node. @returns false where that did not work @param address `/ip4/…/p2p/<id>` */
  dial(address: string, signal: AbortSignal): Promise<boolean>;
}

/**
 * The last line of an answer, which alone counts the blocks: one that was cut short says in a trailer, which nobody sees
 * here, that it is not whole. Kubo writes numbers; none comes near what a number of JavaScript holds exactly.
 */
const statSchema = z.object({
  UniqueBlocks: z.number().int().positive(),
  DagStats: z.array(z.object({ Size: z.number().int().nonnegative() })).length(1),
});

/** The last line that ends in a line feed, however the rest is cut into pieces. */
async function lastLineOf(body: AsyncIterable<Uint8Array>): Promise<string> {
  let held = Buffer.alloc(0);
  for await (const piece of body) {
    held = Buffer.concat([held, piece]);
    // What stands before the last whole line was progress.
    const before = held.lastIndexOf("\n", held.lastIndexOf("\n") - 1);
    if (before > 0) held = held.subarray(before + 1);
  }
  return held.toString("utf8").trim();
}

/**
 * Opens it.
 * @param url `http://host:port` of the RPC API, or https
 */
export function openKuboNetwork(url: string, ask: Ask): KuboNetwork {
  const call = async (path: string, query: Readonly<Record<string, string>>, signal: AbortSignal): Promise<Response> =>
    await ask(`${url}/api/v0/${path}?${new URLSearchParams(query).toString()}`, { method: "POST", signal });
  return {
    measure: async (cid, signal) => {
      // Of a content without a byte Kubo says nothing: it divides by its size.
      if (isEmptyBlock(parseCid(cid))) return 0n;
      try {
        // With a line a block: an answer that takes minutes to begin would be given up on the way.
        const response = await call("dag/stat", { arg: cid, progress: "true" }, signal);
        if (!response.ok || response.body === null) throw new Error((await response.text()).slice(0, 500));
        const [stat] = statSchema.parse(JSON.parse(await lastLineOf(response.body))).DagStats;
        return BigInt(stat?.Size ?? 0);
      } catch (error) {
        signal.throwIfAborted();
        throw new FulaError("FULA_KUBO_UNREACHABLE", `Kubo at ${url} did not measure ${cid}: ${messageOf(error)}.`, {
          cause: error,
          hint: "see that Kubo runs (fula-master status); ipfs dag stat shows what it says itself.",
          details: { url, cid },
        });
      }
    },
    dial: async (address, signal) => {
      try {
        const response = await call("swarm/connect", { arg: address }, signal);
        // The body has to be read for the connection to be used again.
        await response.text();
        return response.ok;
      } catch {
        return false;
      }
    },
  };
}
