import type { Config } from "../config/schema.ts";
import type { LedgerEpochRecord } from "../membership/ledger-records.ts";
import type { ScheduleLook } from "./join-steps-schedules.ts";
import type { ScheduleKind } from "./schedules.ts";
import type { OwnLine, StandbyLine } from "./standby-status.ts";
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
    /** Where a storage node takes blocks of clients; null where it takes none, and on a master. */
    readonly ingest: string | null;
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

/** Buckets, as the ledger tells of them. */
export interface BucketsPart extends Part {
  /** How all masters save: `cas`, `single` or `fleet`. */
  readonly mode: string | null;
  /** Masters that serve now. */
  readonly serving: number | null;
  readonly buckets: number | null;
  /** The newest move of a root. RFC 3339, UTC. */
  readonly newestCommit: string | null;
  /** How long the ledger took to answer, in milliseconds. */
  readonly arbiterMs: number | null;
  /** CIDs that wait for the collector, and for how long the oldest does. */
  readonly garbage: number | null;
  readonly oldestGarbageSeconds: number | null;
  /** What nodes hold until the peers of the cluster do. */
  readonly holds: number | null;
  /** Buckets of an earlier gateway that wait for their import. */
  readonly notImported: number | null;
}

/** The pin queue of all masters. */
export interface PinningPart extends Part {
  /** Contents whose pin is to be made or let go; those in a worker's hand, and those of which the last try failed. */
  readonly waiting: number | null;
  readonly claimed: number | null;
  readonly failing: number | null;
  /** Since when users wait for the oldest; null where none waits too. */
  readonly oldestSeconds: number | null;
  /** How long the longest overdue has been without a worker. */
  readonly overdueSeconds: number | null;
  /** Contents that were given up. */
  readonly dead: number | null;
}

/** One server of a control plane on NATS. */
export interface ControlPlaneServerLine {
  readonly name: string;
  /** `behind`: it is heard and has not everything yet, or has no leader; `offline`: it is not heard. */
  readonly state: "current" | "behind" | "offline";
  /** Operations that it is behind. */
  readonly lag: number;
  /** Null where it does not answer. */
  readonly version: string | null;
  /** Whether it leads the group of all servers. */
  readonly leads: boolean;
}

/** Who belongs to the federation and who may act, and where that is kept. */
export interface ControlPlanePart extends Part {
  readonly mode: Config["controlPlane"]["mode"];
  /** Name of the server that leads; null where none does, and where the control plane is a file. */
  readonly metaLeader: string | null;
  /** Empty where the control plane is a file. */
  readonly servers: readonly ControlPlaneServerLine[];
  /** The fewest servers that any bucket lies on. */
  readonly replicas: number | null;
  /** So long ago a quorum has confirmed what an authorization rests on; null where none has. */
  readonly stampAgeMs: number | null;
  /** Those who are not revoked, and those of them who are admins. */
  readonly operators: number | null;
  readonly admins: number | null;
  readonly pools: readonly { readonly id: string; readonly epoch: number; readonly members: number }[];
  /** Members that have not put the newest secret of their pool to use. */
  readonly lagging: readonly {
    readonly pool: string;
    readonly epoch: number;
    readonly member: string;
    readonly appliedEpoch: number;
  }[];
}

/** The ledger's servers, where it has had more than one. */
export interface StandbysPart extends Part {
  /** Number of the epoch; null where it could not be asked. */
  readonly epoch: number | null;
  readonly primary: string | null;
  readonly phase: LedgerEpochRecord["phase"] | null;
  /** What this box's own server is: `primary`, `standby`, `stopped`, `absent`, `unknown`; null where it has none. */
  readonly own: OwnLine["role"] | null;
  readonly standbys: readonly Omit<StandbyLine, "address" | "slot">[];
  /** Bytes of acknowledged log that a failover at this moment would lose; null where this box cannot tell. */
  readonly wouldLoseBytes: number | null;
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

/** Base backups of the ledger, and its archived write-ahead log. */
export interface BackupsPart extends Part {
  /** Whether they are to be taken here by themselves. */
  readonly due: boolean;
  /** Null where they could not be looked at. */
  readonly count: number | null;
  /** Name and age of the newest good one; null where there is none. */
  readonly newest: string | null;
  readonly ageMs: number | null;
  /** What its test restore came to; null where none was made. */
  readonly tested: boolean | null;
  /** How far the archived WAL reaches from it on, as PostgreSQL writes a position; null where none does. */
  readonly archivedTo: string | null;
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
  readonly buckets: BucketsPart | null;
  readonly pinning: PinningPart | null;
  readonly controlPlane: ControlPlanePart | null;
  readonly standbys: StandbysPart | null;
  readonly containers: ContainersPart | null;
  readonly kubo: KuboPart | null;
  readonly cluster: ClusterPart | null;
  readonly trust: TrustPart | null;
  readonly storage: StoragePart | null;
  readonly pins: PinsPart | null;
  readonly disk: DiskPart | null;
  /** The file system of the engine's containers and volumes, where there are any of ours. */
  readonly dockerDisk: DiskPart | null;
  readonly backups: BackupsPart | null;
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
