import {
  type ClusterPeer,
  EVERY_PEER,
  type PeerPinStatus,
  type Pin,
  type PinCluster,
  type PinField,
  type PinStatus,
} from "../../src/lib/cluster/pins.ts";

/** What a memory cluster starts with, and the ways in which it can be told to fail. */
export interface MemoryClusterOptions {
  readonly clusterId?: string;
  /** Peers that hold every pin; default one, "peer-a". */
  readonly peers?: readonly string[];
  readonly pins?: Iterable<Pin>;
  /** False lists pins in the order in which they were put, as IPFS Cluster does. Default true. */
  readonly sorted?: boolean;
  readonly assignedFields?: readonly PinField[];
  /** What becomes of a record that is put; default: it is kept as it is. */
  readonly asStored?: (pin: Pin) => Pin;
}

/** The in-memory twin of every pin cluster: the same contract, and faults on request. */
export interface MemoryCluster extends PinCluster {
  readonly records: Map<string, Pin>;
  /** `cid` or `cid@peer` → what that peer reports instead of "pinned". */
  readonly reported: Map<string, PeerPinStatus>;
  /** Peer id → what `peers` tells about it otherwise than that it answers; a peer that no status names is added. */
  readonly peerFacts: Map<string, Partial<Omit<ClusterPeer, "id">>>;
  /** Peers that keep their pins from us: no status names them. */
  readonly hiding: Set<string>;
  /** CIDs that `recover` was asked for, in order. */
  readonly recovered: string[];
  /** How many times `put` was called. */
  readonly puts: string[];
  readonly faults: {
    /** Thrown by a listing after that many entries. */
    throwAfter?: { readonly entries: number; readonly error: Error } | undefined;
    /** `pins()` ends, as if complete, after that many entries. */
    pinsEndAfter?: number | undefined;
    /** `statuses()` ends, as if complete, after that many entries. */
    statusesEndAfter?: number | undefined;
    /** Called before each put; what it throws is thrown. */
    onPut?: ((pin: Pin) => void | Promise<void>) | undefined;
    /** Called on each recover. */
    onRecover?: ((cid: string) => void) | undefined;
    /** What `count()` answers instead of the truth; null = the source cannot tell. */
    count?: number | null | undefined;
  };
}

async function* listed<T>(
  entries: readonly T[],
  endAfter: () => number | undefined,
  fault: () => MemoryCluster["faults"]["throwAfter"],
  signal: AbortSignal | undefined,
): AsyncGenerator<T> {
  let given = 0;
  for (const entry of entries) {
    signal?.throwIfAborted();
    const failing = fault();
    if (failing !== undefined && given >= failing.entries) throw failing.error;
    if (given === endAfter()) return;
    yield entry;
    given += 1;
    if (given % 256 === 0) await Promise.resolve();
  }
}

/** A pinset in memory. Statuses are "pinned" on every peer unless `reported` says otherwise. */
export function createMemoryCluster(options: MemoryClusterOptions = {}): MemoryCluster {
  const { clusterId = "cluster-under-test", peers = ["peer-a"], sorted = true, assignedFields = [] } = options;
  const asStored = options.asStored ?? ((pin: Pin) => pin);
  const records = new Map<string, Pin>();
  for (const pin of options.pins ?? []) records.set(pin.cid, pin);
  const reported: MemoryCluster["reported"] = new Map();
  const peerFacts: MemoryCluster["peerFacts"] = new Map();
  const hiding = new Set<string>();
  const faults: MemoryCluster["faults"] = {};
  const recovered: string[] = [];
  const puts: string[] = [];

  const inOrder = (): Pin[] => {
    const all = [...records.values()];
    return sorted ? all.toSorted((a, b) => (a.cid < b.cid ? -1 : 1)) : all;
  };
  const statusOf = (pin: Pin): PinStatus => ({
    cid: pin.cid,
    name: pin.name,
    peers: peers
      .filter((peer) => !hiding.has(peer))
      .map((peer) => {
        const status = reported.get(`${pin.cid}@${peer}`) ?? reported.get(pin.cid) ?? "pinned";
        return { peer, status, error: status === "pinned" ? "" : `told to be ${status}` };
      }),
  });
  return {
    clusterId,
    sorted,
    assignedFields,
    defaultFactors: EVERY_PEER,
    records,
    reported,
    peerFacts,
    hiding,
    recovered,
    puts,
    faults,
    pins: (signal) =>
      listed(
        inOrder(),
        () => faults.pinsEndAfter,
        () => faults.throwAfter,
        signal,
      ),
    count: async () => (faults.count === undefined ? records.size : faults.count),
    pin: async (cid) => records.get(cid) ?? null,
    asStored,
    put: async (pin) => {
      await faults.onPut?.(pin);
      puts.push(pin.cid);
      records.set(pin.cid, structuredClone(asStored(pin)));
    },
    remove: async (cid) => records.delete(cid),
    statuses: async function* (statusOptions) {
      const source = listed(
        inOrder(),
        () => faults.statusesEndAfter,
        () => faults.throwAfter,
        statusOptions?.signal,
      );
      for await (const pin of source) yield statusOf(pin);
    },
    status: async (cid) => {
      const pin = records.get(cid);
      return pin === undefined ? null : statusOf(pin);
    },
    recover: async (cid) => {
      recovered.push(cid);
      faults.onRecover?.(cid);
    },
    peers: async () =>
      [...new Set([...peers, ...peerFacts.keys()])].map((id, index) => ({
        id,
        name: id,
        isSelf: index === 0,
        state: "answers",
        error: "",
        kuboId: `kubo-of-${id}`,
        addresses: [],
        kuboAddresses: [],
        ...peerFacts.get(id),
      })),
  };
}
