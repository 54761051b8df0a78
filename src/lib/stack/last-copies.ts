import type { PinCluster } from "../cluster/pins.ts";
import { FulaError } from "../kernel/errors.ts";

/** What would be lost to the federation with this box. */
export interface LastCopies {
  /** Pins that were looked at. */
  readonly pins: number;
  /** Those that no other peer that answers is known to hold. */
  readonly count: number;
  /** CIDs of the first few of them. */
  readonly shown: readonly string[];
  /** True where no other peer answers at all. */
  readonly alone: boolean;
}

/** How a box sees who holds what. */
export type HolderView =
  /** By the status that each peer gives of each pin. */
  | "statuses"
  /** By who was chosen to hold each pin: a follower is told no more. */
  | "allocations";

const SHOWN_MAX = 5;

class Tally {
  pins = 0;
  count = 0;
  readonly shown: string[] = [];

  add(cid: string, isLast: boolean): void {
    this.pins += 1;
    if (!isLast) return;
    this.count += 1;
    if (this.shown.length < SHOWN_MAX) this.shown.push(cid);
  }
}

async function byStatuses(
  cluster: PinCluster,
  self: string,
  alive: ReadonlySet<string>,
  signal: AbortSignal,
  tally: Tally,
): Promise<void> {
  for await (const { cid, peers } of cluster.statuses({ signal })) {
    const holders = peers.filter(({ status }) => status === "pinned").map(({ peer }) => peer);
    tally.add(cid, holders.includes(self) && !holders.some((peer) => alive.has(peer)));
  }
}

async function byAllocations(
  cluster: PinCluster,
  self: string,
  alive: ReadonlySet<string>,
  signal: AbortSignal,
  tally: Tally,
): Promise<void> {
  for await (const { cid, allocations } of cluster.pins(signal)) {
    // None named: every peer is to hold it.
    const isOurs = allocations.length === 0 || allocations.includes(self);
    const hasOther = allocations.length === 0 ? alive.size > 0 : allocations.some((peer) => alive.has(peer));
    tally.add(cid, isOurs && !hasOther);
  }
}

/**
 * Counts the pins that nobody but this box holds, in constant memory. Only peers that answer at this moment count as
 * holders.
 * @throws FulaError FULA_CLUSTER_UNREADABLE, FULA_PINSET_*
 */
export async function countLastCopies(cluster: PinCluster, view: HolderView, signal: AbortSignal): Promise<LastCopies> {
  const peers = await cluster.peers(signal);
  const self = peers.find(({ isSelf }) => isSelf);
  if (self === undefined) {
    throw new FulaError("FULA_CLUSTER_UNREADABLE", "The cluster does not tell which of its peers is this box's own.", {
      hint: "look into the log of ipfs-cluster-service.",
    });
  }
  const alive = new Set(peers.filter(({ state, isSelf }) => state === "answers" && !isSelf).map(({ id }) => id));
  const tally = new Tally();
  const count = view === "statuses" ? byStatuses : byAllocations;
  await count(cluster, self.id, alive, signal, tally);
  return { pins: tally.pins, count: tally.count, shown: tally.shown, alone: alive.size === 0 };
}
