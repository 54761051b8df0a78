import type { ClusterPeer, Pin, PinStatus } from "../cluster/pins.ts";
import type { ClusterMember } from "./cluster-members.ts";

/**
 * What is wrong with a peer as a whole: `silent`, it pings and does not answer; `hiding`, it answers and keeps its pins
 * from us; `gone`, its pings have stopped, or pins name it and the cluster does not; `kubo`, its Kubo does not work.
 */
export type PeerTrouble = "silent" | "hiding" | "gone" | "kubo";

/** A peer that a sweep cannot count on. */
export interface PeerFinding {
  readonly peer: string;
  /** The name that its operator gave it; empty where it is not known. */
  readonly name: string;
  readonly trouble: PeerTrouble;
  readonly reason: string;
  /** How many pins shall be held by it, apart from those that every peer shall hold. */
  readonly allocatedPins: number;
}

interface Seen {
  statuses: number;
  errors: number;
  lastError: string;
}

/** Gathers, while a sweep reads pins and statuses, what they say about the peers. Holds one entry a peer. */
export class PeerWatch {
  readonly #peers: ReadonlyMap<string, ClusterPeer>;
  #allocated = new Map<string, number>();
  #seen = new Map<string, Seen>();
  #statuses = 0;

  constructor(peers: readonly ClusterPeer[]) {
    this.#peers = new Map(peers.map((peer) => [peer.id, peer]));
  }

  /** How many peers belong to the cluster and still ping: as many as must hold a pin that every peer shall hold. */
  get members(): number {
    return [...this.#peers.values()].filter(({ state }) => state !== "gone").length;
  }

  /** The peers that belong to the cluster as it says itself, with the names that are known. */
  known(): readonly Pick<ClusterPeer, "id" | "name">[] {
    return [...this.#peers.values()].filter(({ state }) => state !== "gone");
  }

  /** Forgets what an earlier reading said. */
  beginReading(): void {
    this.#allocated = new Map();
    this.#seen = new Map();
    this.#statuses = 0;
  }

  notePin({ allocations }: Pin): void {
    for (const peer of allocations) this.#allocated.set(peer, (this.#allocated.get(peer) ?? 0) + 1);
  }

  noteStatus({ peers }: PinStatus): void {
    if (peers.length > 0) this.#statuses += 1;
    for (const { peer, status, error } of peers) {
      let seen = this.#seen.get(peer);
      if (seen === undefined) this.#seen.set(peer, (seen = { statuses: 0, errors: 0, lastError: "" }));
      seen.statuses += 1;
      if (status !== "cluster_error") continue;
      seen.errors += 1;
      seen.lastError = error;
    }
  }

  /** Peers that hold, or may be told to hold, a pin. */
  working(): ReadonlySet<string> {
    const bad = new Set(this.findings([]).map(({ peer }) => peer));
    return new Set([...this.#peers.keys()].filter((id) => !bad.has(id)));
  }

  /** True where a peer that cannot be counted on still looks to the cluster as if it could. */
  get isMisled(): boolean {
    return this.findings([]).some(({ trouble }) => trouble !== "gone");
  }

  /** What is wrong with which peer. @param members peers of earlier sweeps, which the cluster may not know any more */
  findings(members: readonly ClusterMember[]): readonly PeerFinding[] {
    const names = new Map(members.map(({ id, name }) => [id, name]));
    const forgotten = new Set(members.filter(({ isForgotten }) => isForgotten).map(({ id }) => id));
    const ids = new Set([...this.#peers.keys(), ...this.#allocated.keys(), ...names.keys()]);
    const findings: PeerFinding[] = [];
    for (const id of ids) {
      const peer = this.#peers.get(id);
      const found = this.#judge(id, peer);
      if (found === null) continue;
      // The cluster goes on alerting for a peer that was taken out; as long as a pin names it, that matters.
      if (found.trouble === "gone" && forgotten.has(id) && !this.#allocated.has(id)) continue;
      const name = peer === undefined || peer.name === "" ? (names.get(id) ?? "") : peer.name;
      findings.push({ peer: id, name, ...found, allocatedPins: this.#allocated.get(id) ?? 0 });
    }
    return findings.toSorted((a, b) => (a.peer < b.peer ? -1 : 1));
  }

  #judge(id: string, peer: ClusterPeer | undefined): Pick<PeerFinding, "trouble" | "reason"> | null {
    if (peer === undefined) return { trouble: "gone", reason: "the cluster does not know it any more" };
    if (peer.state === "gone") return { trouble: "gone", reason: peer.error === "" ? "its pings stopped" : peer.error };
    if (peer.state === "failing") return { trouble: "silent", reason: peer.error };
    const seen = this.#seen.get(id);
    if (seen !== undefined && seen.errors > 0) return { trouble: "silent", reason: seen.lastError };
    if (seen === undefined && this.#statuses > 0) {
      return { trouble: "hiding", reason: "it answers, but tells nothing about its pins" };
    }
    return peer.error === "" ? null : { trouble: "kubo", reason: peer.error };
  }
}

/** What an operator can do about it. */
export const PEER_REMEDIES: Readonly<Record<PeerTrouble, string>> = {
  silent: "see that it runs and that its cluster port can be reached from here",
  hiding: "have it trust this master: its cluster.trustedPeers (CLUSTER_CRDT_TRUSTEDPEERS) must name this cluster peer",
  gone: "start it again; if it was taken out for good: fula-master sweep --forget-peer <id>",
  kubo: "see that the Kubo beside it runs",
};
