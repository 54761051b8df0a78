import type { LoadedConfig } from "../config/load.ts";
import { FulaError } from "../kernel/errors.ts";
import { toolVersion } from "../kernel/project.ts";
import type { NodeRegistration } from "../membership/federation-nodes.ts";
import { type SharedSecrets, secretsDigest } from "../membership/join-bundle.ts";
import { reachableAddresses } from "../membership/reach.ts";
import { keyIdOf } from "../pinset/keys.ts";
import { readOwnPublicKey } from "../pinset/signing.ts";
import { requireClusterId } from "./federation-run.ts";
import { otherEpochs } from "./other-epochs.ts";
import { identifyWriter, type WriterIdentity } from "./writer-identity.ts";

/**
 * The secrets that all masters share, as this box has them.
 * @throws FulaError FULA_NOT_JOINED where one is missing
 */
export function sharedSecrets({ secrets, paths }: LoadedConfig): SharedSecrets {
  const { systemKey, jwtSecret, sessionSecret, encryptionKey, clusterSecret, swarmKey, otherMasterSecrets } = secrets;
  if (systemKey !== null && jwtSecret !== null && sessionSecret !== null && encryptionKey !== null) {
    return { systemKey, jwtSecret, sessionSecret, encryptionKey, clusterSecret, swarmKey, otherMasterSecrets };
  }
  throw new FulaError("FULA_NOT_JOINED", `${paths.envFile} lacks secrets that every master has.`, {
    hint: "fula-master join writes them.",
  });
}

/**
 * Digests by which this box and another are seen to have the same secrets: that of the ones in use first, then those of
 * other epochs, which one of the two may still work with while a rekey is under way.
 * @throws FulaError FULA_NOT_JOINED, FULA_ENV_VALUE
 */
export function secretsDigests(loaded: LoadedConfig): readonly string[] {
  return [sharedSecrets(loaded), ...otherEpochs(loaded.secrets)].map(secretsDigest);
}

function addressesOf(
  { config }: LoadedConfig,
  identity: WriterIdentity,
): Pick<NodeRegistration, "clusterAddresses" | "kuboAddresses"> {
  const { announce } = config.node;
  const { swarmPort } = config.kubo;
  return {
    clusterAddresses: reachableAddresses({
      peerId: identity.clusterPeerId,
      announce,
      transports: [`tcp/${config.cluster.swarmPort}`],
      heard: identity.clusterAddresses,
    }),
    kuboAddresses: reachableAddresses({
      peerId: identity.kuboPeerId,
      announce,
      transports: [`tcp/${swarmPort}`, ...(config.kubo.private ? [] : [`udp/${swarmPort}/quic-v1`])],
      heard: identity.kuboAddresses,
    }),
  };
}

/** What tells this box from another one of its name. */
export async function ownName({ config, paths }: LoadedConfig): Promise<Pick<NodeRegistration, "name" | "signingKey">> {
  const publicKey = await readOwnPublicKey(paths.keysDir);
  return { name: config.node.name, signingKey: publicKey === null ? null : keyIdOf(publicKey) };
}

/**
 * What this master writes into `federation_nodes` about itself. Asks Kubo and IPFS Cluster who they are, where it has
 * them; writes nothing.
 * @throws FulaError FULA_NOT_JOINED, FULA_CLUSTER_ID_MISSING, FULA_KUBO_UNREACHABLE, FULA_CLUSTER_UNREADABLE
 */
export async function ownRegistration(loaded: LoadedConfig, signal: AbortSignal): Promise<NodeRegistration> {
  const { config } = loaded;
  const own = {
    ...(await ownName(loaded)),
    role: config.node.role,
    clusterId: requireClusterId(loaded),
    secretsDigest: secretsDigest(sharedSecrets(loaded)),
    version: toolVersion(),
  };
  if (config.cluster.mode === "local") {
    return { ...own, clusterPeerId: null, clusterAddresses: [], kuboPeerId: null, kuboAddresses: [] };
  }
  const identity = await identifyWriter(config.blocks.kuboApi, config.cluster.api, signal);
  const { clusterPeerId, kuboPeerId } = identity;
  return { ...own, clusterPeerId, kuboPeerId, ...addressesOf(loaded, identity) };
}
