import { loadConfig, type LoadedConfig } from "../config/load.ts";
import type { PathsContext } from "../config/paths.ts";
import { type Clock, formatUtc } from "../kernel/clock.ts";
import { FulaError } from "../kernel/errors.ts";
import type { Random } from "../kernel/random.ts";
import { parseDurationMs } from "../kernel/units.ts";
import type { CheckSignature, DocumentSigner, FederationPeer } from "../membership/federation.ts";
import { listFederationNodes, mastersOf } from "../membership/federation-nodes.ts";
import type { PeersDocument } from "../membership/peers-document.ts";
import { ensureProbe, probeOf } from "../membership/probe.ts";
import { rawKeyOf, verifyEd25519 } from "../pinset/keys.ts";
import { readSigningKey } from "../pinset/signing.ts";
import type { Pool } from "../postgres/pool.ts";
import { openBlocks, withPinCluster } from "./pinset.ts";

/** What the commands about the federation's boxes take from their command. */
export interface FederationContext extends PathsContext {
  readonly clock: Clock;
  readonly random: Random;
  readonly signal: AbortSignal;
}

/** Checks signatures of tokens and peers documents: ed25519, as snapshots have it. */
export const checkFederationSignature: CheckSignature = (keyId, message, signature) => {
  const raw = rawKeyOf(keyId);
  return raw !== null && verifyEd25519(raw, message, signature);
};

/**
 * The configuration of a master that others can join.
 * @throws FulaError FULA_FEDERATION_NEEDED on a storage node, and where the pinset is a file on this box
 */
export async function loadFederatedMaster(context: PathsContext): Promise<LoadedConfig> {
  const loaded = await loadConfig(context);
  const { node, cluster } = loaded.config;
  if (node.role === "storage") {
    throw new FulaError("FULA_FEDERATION_NEEDED", "This box is a storage node: it says nothing about the federation.", {
      hint: "run the command on a master.",
    });
  }
  if (cluster.mode === "local") {
    throw new FulaError(
      "FULA_FEDERATION_NEEDED",
      "This master keeps its pinset in a file (cluster.mode local), so there is no IPFS Cluster that others could join.",
      {
        hint: "a federation begins with a master on containers: fula-master join --runtime docker, in a base directory of its own.",
      },
    );
  }
  return loaded;
}

/** @throws FulaError FULA_NOT_JOINED */
export function requireClusterId({ config }: LoadedConfig): string {
  if (config.node.clusterId !== null) return config.node.clusterId;
  throw new FulaError("FULA_NOT_JOINED", "This base directory has no master: the settings name no node.clusterId.", {
    hint: "fula-master join makes one; or give --base-dir if it lives elsewhere.",
  });
}

/**
 * The key that this master signs with: the one of its snapshots.
 * @throws FulaError FULA_NOT_JOINED, FULA_SIGNING_KEY_INVALID
 */
export async function requireSigner({ paths }: LoadedConfig): Promise<DocumentSigner> {
  const key = await readSigningKey(paths.keysDir);
  if (key !== null) return key;
  throw new FulaError("FULA_NOT_JOINED", `There is no signing key in ${paths.keysDir}.`, {
    hint: "fula-master join makes it.",
  });
}

/**
 * The masters of the federation as they have written themselves down.
 * @throws FulaError FULA_FEDERATION_NEEDED where this master is not among them
 */
export async function requireMasters(pool: Pool, loaded: LoadedConfig): Promise<readonly FederationPeer[]> {
  const { name, announce } = loaded.config.node;
  const masters = mastersOf(await listFederationNodes(pool));
  if (masters.some((master) => master.name === name)) return masters;
  throw new FulaError(
    "FULA_FEDERATION_NEEDED",
    `${name} has not written down under which address other boxes reach it${announce === null ? ", and no node.announce is set" : ""}.`,
    {
      hint:
        announce === null
          ? "fula-master join --announce <host name or IP address of this box>"
          : "fula-master join writes it down; run it again.",
    },
  );
}

/** Reads how long something shall be good. @throws FulaError FULA_USAGE */
export function parseValidity(option: string, text: string, maxMs: number): number {
  const ms = parseDurationMs(text);
  if (ms !== null && ms >= 60_000 && ms <= maxMs) return ms;
  throw new FulaError(
    "FULA_USAGE",
    `${option} ${JSON.stringify(text)} is not a time from 1m to ${maxMs / 86_400_000}d.`,
    {
      hint: `${option} 24h`,
    },
  );
}

/**
 * What this master says about the federation, ready to be signed. Pins the probe on every peer where it is not, unless
 * it shall only look.
 */
export async function describePeers(
  loaded: LoadedConfig,
  masters: readonly FederationPeer[],
  options: { readonly validMs: number; readonly pinProbe: boolean },
  { clock, signal }: Pick<FederationContext, "clock" | "signal">,
): Promise<PeersDocument> {
  const { node, cluster } = loaded.config;
  const clusterId = requireClusterId(loaded);
  const nowMs = clock.nowMs();
  const probe = options.pinProbe
    ? await withPinCluster(loaded, { clock }, async (pins) =>
        ensureProbe(pins, await openBlocks(loaded), nowMs, signal),
      )
    : probeOf(clusterId).cid.toString();
  return {
    format: 1,
    clusterId,
    issuer: node.name,
    issuedAt: formatUtc(nowMs),
    expiresAt: formatUtc(nowMs + options.validMs),
    masters,
    replication: { min: cluster.replicationMin, max: cluster.replicationMax },
    probe,
  };
}
