import type { Config, SettingKey } from "../config/schema.ts";
import type { FederationNode, NodeRegistration } from "../membership/federation-nodes.ts";

/** How the trust of this master's cluster peer stands beside what the masters have written into the ledger. */
export interface TrustLook {
  /** Names of the other masters. */
  readonly masters: readonly string[];
  /** Names of masters whose cluster peer ours does not trust. */
  readonly missing: readonly string[];
  /** Peer ids that are trusted and that no master has written down: set by hand, or of a master that left. */
  readonly unknown: readonly string[];
  /** Settings to write, and their new values; empty where nothing is to change, and where the peer is not ours to set. */
  readonly settings: ReadonlyMap<SettingKey, readonly string[]>;
  /** What an operator has to do himself, in words; null where nothing. */
  readonly byHand: string | null;
}

function united(there: readonly string[], added: readonly string[]): readonly string[] {
  return [...new Set([...there, ...added])];
}

function isPeer(node: FederationNode): node is FederationNode & { readonly clusterPeerId: string } {
  return node.role === "master" && node.clusterPeerId !== null;
}

/**
 * Compares the trusted peers of the settings with the masters of the ledger. A peer that is trusted stays so: who was
 * set by hand, as in an old pool, stands in no ledger.
 */
export function trustChanges(config: Config, nodes: readonly FederationNode[]): TrustLook {
  const masters = nodes.filter(isPeer);
  const others = masters.filter(({ name }) => name !== config.node.name);
  const { trustedPeers, bootstrap, mode } = config.cluster;
  const trusted = new Set(trustedPeers);
  const missing = others.filter(({ clusterPeerId }) => !trusted.has(clusterPeerId));
  const known = new Set(masters.map(({ clusterPeerId }) => clusterPeerId));
  const unknown = trustedPeers.filter((peer) => !known.has(peer));
  const look = { masters: others.map(({ name }) => name), missing: missing.map(({ name }) => name), unknown };
  if (mode === "rest") {
    // What an adopted peer trusts is in its own settings, which no API shows.
    const ids = others.map(({ clusterPeerId }) => clusterPeerId).join(",");
    const byHand = others.length === 0 ? null : `set CLUSTER_CRDT_TRUSTEDPEERS of the adopted peer to ${ids}`;
    return { ...look, missing: [], settings: new Map(), byHand };
  }
  const settings = new Map<SettingKey, readonly string[]>();
  const want = (key: SettingKey, there: readonly string[], added: readonly string[]): void => {
    const all = united(there, added);
    if (all.length !== there.length) settings.set(key, all);
  };
  if (mode === "docker") {
    want(
      "cluster.trustedPeers",
      trustedPeers,
      others.map(({ clusterPeerId }) => clusterPeerId),
    );
    want(
      "cluster.bootstrap",
      bootstrap,
      others.flatMap(({ clusterAddresses }) => clusterAddresses),
    );
    want(
      "kubo.peers",
      config.kubo.peers,
      others.flatMap(({ kuboAddresses }) => kuboAddresses),
    );
  }
  return { ...look, settings, byHand: null };
}

function canonical(node: NodeRegistration): string {
  return JSON.stringify(Object.entries(node).toSorted(([a], [b]) => (a < b ? -1 : 1)));
}

/** True where what a box says of itself is what stands in the ledger. */
export function isSameRegistration(own: NodeRegistration, row: FederationNode): boolean {
  const { joinedAt: _, seenAt: __, ...written } = row;
  return canonical(own) === canonical(written);
}
