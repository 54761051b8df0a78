import type { LoadedConfig } from "../config/load.ts";
import type { Config } from "../config/schema.ts";
import type { Secret } from "../kernel/secret.ts";
import { isSameSecret } from "./federation-secrets.ts";
import { legacyClusterSecret } from "./join-options.ts";

/** Something that works as configured and still should not stay so. */
export interface Warning {
  /** Stable, for machines: `billing-off`. */
  readonly id: string;
  readonly message: string;
  readonly remedy: string;
}

const ZERO_ADDRESS = /^0x0{40}$/;

/** True where deposits cannot be credited: no vault, or the zero address that the old installers wrote. */
function isBillingOff(vaultAddress: string | null): boolean {
  return vaultAddress === null || ZERO_ADDRESS.test(vaultAddress);
}

/** What an operator should know about the way to other nodes. */
function federationWarnings({ node, cluster }: Config, clusterSecret: Secret | null): readonly Warning[] {
  const warnings: Warning[] = [];
  const { legacyPool } = cluster;
  // A rekey leaves the setting, which says where the cluster came from, and takes the danger away.
  if (legacyPool !== null && (clusterSecret === null || isSameSecret(clusterSecret, legacyClusterSecret(legacyPool)))) {
    warnings.push({
      id: "legacy-cluster-secret",
      message: `The cluster secret is the hash of the pool name "${legacyPool}": whoever guesses the name is in the pool's network.`,
      remedy:
        "as soon as the old pool's other nodes are yours or gone: fula-master membership rekey cluster, then membership sync on every master.",
    });
  }
  if (cluster.mode === "docker" && node.announce === null) {
    warnings.push({
      id: "announce-missing",
      message: "No other node can reach this box: node.announce is not set, and containers know inner addresses alone.",
      remedy: "fula-master join --announce <host name or IP address of this box>",
    });
  }
  return warnings;
}

/** What an operator should know about settings that are valid. */
export function settingWarnings({ config, secrets }: LoadedConfig): readonly Warning[] {
  const warnings: Warning[] = [...federationWarnings(config, secrets.clusterSecret)];
  // A storage node has no ledger, and none of its secrets.
  if (config.node.role === "storage") return warnings;
  if (isBillingOff(config.billing.vaultAddress)) {
    warnings.push({
      id: "billing-off",
      message: "Billing of deposits is OFF: no vault address is set, so no deposit is ever credited.",
      remedy: "fula-master join --vault-address 0x…, with the address that your users pay to.",
    });
  }
  if (secrets.encryptionKey === null) {
    warnings.push({
      id: "encryption-key-missing",
      message: "ENCRYPTION_KEY is not set: wallet addresses cannot be stored.",
      remedy: "fula-master join generates it.",
    });
  }
  return warnings;
}
