/**
 * One pin with everything that it carries, in the field names and value forms of IPFS Cluster's REST API
 * (`GET /allocations`), so that a snapshot of an embedded master and one of a cluster are the same format.
 */
export interface Pin {
  /** CIDv0 or CIDv1 text, as the pin was made. */
  readonly cid: string;
  readonly type: "pin" | "meta-pin" | "clusterdag-pin" | "shard-pin";
  readonly mode: "recursive" | "direct";
  readonly name: string;
  /** −1 = on every peer; 0 = what the sweep's setting asks for. */
  readonly replication_factor_min: number;
  readonly replication_factor_max: number;
  readonly shard_size: number;
  readonly user_allocations: readonly string[];
  /** Peer ids that hold it; empty where every peer does. */
  readonly allocations: readonly string[];
  /** RFC 3339 UTC, or null = never. */
  readonly expire_at: string | null;
  readonly metadata: Readonly<Record<string, string>>;
  /** Multiaddresses that the content may be fetched from. */
  readonly origins: readonly string[];
  /** −1 recursive, 0 direct. */
  readonly max_depth: number;
  readonly reference: string | null;
  /** When it was pinned; RFC 3339 UTC. */
  readonly timestamp: string;
}

/** How many peers hold a pin, at least and at most; both −1 = every peer. */
export type ReplicationFactors = Pick<Pin, "replication_factor_min" | "replication_factor_max">;

/** Every peer holds the pin. */
export const EVERY_PEER: ReplicationFactors = { replication_factor_min: -1, replication_factor_max: -1 };

/** A field of a pin other than its CID. */
export type PinField = Exclude<keyof Pin, "cid">;

/** Status names of IPFS Cluster's pin tracker. */
export type PeerPinStatus =
  | "undefined"
  | "cluster_error"
  | "pin_error"
  | "unpin_error"
  | "pinned"
  | "pinning"
  | "unpinning"
  | "unpinned"
  | "remote"
  | "pin_queued"
  | "unpin_queued"
  | "sharded"
  | "unexpectedly_unpinned";

/** Where one pin really stands, peer by peer. */
export interface PinStatus {
  readonly cid: string;
  readonly name: string;
  readonly peers: readonly {
    readonly peer: string;
    readonly status: PeerPinStatus;
    /** What the peer says went wrong; empty where nothing did. */
    readonly error: string;
  }[];
}

/** One peer of a cluster, as the peer that we ask sees it. */
export interface ClusterPeer {
  readonly id: string;
  /** The name that its operator gave it; empty where it is not known. */
  readonly name: string;
  /** True for the peer that we ask. */
  readonly isSelf: boolean;
  /**
   * `answers`: it answered when it was asked just now; `failing`: it pings, but did not answer; `gone`: its pings have
   * stopped. A peer that has been gone since before the peer that we ask was started may not be listed at all.
   */
  readonly state: "answers" | "failing" | "gone";
  /** Why it does not answer, or what it says is wrong with its Kubo; empty where nothing is. */
  readonly error: string;
  /** Peer id of its Kubo; null where that is not known. */
  readonly kuboId: string | null;
  /** Multiaddresses under which other peers reach it. */
  readonly addresses: readonly string[];
  /** Multiaddresses of its Kubo. */
  readonly kuboAddresses: readonly string[];
}

/** How a status is found out. */
export interface StatusOptions {
  /**
   * True reads and re-hashes every block instead of only looking whether it is there.
   * @throws FulaError FULA_CLUSTER_UNSUPPORTED where the peers cannot be asked for that
   */
  readonly deep?: boolean;
  readonly signal?: AbortSignal | undefined;
}

/** How a pin is put. */
export interface PutOptions {
  readonly replaces?: string;
}

/**
 * A pinset and the peers that hold it: on an embedded master this box alone (`cluster/local`), elsewhere an IPFS
 * Cluster. Every listing streams; none holds the pinset in memory.
 */
export interface PinCluster {
  /** Names the pinset for ever: a snapshot of one must not be taken for a snapshot of another. */
  readonly clusterId: string;
  /** True when `pins()` and `statuses()` come in ascending order of the CID text, compared by UTF-8 bytes. */
  readonly sorted: boolean;
  /** Fields that the cluster sets by itself and that `put` cannot force; a restore does not compare them. */
  readonly assignedFields: readonly PinField[];
  /** What a pin gets whose record leaves its factors to the cluster (0), and what a new pin should be made with. */
  readonly defaultFactors: ReplicationFactors;
  /** @throws FulaError FULA_CLUSTER_UNREADABLE when the source cannot be read in full */
  pins(signal?: AbortSignal): AsyncIterable<Pin>;
  /** How many pins there are, found out another way than by listing them; null where the source cannot tell. */
  count(signal?: AbortSignal): Promise<number | null>;
  pin(cid: string, signal?: AbortSignal): Promise<Pin | null>;
  /**
   * What `pin` gives once this record was put: without what the cluster cannot keep, and with its defaults where the
   * record leaves something to it. `assignedFields` are as in the record.
   */
  asStored(pin: Pin): Pin;
  /**
   * Writes the whole record, replacing an older one of the same CID. A cluster of several peers chooses who holds it:
   * those that hold it already stay, others are added where fewer than the minimum of them are alive.
   * @param options `replaces`: a pin that the peers have already and that shares much with this one. Peers that hold it
   *   then look only at what differs; the cluster takes factors, metadata and origins from it and not from the record.
   * @throws FulaError FULA_PIN_INVALID, FULA_PIN_REFUSED for a record that it does not take; FULA_CLUSTER_READ_ONLY
   */
  put(pin: Pin, options?: PutOptions): Promise<void>;
  /** False where it was not pinned. @throws FulaError FULA_CLUSTER_READ_ONLY */
  remove(cid: string): Promise<boolean>;
  /**
   * Where every pin really stands. A pin that was there before the listing began and still is when it ends is in it.
   * @throws FulaError FULA_CLUSTER_UNREADABLE when the source cannot be read in full
   */
  statuses(options?: StatusOptions): AsyncIterable<PinStatus>;
  status(cid: string, options?: StatusOptions): Promise<PinStatus | null>;
  /** Asks the peers that shall hold a pin to try again what failed. Chooses no other peers: `put` does. */
  recover(cid: string): Promise<void>;
  /** Who belongs to the cluster. A peer that answers may still keep its pins from us: then no status names it. */
  peers(signal?: AbortSignal): Promise<readonly ClusterPeer[]>;
}

/** What may be chosen when a pin is made; the rest has the defaults of IPFS Cluster. */
export type PinOptions = Partial<Omit<Pin, "cid" | "timestamp" | "max_depth">>;

/** A new recursive pin on every peer, unless the options say otherwise. @param timestamp when it is made, RFC 3339 UTC */
export function makePin(cid: string, timestamp: string, options: PinOptions = {}): Pin {
  const mode = options.mode ?? "recursive";
  return {
    type: "pin",
    name: "",
    ...EVERY_PEER,
    shard_size: 0,
    user_allocations: [],
    allocations: [],
    expire_at: null,
    metadata: {},
    origins: [],
    reference: null,
    ...options,
    cid,
    mode,
    max_depth: mode === "direct" ? 0 : -1,
    timestamp,
  };
}
