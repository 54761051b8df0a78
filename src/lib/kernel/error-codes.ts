/**
 * What kind of failure a code is. The kind alone decides the exit code:
 * `failed` 1 (a check came out bad), `usage` 2 (options or configuration), `refused` 3 (a guard tripped),
 * `unavailable` 4 (a dependency did not answer; retry later).
 */
export type ErrorKind = "failed" | "usage" | "refused" | "unavailable";

interface ErrorCodeEntry {
  readonly kind: ErrorKind;
  /** One sentence for docs/ERRORS.md: when an operator meets this code. */
  readonly when: string;
}

/**
 * Every error code that an operator or a client can meet, in one place, so that a code has one meaning and one exit
 * code everywhere. docs/ERRORS.md is rendered from this table and a test compares the two.
 */
export const ERROR_CODES = {
  // Command line
  FULA_USAGE: {
    kind: "usage",
    when: "The command line has an unknown command or option, or a value that is not allowed.",
  },
  FULA_CONFIRMATION_REQUIRED: {
    kind: "refused",
    when: "A destructive command was run without a terminal to ask on and without --yes, or the answer was no.",
  },
  FULA_INTERRUPTED: {
    kind: "failed",
    when: "The run was stopped by SIGINT or SIGTERM before it was done (exit code 130).",
  },

  // Files and locks
  FULA_LOCKED: { kind: "refused", when: "Another process holds the lock of what this command wants to change." },
  FULA_DISK_FULL: {
    kind: "unavailable",
    when: "The disk ran full while a file was written; the unfinished file was removed.",
  },
  FULA_PATH_NOT_WRITABLE: {
    kind: "usage",
    when: "A directory or file that must be written is read-only or not permitted.",
  },

  // Pinset, restore and sweep
  FULA_CLUSTER_ID_MISSING: {
    kind: "usage",
    when: "The settings name no cluster id, so this box has no pinset yet: it has not joined.",
  },
  FULA_CLUSTER_UNSUPPORTED: {
    kind: "refused",
    when: "The settings ask for a kind of pinset that this version cannot work with.",
  },
  FULA_CLUSTER_UNREADABLE: {
    kind: "unavailable",
    when: "The list of pins or of their statuses could not be read in full; nothing is concluded from the part that was.",
  },
  FULA_PINSET_MISSING: {
    kind: "unavailable",
    when: "The pinset file of an embedded master is not there. It is never replaced by an empty one silently.",
  },
  FULA_PINSET_CORRUPT: {
    kind: "unavailable",
    when: "The pinset file of an embedded master is damaged; it is left as it is.",
  },
  FULA_PINSET_NEWER: {
    kind: "refused",
    when: "The pinset file was written by a newer version of fula-master, or it is no pinset file at all.",
  },
  FULA_PINSET_FOREIGN: {
    kind: "refused",
    when: "The pinset file belongs to another cluster id than the settings name.",
  },
  FULA_PINSET_BUSY: {
    kind: "unavailable",
    when: "Another process kept the pinset file locked for longer than a write waits.",
  },
  FULA_PIN_INVALID: { kind: "usage", when: "A pin record has a field whose value is not allowed." },
  FULA_PIN_NOT_FOUND: { kind: "failed", when: "A pin that was named is not in the pinset." },
  FULA_DAG_UNREADABLE: {
    kind: "failed",
    when: "A block that should name further blocks cannot be read as what its CID says it is.",
  },
  FULA_SNAPSHOT_ABSENT: { kind: "failed", when: "There is no good snapshot to restore from." },
  FULA_RESTORE_REFUSED: {
    kind: "failed",
    when: "The snapshot does not verify, so nothing is restored from it.",
  },
  FULA_RESTORE_WRONG_CLUSTER: {
    kind: "refused",
    when: "The snapshot is of another cluster than the one it was to be restored into.",
  },
  FULA_RESTORE_UNORDERED: {
    kind: "failed",
    when: "A list of pins that must be in order of their CIDs is not, so it cannot be compared.",
  },
  FULA_SWEEP_EMPTIED: {
    kind: "refused",
    when: "A sweep found an empty pinset where an earlier one found pins.",
  },
} as const satisfies Record<string, ErrorCodeEntry>;

/** A code of `ERROR_CODES`. */
export type ErrorCode = keyof typeof ERROR_CODES;
