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
} as const satisfies Record<string, ErrorCodeEntry>;

/** A code of `ERROR_CODES`. */
export type ErrorCode = keyof typeof ERROR_CODES;
