import type { Config } from "../config/schema.ts";
import type { ScheduleLook } from "./join-steps-schedules.ts";
import type { ScheduleKind } from "./schedules.ts";
import type { Part } from "./status-part.ts";
import type { StorageClaim } from "./storage-verify.ts";
import type { Warning } from "./warnings.ts";

/** One dependency as `/readyz` reports it. */
export interface ReadinessCheck {
  readonly name: string;
  readonly state: "ok" | "degraded" | "failed";
  readonly error: string | null;
}

/** The process that serves. */
export interface ServePart extends Part {
  readonly pid: number | null;
  readonly since: string | null;
  /** `gateway` is null on a storage node, which serves no objects. */
  readonly endpoints: {
    readonly gateway: string | null;
    /** Null on a storage node too: it has no ledger. */
    readonly api: string | null;
    readonly operations: string;
  };
  /** Empty where nobody answered. */
  readonly checks: readonly ReadinessCheck[];
}

/** The ledger's database. */
export interface LedgerPart extends Part {
  readonly mode: Config["postgres"]["mode"];
  readonly serverVersion: string | null;
  /** Number of the highest migration in effect. */
  readonly schemaVersion: number | null;
  /** What `migrate up` would do. */
  readonly pending: readonly string[];
}

/** Who bills, and how far it is. Null where it could not be looked at. */
export interface BillingPart extends Part {
  /** Whether this master takes part. */
  readonly on: boolean | null;
  /** Name of the master that holds the cron lease; null for nobody too. */
  readonly leader: string | null;
  /** Number of the lease. */
  readonly epoch: string | null;
  /** The newest hour that is billed. RFC 3339, UTC. */
  readonly lastHour: string | null;
  /** Hours that are over and not billed. */
  readonly hoursBehind: number | null;
  readonly alerts: number | null;
}

/** The pinset. */
export interface PinsPart extends Part {
  readonly count: number | null;
}

/** The Kubo node that keeps the blocks. */
export interface KuboPart extends Part {
  /** Where its API is asked: `127.0.0.1:5001`. */
  readonly api: string;
  readonly peerId: string | null;
  readonly version: string | null;
  /** Nodes that it is connected with. */
  readonly peersConnected: number | null;
  readonly repoBytes: number | null;
  /** Its Datastore.StorageMax. */
  readonly storageMaxBytes: number | null;
}

/** One peer of the cluster. */
export interface ClusterPeerLine {
  readonly id: string;
  readonly name: string;
  readonly isSelf: boolean;
  /** `trusted`: its changes of the pinset are taken here; `follower`: it replicates alone. */
  readonly role: "trusted" | "follower";
  readonly state: "answers" | "failing" | "gone";
  /** Why it does not answer; empty where it does. */
  readonly error: string;
}

/** The IPFS Cluster peer of this box, and whom it sees. */
export interface ClusterPart extends Part {
  readonly api: string;
  readonly peers: readonly ClusterPeerLine[];
}

/** Whose changes of the pinset are taken here, beside whose should be. */
export interface TrustPart extends Part {
  /** Peer ids in `cluster.trustedPeers`. */
  readonly trusted: readonly string[];
  /** Masters that the ledger knows and that are not trusted here. */
  readonly missing: readonly string[];
  /** Trusted here, but no master that the ledger knows. */
  readonly surplus: readonly string[];
}

/** A file system that something of ours lies on. */
export interface DiskPart extends Part {
  readonly path: string;
  readonly freeBytes: number | null;
  readonly totalBytes: number | null;
}

/** One service of the Compose project. */
export interface ServiceLine {
  readonly service: string;
  readonly container: string;
  /** As the engine names it: `running`, `exited`, `restarting` …; `absent` where there is no container. */
  readonly state: string;
  /** `none`: its image has no health check. */
  readonly health: "healthy" | "unhealthy" | "starting" | "none";
  readonly image: string;
  readonly restarts: number;
}

/** The containers of this box. */
export interface ContainersPart extends Part {
  readonly project: string;
  readonly services: readonly ServiceLine[];
}

/** The last good snapshot. */
export interface SnapshotPart extends Part {
  readonly sequence: number | null;
  readonly time: string | null;
  readonly ageMs: number | null;
  readonly maxAgeMs: number;
  readonly pinCount: number | null;
}

/** The last sweep. */
export interface SweepPart extends Part {
  readonly time: string | null;
  readonly ageMs: number | null;
  readonly outcome: string | null;
  readonly pins: number | null;
  readonly below: number | null;
}

/** One thing that the last sweep found wrong and that still stands. */
export interface AlertLine {
  /** `under` or `lost`: a pin; `silent`, `hiding`, `gone` or `kubo`: a peer; anything else: what the ledger wants pinned. */
  readonly what: string;
  /** The CID, or the id of the peer. */
  readonly id: string;
  readonly name: string;
  readonly reason: string;
  /** RFC 3339, UTC. */
  readonly since: string;
}

/** The alerts that stand. */
export interface AlertsPart extends Part {
  /** How many; null where the last sweep could not tell. */
  readonly standing: number | null;
  /** The worst of them. */
  readonly worst: readonly AlertLine[];
}

/** Timers, and serve after a reboot. */
export interface SchedulesPart extends Part {
  readonly jobs: readonly { readonly kind: ScheduleKind; readonly state: ScheduleLook["state"] }[];
}

/** The key that signs snapshots. */
export interface KeyPart extends Part {
  readonly keyId: string | null;
}

/** What a storage node must be. */
export interface StoragePart extends Part {
  readonly claims: readonly StorageClaim[];
}

/** Every part of a box; null where a box of this kind has none. */
export interface StatusParts {
  readonly serve: ServePart | null;
  readonly ledger: LedgerPart | null;
  readonly billing: BillingPart | null;
  readonly containers: ContainersPart | null;
  readonly kubo: KuboPart | null;
  readonly cluster: ClusterPart | null;
  readonly trust: TrustPart | null;
  readonly storage: StoragePart | null;
  readonly pins: PinsPart | null;
  readonly disk: DiskPart | null;
  /** The file system of the engine's containers and volumes, where there are any of ours. */
  readonly dockerDisk: DiskPart | null;
  readonly snapshot: SnapshotPart | null;
  readonly sweep: SweepPart | null;
  readonly alerts: AlertsPart | null;
  readonly schedules: SchedulesPart | null;
  readonly key: KeyPart | null;
}

/** The name of a part. */
export type PartName = keyof StatusParts;

/** What `status --json` prints; docs/status.md documents every field. */
export interface StatusReport extends StatusParts {
  readonly healthy: boolean;
  readonly joined: boolean;
  /** RFC 3339, UTC. */
  readonly at: string;
  readonly version: string;
  readonly baseDir: string;
  /** Null where nothing is joined, as are all the parts. */
  readonly node: {
    readonly role: "master" | "storage";
    readonly name: string;
    readonly clusterId: string;
    readonly runtime: string;
    readonly joinedAt: string;
    /** When it left, where it did and has not joined again. RFC 3339, UTC. */
    readonly leftAt: string | null;
  } | null;
  readonly warnings: readonly Warning[];
}
