import { create } from "kubo-rpc-client";
import { FulaError, messageOf } from "../kernel/errors.ts";

/** What a Kubo node says of itself. */
export interface KuboNode {
  readonly peerId: string;
  /** `0.42.0`. */
  readonly version: string;
  /** Version of its repository's layout, such as `18`. */
  readonly repoVersion: string;
  readonly repoBytes: number;
  /** Its Datastore.StorageMax: garbage is collected when it is nearly reached. */
  readonly storageMaxBytes: number;
  /** Peer ids of the nodes that it is connected with. */
  readonly connected: readonly string[];
}

/**
 * Asks a Kubo node's RPC API who it is, how full it is and whom it is connected with.
 * @param url base URL of the API
 * @throws FulaError FULA_KUBO_UNREACHABLE; the signal's reason
 */
export async function readKuboNode(url: string, signal: AbortSignal): Promise<KuboNode> {
  const kubo = create({ url });
  try {
    const [{ id }, { version }, repo, peers] = await Promise.all([
      kubo.id({ signal }),
      kubo.version({ signal }),
      kubo.repo.stat({ signal }),
      kubo.swarm.peers({ signal }),
    ]);
    return {
      peerId: id.toString(),
      version,
      repoVersion: repo.version,
      repoBytes: Number(repo.repoSize),
      storageMaxBytes: Number(repo.storageMax),
      connected: peers.map(({ peer }) => peer.toString()),
    };
  } catch (error) {
    signal.throwIfAborted();
    throw silent(url, error);
  }
}

/**
 * Asks a Kubo node for its peer id, and so whether it answers at all.
 * @param url base URL of the API
 * @throws FulaError FULA_KUBO_UNREACHABLE
 */
export async function readKuboPeerId(url: string, signal: AbortSignal): Promise<string> {
  try {
    const { id } = await create({ url }).id({ signal });
    return id.toString();
  } catch (error) {
    throw silent(url, error);
  }
}

/**
 * Asks a Kubo node for the multiaddresses under which it says that others reach it, each with `/p2p/<id>`.
 * @param url base URL of the API
 * @throws FulaError FULA_KUBO_UNREACHABLE
 */
export async function readKuboAddresses(url: string, signal: AbortSignal): Promise<readonly string[]> {
  try {
    const { addresses } = await create({ url }).id({ signal });
    return addresses.map((address) => address.toString());
  } catch (error) {
    throw silent(url, error);
  }
}

function silent(url: string, error: unknown): FulaError {
  return new FulaError("FULA_KUBO_UNREACHABLE", `Kubo at ${url} does not answer as a Kubo node: ${messageOf(error)}.`, {
    cause: error,
    hint: "look whether it runs, and whether blocks.kuboApi is the address of its RPC API.",
    details: { url },
  });
}
