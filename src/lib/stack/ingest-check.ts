import { isLoopback } from "../config/addresses.ts";
import { clearAddresses } from "../config/ingest-settings.ts";
import type { LoadedConfig } from "../config/load.ts";
import { FulaError } from "../kernel/errors.ts";
import type { Secret } from "../kernel/secret.ts";

function exposed(message: string, hint: string): FulaError {
  return new FulaError("FULA_INGEST_EXPOSED", message, { hint });
}

function unready(message: string, hint: string): FulaError {
  return new FulaError("FULA_INGEST_UNREADY", message, { hint });
}

/**
 * Checks the settings of a storage node's entrance.
 * @returns the cluster secret
 * @throws FulaError FULA_INGEST_EXPOSED, FULA_INGEST_UNREADY
 */
export function assertIngestSettings({ config, secrets }: LoadedConfig): Secret {
  const { host, masters, insecure, tlsCert, tlsKey } = config.ingest;
  if (!insecure && tlsCert === null && !isLoopback(host)) {
    throw exposed(
      `ingest.host is ${host}, and there is no certificate: tokens and blocks would cross a network unencrypted.`,
      "set ingest.tlsCert and ingest.tlsKey; or ingest.host to 127.0.0.1 behind a proxy that speaks TLS; or ingest.insecure to true.",
    );
  }
  const [clear] = insecure ? [] : clearAddresses(masters);
  if (clear !== undefined) {
    throw exposed(
      `ingest.masters has ${clear}: tokens would cross a network unencrypted.`,
      "give its https:// address.",
    );
  }
  if ((tlsCert === null) !== (tlsKey === null)) {
    throw unready("Only one of ingest.tlsCert and ingest.tlsKey is set.", "set both, or none of them.");
  }
  if (masters.length === 0) {
    throw unready("ingest.mode is on, and ingest.masters names nobody to ask about clients.", "set ingest.masters.");
  }
  if (config.blocks.mode === "local" || config.cluster.mode === "local") {
    throw unready(
      "A storage node takes blocks for its Kubo node and its cluster peer alone.",
      "set ingest.mode to off.",
    );
  }
  if (secrets.clusterSecret !== null) return secrets.clusterSecret;
  throw unready(
    "There is no CLUSTER_SECRET, with which this node shows the masters what it is.",
    "join the federation again: fula-master join-as-storage-node.",
  );
}
