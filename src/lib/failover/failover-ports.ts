import type { Clock } from "../kernel/clock.ts";
import type { Journal } from "../kernel/journal.ts";
import type { Random } from "../kernel/random.ts";
import type { LedgerBox, LedgerEpoch, LedgerEpochRecord, LedgerStore } from "../membership/ledger-records.ts";
import type { FenceEvidence } from "./judge-fence.ts";

/** What a server of the ledger says of itself over the network. */
export type ServerLook =
  /** `refused`: its box answers, and nobody listens there. */
  | { readonly kind: "silent"; readonly why: string; readonly refused: boolean }
  | {
      readonly kind: "answers";
      readonly inRecovery: boolean;
      /** The newest epoch that its data has; null for none. */
      readonly epoch: LedgerEpoch | null;
      /** What it has received, or written as a primary: an LSN as PostgreSQL writes it. */
      readonly lsn: string;
      /** Whether a standby receives from somebody now; false of a primary. */
      readonly isReceiving: boolean;
    };

/** A content that no box which answers has: an object, a block of a bucket's index, or what a user has pinned. */
export interface MissingContent {
  readonly cid: string;
  /** The name of its pin: `object:<bucket>/<key>`, `index-node:<bucket>`, or what its user chose. */
  readonly name: string;
  readonly why: string;
}

/** One thing that was looked at or tried. */
export interface FailoverCheck {
  /** Stable, for machines: `candidate`, `billing`. */
  readonly id: string;
  /** `bad` stops the run; `attention` is for people; what could not be looked at is never `ok`. */
  readonly state: "ok" | "attention" | "bad";
  readonly seen: string;
  readonly durationMs: number;
  /** What it found to be missing everywhere; left out where nothing is. */
  readonly missing?: readonly MissingContent[];
}

/** What became of a command of the operator's. */
export interface HookOutcome {
  /** `none`: no command is set. */
  readonly state: "none" | "ended" | "failed";
  /** How it ended, with the end of what it printed. */
  readonly seen: string;
}

/** What is left at the new primary of the access that the old epoch gave. */
export interface AccessLook {
  /** Sessions of the ledger's role from before the epoch's row. */
  readonly oldSessions: number;
  readonly seen: string;
}

/** What became of writes at the new primary. */
export interface SealLook {
  /** What became of a write that said it was of the old epoch. */
  readonly oldWrite: "rejected" | "accepted" | "unknown";
  /** Whether a row that was just written there was read again. */
  readonly newWrite: boolean;
  readonly seen: string;
}

/** A hand-over as the operator's commands are told of it. */
export interface HandOver {
  readonly from: string;
  /** Null while nobody is chosen. */
  readonly to: string | null;
}

/** What a run does to the world, and how it looks at it. Whoever puts it together knows settings and secrets. */
export interface FailoverPorts {
  readonly store: LedgerStore;
  readonly clock: Clock;
  readonly random: Random;
  readonly journal: Pick<Journal, "append">;
  /** Never rejects for a server that does not answer. */
  lookAtServer(box: LedgerBox, signal: AbortSignal): Promise<ServerLook>;
  /** Asks the old master's gateway and API, over the network, whether they take anything. */
  probeServices(old: LedgerBox, signal: AbortSignal): Promise<FenceEvidence>;
  /** Has this box do what the epoch's record asks of it, where no `serve` of its own does. */
  actHere(signal: AbortSignal): Promise<void>;
  runHook(hook: "fence" | "flip", handOver: HandOver, signal: AbortSignal): Promise<HookOutcome>;
  /** Whether a command is set. */
  readonly hasFenceCommand: boolean;
  /** Looks at what is no server of the ledger: backups, snapshots, hooks. */
  checkBox(signal: AbortSignal): Promise<readonly FailoverCheck[]>;
  /** Servers that must not become the primary for a reason that this box can see, such as a full disk. */
  findUnfit(boxes: readonly LedgerBox[], signal: AbortSignal): Promise<ReadonlyMap<string, string>>;
  /** Makes this box's commands and services use the epoch's primary from now on. */
  followEpoch(epoch: LedgerEpochRecord, signal: AbortSignal): Promise<void>;
  /** Ends the sessions of the old epoch at the new primary. */
  revokeAccess(epoch: LedgerEpochRecord, signal: AbortSignal): Promise<AccessLook>;
  /** Tries a write of either epoch at the new primary. */
  seal(epoch: LedgerEpochRecord, replaces: LedgerEpoch, signal: AbortSignal): Promise<SealLook>;
  /** Tries what must work on the new master. What is missing everywhere is bad, unless the operator accepts so much. */
  verifyService(
    epoch: LedgerEpochRecord,
    report: (text: string) => void,
    signal: AbortSignal,
  ): Promise<readonly FailoverCheck[]>;
}
