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
  FULA_OUTPUT_LOST: {
    kind: "unavailable",
    when: "The result could not be written to stdout, for example because the disk that it is redirected to is full.",
  },
  FULA_LOOK_TIMEOUT: {
    kind: "unavailable",
    when: "A part of the box that status or doctor looked at gave no answer in the time that a look may take.",
  },
  FULA_CHECK_FAILED: {
    kind: "failed",
    when: "A check of doctor came out bad, and no other code says what it found.",
  },
  FULA_NOT_BUILT: {
    kind: "usage",
    when: "The launcher found no compiled program, or a package that it needs is not installed.",
  },

  // Lease
  FULA_LEASE_LOST: {
    kind: "unavailable",
    when: "Work under the cron lease was stopped because the lease ended, or its late write was refused: another master has it.",
  },
  FULA_LEASE_HELD: {
    kind: "refused",
    when: "Something that only the holder of the cron lease may do was asked of a master while another one holds it.",
  },
  FULA_LEASE_POOLER: {
    kind: "usage",
    when: "The ledger is reached through a pooler that gives each transaction another session, so no lock can be held.",
  },

  // Billing
  FULA_AMOUNT_INVALID: {
    kind: "usage",
    when: "A text that shall be an amount of FULA is none, or an amount is zero, has the wrong sign, or is more than the ledger can hold.",
  },
  FULA_CREDIT_REFERENCE_TAKEN: {
    kind: "refused",
    when: "The reference or key of a credit stands in the ledger for another user or another amount.",
  },
  FULA_ACCOUNT_UNKNOWN: {
    kind: "usage",
    when: "A command was to work on the account of a user whom the ledger does not know; none is made for a mistyped name.",
  },
  FULA_ENTRY_NOT_FOUND: { kind: "usage", when: "The ledger has no entry of this id, or no deposit of this reference." },
  FULA_REVERSAL_REFUSED: { kind: "refused", when: "An entry that is no user's deposit was to be reversed." },
  FULA_HISTORY_PAGE: { kind: "usage", when: "A page of an account's history was asked for that cannot be there." },
  FULA_ALERT_NOT_FOUND: { kind: "usage", when: "No alert of billing with this id stands." },
  FULA_HOUR_INVALID: { kind: "usage", when: "A text that shall name an hour names none." },
  FULA_BILLING_MODE_MIXED: {
    kind: "refused",
    when: "BILLING_IDEMPOTENCY of this master differs from how the federation bills, and other masters serve.",
  },
  FULA_BILLING_UNKEYED: {
    kind: "refused",
    when: "Hours were to be billed by hand where fees have no keys: every such run would charge everybody once more.",
  },
  FULA_BILLING_INDEX: {
    kind: "refused",
    when: "The unique index that keeps an hour from being charged twice is missing or INVALID; nothing was charged.",
  },
  FULA_BILLING_HOUR: {
    kind: "refused",
    when: "An hour was to be billed or waived that is not over, or that is billed already.",
  },
  FULA_USAGE_HELD: {
    kind: "unavailable",
    when: "An hour's usage could not be closed in time: a transaction that changed pins in it is still open.",
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
    when: "The kind of pinset that the settings name cannot do what was asked, such as a deep sweep of an IPFS Cluster.",
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
  FULA_CLUSTER_DENIED: {
    kind: "usage",
    when: "The IPFS Cluster peer asks for a user name and password, or for a certificate, which fula-master does not send.",
  },
  FULA_CLUSTER_READ_ONLY: {
    kind: "refused",
    when: "The IPFS Cluster peer is a follower: it replicates the pinset and may not change it.",
  },
  FULA_PIN_REFUSED: {
    kind: "failed",
    when: "The cluster does not take a pin, for example because it has too few peers for it.",
  },
  FULA_PIN_INVALID: { kind: "usage", when: "A pin record has a field whose value is not allowed." },
  FULA_DAG_UNREADABLE: {
    kind: "failed",
    when: "A block that should name further blocks cannot be read as what its CID says it is.",
  },
  FULA_SNAPSHOT_ABSENT: { kind: "failed", when: "There is no snapshot to verify, or no good one to restore from." },
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
  FULA_LEDGER_UNREADABLE: {
    kind: "unavailable",
    when: "What a sweep or a command about billing needs could not be read from the ledger; nothing is concluded from the part that was.",
  },

  // Snapshots: taking
  FULA_SNAPSHOT_SHRUNK: {
    kind: "refused",
    when: "The pinset is empty, or has shrunk by more than snapshot.maxShrinkPercent since the last good snapshot.",
  },
  FULA_SNAPSHOT_MEMORY: {
    kind: "refused",
    when: "What this box remembers of its last snapshot is damaged and no good snapshot is left to compare with.",
  },
  FULA_SNAPSHOT_CLOCK: {
    kind: "refused",
    when: "The clock is well behind the time of the last snapshot, so a new one would be taken for an older one.",
  },
  FULA_SNAPSHOT_SOURCE: {
    kind: "unavailable",
    when: "The listing of the pinset contradicts itself: a CID twice, out of the order it promises, or a record that is no pin.",
  },
  FULA_SNAPSHOT_WRITTEN_BAD: {
    kind: "unavailable",
    when: "A snapshot that was just written does not read back as it was written; it was removed.",
  },
  FULA_SIGNING_KEY_INVALID: {
    kind: "usage",
    when: "The file of this box's snapshot key is there, but holds no ed25519 key.",
  },
  FULA_SIGNING_KEY_LOST: {
    kind: "refused",
    when: "The private snapshot key is gone while its public half is still there; a new key is not made silently.",
  },
  FULA_SNAPSHOT_UNREADABLE: {
    kind: "usage",
    when: "The directory of the snapshots or of the keys is there, but this user may not read it.",
  },
  FULA_KEY_UNUSABLE: {
    kind: "usage",
    when: "A text or file is not an ed25519 public key, or one that anybody can forge signatures for.",
  },

  // Snapshots: verifying
  FULA_SNAPSHOT_INCOMPLETE: { kind: "failed", when: "A file of the snapshot is missing or cannot be read." },
  FULA_SNAPSHOT_MANIFEST: {
    kind: "failed",
    when: "The manifest of a snapshot is damaged, not in canonical form, or of a newer format.",
  },
  FULA_SNAPSHOT_SIGNATURE: { kind: "failed", when: "A signature of the snapshot does not match what it signs." },
  FULA_SNAPSHOT_KEY_UNKNOWN: {
    kind: "failed",
    when: "The snapshot is signed by a key that is neither this box's own nor in snapshot.trustedKeys.",
  },
  FULA_SNAPSHOT_RENAMED: {
    kind: "failed",
    when: "The snapshot's files are named after another time than the one that is signed.",
  },
  FULA_SNAPSHOT_TRUNCATED: {
    kind: "failed",
    when: "The data file of the snapshot is shorter or longer than was signed.",
  },
  FULA_SNAPSHOT_DIGEST: { kind: "failed", when: "The bytes of the snapshot do not have the digest that was signed." },
  FULA_SNAPSHOT_COUNT: { kind: "failed", when: "The snapshot does not hold as many pins as was signed." },
  FULA_SNAPSHOT_RECORD: {
    kind: "failed",
    when: "A record of the snapshot is not a pin, or not in the one form that a pin has there.",
  },
  FULA_SNAPSHOT_ORDER: {
    kind: "failed",
    when: "The records of the snapshot are not in strictly ascending order of their CIDs.",
  },
  FULA_SNAPSHOT_CHAIN: {
    kind: "failed",
    when: "The snapshot does not follow from the one before it: its digest or sequence says otherwise.",
  },
  FULA_SNAPSHOT_REPLAYED: {
    kind: "failed",
    when: "The newest snapshot that is there is older than the last one that this box took: newer ones were removed or replaced.",
  },
  FULA_SNAPSHOT_STALE: { kind: "failed", when: "The snapshot is older than --max-age allows, or dated in the future." },
  FULA_SNAPSHOT_CLUSTER: { kind: "failed", when: "The snapshot is of another cluster than this box's." },

  // Blocks
  FULA_CID_INVALID: {
    kind: "usage",
    when: "A text is not a CID in canonical form: CIDv0, or CIDv1 in base32, base36 or base58btc.",
  },
  FULA_CID_UNSUPPORTED: {
    kind: "refused",
    when: "The CID is well formed, but its hash function is none that this program can check (sha2-256, blake3, identity).",
  },
  FULA_BLOCK_MISMATCH: {
    kind: "refused",
    when: "The bytes of a block do not hash to the CID that they were sent under; nothing was stored.",
  },
  FULA_BLOCK_TOO_LARGE: { kind: "refused", when: "A block is larger than 2 MiB, the most that IPFS peers exchange." },
  FULA_BLOCK_MISSING: { kind: "failed", when: "No block of this CID is in the block store." },
  FULA_BLOCK_CORRUPT: {
    kind: "failed",
    when: "A stored block no longer hashes to its CID. Of a local store, its file was moved to .corrupt/ inside the block directory.",
  },
  FULA_BLOCK_PINNED: { kind: "refused", when: "A block that is still pinned on its Kubo node was to be removed." },
  FULA_KUBO_UNREACHABLE: {
    kind: "unavailable",
    when: "The RPC API of the Kubo node does not answer, or answers with an error.",
  },
  FULA_BLOCK_STORE_FORMAT: {
    kind: "refused",
    when: "The block directory is laid out in a way that this program does not write; it was left alone.",
  },

  // Runtime: embedded PostgreSQL, processes, Docker
  FULA_PORT_IN_USE: { kind: "refused", when: "A port that the configuration asks for is taken by another process." },
  FULA_POSTGRES_VERSION: {
    kind: "refused",
    when: "The data directory was written by another major version of PostgreSQL than the binaries that are to open it.",
  },
  FULA_POSTGRES_BINARIES: {
    kind: "usage",
    when: "The PostgreSQL server binaries are missing, do not run on this machine, or cannot be reached by the user who must run them.",
  },
  FULA_POSTGRES_USER: {
    kind: "usage",
    when: "The system user that embedded PostgreSQL must run as does not exist and cannot be made, or we may not switch to it.",
  },
  FULA_POSTGRES_ACCESS: {
    kind: "refused",
    when: "The user that embedded PostgreSQL runs as cannot reach the base directory: a directory above it is closed to it, or a container maps no such group.",
  },
  FULA_POSTGRES_DATA: {
    kind: "refused",
    when: "The embedded data directory is not what we left there: not a PostgreSQL directory, in use by a server that we cannot talk to, or a database that belongs to another role.",
  },
  FULA_POSTGRES_START: {
    kind: "unavailable",
    when: "The embedded PostgreSQL server could not be initialised, or did not become ready; the message ends with its own last log lines.",
  },
  FULA_POSTGRES_STOP: {
    kind: "unavailable",
    when: "The embedded PostgreSQL server still runs after a fast and an immediate shutdown were asked for.",
  },

  // Ledger and daemon
  FULA_DAEMON_START: {
    kind: "unavailable",
    when: "The background process of serve ended, or was not ready in time; the message ends with its last log lines.",
  },
  FULA_DAEMON_STOP: {
    kind: "unavailable",
    when: "The background process of serve still runs after it was asked to end; its in-flight work may take longer than the shutdown timeout.",
  },

  // Join
  FULA_PREFLIGHT_FAILED: {
    kind: "refused",
    when: "Several preflight checks of join failed, or one could not be made; nothing was changed.",
  },
  FULA_BASE_DIR_FOREIGN: {
    kind: "refused",
    when: "The base directory holds data that fula-master did not write, or that it can no longer tell apart.",
  },
  FULA_STATE_NEWER: {
    kind: "refused",
    when: "The base directory was last changed by a newer fula-master than this one.",
  },
  FULA_NODE_TOO_OLD: { kind: "usage", when: "The Node.js that runs fula-master is older than it needs." },
  FULA_CLOCK_WRONG: {
    kind: "refused",
    when: "The machine's clock cannot be right: it is before this build's date or before files that it wrote itself.",
  },
  FULA_JOIN_CONFLICT: {
    kind: "refused",
    when: "join was asked to change what a joined master cannot change in place, such as where its ledger lives.",
  },
  FULA_STATE_LOST: {
    kind: "refused",
    when: "The database or the pinset of a joined master is gone; join never puts an empty one in its place.",
  },
  FULA_DRILL_DANGEROUS: {
    kind: "refused",
    when: "A drill was named that disturbs a stack which others use, and --dangerous was not given.",
  },
  FULA_DOCKER_UNREACHABLE: { kind: "unavailable", when: "No Docker Engine answers, and containers were asked for." },
  FULA_DOCKER_FAILED: {
    kind: "unavailable",
    when: "The Docker Engine answered with an error; the message ends with what it said.",
  },
  FULA_DOCKER_TOO_OLD: {
    kind: "refused",
    when: "The Docker Engine is older than what fula-master has been tried with.",
  },
  FULA_COMPOSE_INVALID: {
    kind: "usage",
    when: "The Compose file of this box, or a setting that goes into it, cannot be used.",
  },
  FULA_DOCKER_FOREIGN: {
    kind: "refused",
    when: "A container, network, volume or port that is needed belongs to somebody else.",
  },
  FULA_IMAGE_MISSING: {
    kind: "unavailable",
    when: "A container image is neither on this box nor can it be pulled.",
  },
  FULA_CONTAINER_UNHEALTHY: {
    kind: "failed",
    when: "A container ended, or did not become healthy in time; where it replaced another one, that was put back.",
  },
  FULA_NO_CONTAINERS: {
    kind: "refused",
    when: "upgrade was run on a box that has no containers of its own.",
  },
  FULA_UPGRADE_MAJOR: {
    kind: "refused",
    when: "upgrade was to replace PostgreSQL by another major version than the one that wrote its data, or cannot tell.",
  },
  FULA_ROOT_NEEDED: {
    kind: "refused",
    when: "join was asked for containers by a user other than root.",
  },
  FULA_WRITER_UNFIT: {
    kind: "refused",
    when: "The Kubo node and the IPFS Cluster peer that join was to adopt are no writer: one is missing, they do not belong together, or the peer is a follower.",
  },
  FULA_TOKEN_NEEDED: {
    kind: "refused",
    when: "The ledger that join was pointed to belongs to a federation, and no join token of it was given.",
  },
  FULA_JOIN_UNVERIFIED: {
    kind: "failed",
    when: "What join has set up runs, but does not do what a master must: a test pin did not come to be pinned, or Kubo's API listens for everybody.",
  },
  FULA_LEAVE_LAST_COPY: {
    kind: "refused",
    when: "leave was asked to take a box out of service that holds the last copy of pins.",
  },
  FULA_LEAVE_LEDGER: {
    kind: "refused",
    when: "leave was asked to take a box out of service whose own PostgreSQL is the ledger of other masters.",
  },
  FULA_NOT_JOINED: { kind: "failed", when: "The command needs a joined master and this base directory has none." },

  // Configuration
  FULA_CONFIG_SYNTAX: {
    kind: "usage",
    when: "The settings file cannot be read as YAML: cut off, tabs, a key twice, a byte order mark, or empty.",
  },
  FULA_CONFIG_UNKNOWN_KEY: {
    kind: "usage",
    when: "The settings file, or an environment name that begins with FULA_MASTER_, names a setting that does not exist.",
  },
  FULA_CONFIG_INVALID: {
    kind: "usage",
    when: "A setting has a value of the wrong type, out of its range, or that contradicts another setting.",
  },
  FULA_CONFIG_NOT_FOUND: {
    kind: "usage",
    when: "The settings file that --config or FULA_MASTER_CONFIG names does not exist.",
  },
  FULA_CONFIG_READ: {
    kind: "usage",
    when: "The settings file or the .env file is there, but this user cannot read it.",
  },
  FULA_CONFIG_RISK: {
    kind: "usage",
    when: "config check found something that works but is probably not meant, such as a secret that others can read.",
  },
  FULA_CONFIG_EDIT: {
    kind: "refused",
    when: "A setting cannot be changed in the settings file without touching other lines, because of how it is written.",
  },
  FULA_CONFIG_SHADOWED: {
    kind: "refused",
    when: "config set was asked for a setting that a line of .env would override, so the change would have no effect.",
  },
  FULA_ENV_FILE_SYNTAX: {
    kind: "usage",
    when: "The .env file has a quote that is never closed, or a line that names a secret but is not NAME=value.",
  },
  FULA_ENV_VALUE: {
    kind: "usage",
    when: "A value cannot be held by an environment variable: it contains a NUL or is not valid Unicode.",
  },

  // Schedules
  FULA_SCHEDULE_FOREIGN: {
    kind: "refused",
    when: "A cron file or unit of the name that we use was written by somebody else, or edited after we wrote it.",
  },
  FULA_SCHEDULE_PATH: {
    kind: "usage",
    when: "A schedule cannot be written for a base directory or settings file whose path holds a control character.",
  },
  FULA_SCHEDULE_INSTALL: {
    kind: "unavailable",
    when: "The schedule was written, but systemd did not take it.",
  },

  // PostgreSQL
  FULA_DATABASE_UNREACHABLE: {
    kind: "unavailable",
    when: "PostgreSQL does not answer, shuts down, or dropped the connection.",
  },
  FULA_DATABASE_LOGIN: {
    kind: "usage",
    when: "PostgreSQL answers, but refuses the user or the password, or has no such database.",
  },
  FULA_DATABASE_PERMISSION: {
    kind: "usage",
    when: "The database role lacks a right that the command needs, such as owning the tables that it changes.",
  },
  FULA_DATABASE_READ_ONLY: {
    kind: "refused",
    when: "The server takes no writes: it is a standby, or set to read only.",
  },
  FULA_DATABASE_URL: { kind: "usage", when: "A database URL cannot be read or names something that is not supported." },
  FULA_DATABASE_FOREIGN: {
    kind: "refused",
    when: "The database holds tables that are not the pinning service's, or another tool's schema_migrations.",
  },
  FULA_COMMIT_UNKNOWN: {
    kind: "unavailable",
    when: "The connection was lost while a transaction was committed, so whether it took effect is not known.",
  },

  // Migrations
  FULA_MIGRATION_FILES: {
    kind: "usage",
    when: "The migration files of this installation are missing, misnamed or contradict one another.",
  },
  FULA_MIGRATION_CHANGED: {
    kind: "refused",
    when: "A migration file differs from the one that was applied to the database.",
  },
  FULA_MIGRATION_MISSING: {
    kind: "refused",
    when: "The database has a migration, older than the newest one here, whose file is missing.",
  },
  FULA_SCHEMA_NEWER: {
    kind: "refused",
    when: "The database has a migration of a newer build that forbids older builds beside it.",
  },
  FULA_SCHEMA_BEHIND: {
    kind: "refused",
    when: "The database lacks migrations that this build needs.",
  },
  FULA_INDEX_BROKEN: {
    kind: "refused",
    when: "An index that a migration made is INVALID or gone, so what it keeps unique is not kept unique.",
  },
  FULA_MIGRATION_LOCKED: {
    kind: "unavailable",
    when: "Another installer holds the migration lock of the database and did not let go in time.",
  },
  FULA_MIGRATION_ABORTED: {
    kind: "refused",
    when: "A migration's own check found data that it must not touch, such as duplicates; that migration changed nothing.",
  },
  FULA_MIGRATION_FAILED: {
    kind: "failed",
    when: "A statement of a migration failed; the run stopped there and what was applied before it stays.",
  },
  FULA_MIGRATION_IRREVERSIBLE: {
    kind: "refused",
    when: "migrate down was asked to revert a migration that has no down file.",
  },
  FULA_MIGRATION_LOSES_DATA: {
    kind: "refused",
    when: "migrate down would lose data and --force was not given.",
  },
  FULA_INDEX_BUSY: {
    kind: "unavailable",
    when: "Another session is building an index that a migration has to build or mend.",
  },
  FULA_ADOPT_NEEDED: {
    kind: "refused",
    when: "The database is an existing pinning service's that fula-master has not adopted yet.",
  },
  FULA_ADOPT_INCOMPLETE: {
    kind: "refused",
    when: "The database has a part of the pinning service's tables, but not the shape that adopt can start from.",
  },
  FULA_ADOPT_EMPTY: { kind: "refused", when: "migrate adopt was run on a database without tables." },
  FULA_BACKUP_TOOL: {
    kind: "refused",
    when: "No pg_dump was found that can read this server's version, so no backup can be taken.",
  },
  FULA_BACKUP_FAILED: {
    kind: "refused",
    when: "The backup before a change could not be taken or does not read back; nothing was changed.",
  },

  // Membership: tokens, peers, storage nodes
  FULA_TOKEN_INVALID: {
    kind: "usage",
    when: "A text is no join token, or it was mistyped, cut, or made by a version that this one does not know.",
  },
  FULA_TOKEN_UNKNOWN: { kind: "refused", when: "The ledger has no join token of this id: another federation made it." },
  FULA_TOKEN_EXPIRED: { kind: "refused", when: "A join token is older than it was good for." },
  FULA_TOKEN_USED: { kind: "refused", when: "Another node has joined with a join token, which is good once." },
  FULA_TOKEN_REVOKED: { kind: "refused", when: "A join token was revoked on a master." },
  FULA_TOKEN_ROLE: {
    kind: "refused",
    when: "A join token for a master was given to a storage node, or the other way round.",
  },
  FULA_PEERS_INVALID: { kind: "failed", when: "A file or an answer is no peers document, or it is damaged." },
  FULA_PEERS_UNSIGNED: {
    kind: "refused",
    when: "A list of peers carries no signature, such as the pool lists of the older fleet.",
  },
  FULA_PEERS_UNPINNED: {
    kind: "refused",
    when: "A peers document came from a file or URL, and no key was given that must have signed it.",
  },
  FULA_PEERS_SIGNATURE: {
    kind: "failed",
    when: "A peers document or a storage node's token is not signed by the key that is trusted, or was changed since.",
  },
  FULA_PEERS_EXPIRED: {
    kind: "refused",
    when: "A peers document is older than it is good for, or dated in the future.",
  },
  FULA_PEERS_OLDER: {
    kind: "refused",
    when: "A peers document is older than the one that this node accepted before.",
  },
  FULA_PEERS_UNREACHABLE: { kind: "unavailable", when: "The URL of a peers document did not give one." },
  FULA_FEDERATION_NEEDED: {
    kind: "refused",
    when: "The command is about the boxes of a federation, and this master has no IPFS Cluster that others can join.",
  },
  FULA_STORAGE_UNVERIFIED: {
    kind: "failed",
    when: "The containers of a storage node run, but it has not joined, is no follower, trusts others than the masters, or does not replicate.",
  },
  FULA_NODE_UNKNOWN: { kind: "failed", when: "The federation has no box of this name." },
  FULA_FEDERATION_FOREIGN: {
    kind: "refused",
    when: "The ledger belongs to a federation of another cluster id than this box.",
  },
  FULA_NODE_NAME_TAKEN: { kind: "refused", when: "Another box of the federation has the same node name." },

  // Serve and access keys
  FULA_ENCRYPTION_KEY_INVALID: {
    kind: "usage",
    when: "ENCRYPTION_KEY is missing or is not 32 bytes in hex, so no access key can be made or checked.",
  },
  FULA_ENCRYPTION_KEY_WRONG: {
    kind: "usage",
    when: "The secret of an access key or a signing key was sealed under another ENCRYPTION_KEY than this box has.",
  },
  FULA_USER_INVALID: {
    kind: "usage",
    when: "A user was named by something that is neither an e-mail address nor a user id.",
  },
  FULA_KEY_NOT_FOUND: { kind: "failed", when: "There is no access key of this id." },
  FULA_SIGNING_KEY_MISSING: {
    kind: "refused",
    when: "A session token was to be signed, and neither the ledger nor the settings have a key that signs.",
  },
  FULA_SIGNING_KEYS_TOO_MANY: {
    kind: "refused",
    when: "Keys that sign tokens were rotated so often that as many verify already as may be tried for each token.",
  },
  FULA_KEY_LOOKUPS_FULL: {
    kind: "unavailable",
    when: "So many access keys or tokens that nobody knows are being looked up that one more would have to wait too long.",
  },
  FULA_KEYS_TOO_MANY: { kind: "refused", when: "A user or wallet has as many access keys in force as one may have." },
  FULA_LISTEN_FAILED: {
    kind: "usage",
    when: "An address that serve shall listen on is not this machine's, or listening on it is not permitted.",
  },

  // Identity
  FULA_DENY_LIST_STALE: {
    kind: "unavailable",
    when: "The ledger has not said for longer than identity.denyListMaxAge which credentials were revoked, so nobody is let in.",
  },
  FULA_DENIAL_TARGET: {
    kind: "usage",
    when: "What is to be denied is not named, is named twice, or is none of a token, digest, access key, wallet or user.",
  },
  FULA_DENIAL_NOT_FOUND: { kind: "failed", when: "Nothing is denied for this credential, wallet or user." },
  FULA_SUBJECT_DENIED: {
    kind: "refused",
    when: "A key or a session token was to be made for a user or a wallet of whom a denial would refuse it.",
  },

  // Wallets
  FULA_WALLET_ADDRESS: {
    kind: "usage",
    when: "A wallet's address is not 0x and 40 hex digits, or its checksum is wrong.",
  },
  FULA_WALLET_SIGNATURE: {
    kind: "refused",
    when: "The signature under a request to link a wallet is damaged, of another wallet, or of another text.",
  },
  FULA_WALLET_CHALLENGE: {
    kind: "refused",
    when: "The text that a wallet signed was not given out for this user, wallet, chain and domain, was changed, or is too old.",
  },
  FULA_WALLET_CHALLENGE_USED: { kind: "refused", when: "The text that a wallet signed has linked a wallet already." },
  FULA_WALLET_TAKEN: { kind: "refused", when: "The wallet is verified for another account." },
  FULA_WALLET_NOT_FOUND: { kind: "failed", when: "The wallet is not linked to the account." },
  FULA_WALLET_DEBT: { kind: "refused", when: "A wallet was to be taken off an account that owes for what it stored." },

  // Deposits: chains, their endpoints, claims
  FULA_CHAIN_UNKNOWN: { kind: "usage", when: "A chain was named that the settings do not know." },
  FULA_CHAIN_OFF: {
    kind: "refused",
    when: "A chain was named that nobody looks for deposits on: it is disabled, or has no endpoint or no vault.",
  },
  FULA_CHAIN_HALTED: {
    kind: "refused",
    when: "A chain stands still until an operator has looked: a reorganisation went too deep, or a credited deposit is gone.",
  },
  FULA_RPC_UNREACHABLE: {
    kind: "unavailable",
    when: "An endpoint of a chain does not answer, answers with an error, or says what cannot be.",
  },
  FULA_RPC_DISAGREE: {
    kind: "unavailable",
    when: "The endpoints of a chain do not agree, or too few of them answer to be sure.",
  },
  FULA_DEPOSIT_HASH: { kind: "usage", when: "A text is no transaction hash: 0x and 64 hex digits." },
  FULA_DEPOSIT_NOT_FOUND: {
    kind: "failed",
    when: "A transaction is on no chain that is looked at, or moves nothing of the token to the vault.",
  },
  FULA_DEPOSIT_UNLINKED: {
    kind: "refused",
    when: "A deposit was claimed whose sender's wallet nobody has linked; it is credited when somebody does.",
  },
  FULA_DEPOSIT_FOREIGN: { kind: "refused", when: "A deposit was claimed that came from another account's wallet." },
  FULA_DEPOSIT_CLAIMED: { kind: "refused", when: "A deposit was claimed that is credited already." },
  FULA_DEPOSIT_DUST: { kind: "refused", when: "A deposit was claimed that is less than what is credited." },
  FULA_DEPOSIT_REFUSED: {
    kind: "refused",
    when: "A deposit was claimed that the ledger cannot take, or that an operator has taken back.",
  },

  // Buckets
  FULA_INDEX_CORRUPT: {
    kind: "failed",
    when: "A block of a bucket's index is not what its place in the index says; nothing was answered from it.",
  },
  FULA_ENTRY_TOO_LARGE: {
    kind: "usage",
    when: "What is kept of an object beside its content (headers, metadata, tags, sizes of parts) is larger than an index takes.",
  },
  FULA_ENTRY_TEXT: {
    kind: "usage",
    when: "What is kept of an object beside its content holds a text or number that could not be given back as it was.",
  },
  FULA_INDEX_KEY: { kind: "usage", when: "A key is empty, too long, or holds half a surrogate pair." },
  FULA_BUCKETS_COLLECTING: {
    kind: "refused",
    when: "Another run of the buckets' collector, or an import, holds the lock that only one of all masters may have.",
  },
  FULA_INDEX_WHOLE: { kind: "refused", when: "An index was to be rebuilt of which nothing is damaged." },
  FULA_BUCKET_UNKNOWN: { kind: "refused", when: "A command was to work on a bucket or a root that is not there." },
  FULA_BUCKET_IMPORT_REFUSED: {
    kind: "refused",
    when: "A bucket cannot be imported as it is: a part of it cannot be read, its counts differ, or another bucket has its place.",
  },
  FULA_FLEET_INDEX: {
    kind: "failed",
    when: "A registry or an index of the existing fleet's gateway is not what its documented format says.",
  },
  FULA_BUCKET_MERGE_CONFLICT: {
    kind: "refused",
    when: "Two roots that were to be merged changed the same keys in different ways, and --prefer was not given.",
  },
  FULA_BUCKET_NOT_IMPORTED: {
    kind: "refused",
    when: "A bucket is one of the existing fleet, whose index nobody has read and verified yet.",
  },
  FULA_BUCKET_ROOT_CORRUPT: {
    kind: "failed",
    when: "The row of a bucket in the ledger holds a root or metadata that cannot be read.",
  },
  FULA_CAS_EXHAUSTED: {
    kind: "unavailable",
    when: "Every try to change a bucket lost its race against another gateway (buckets.casAttempts); nothing was changed.",
  },
  FULA_BUCKET_BUSY: {
    kind: "unavailable",
    when: "A bucket cannot take a change for now: too many wait for it, or those before it take too long; nothing was changed.",
  },
  FULA_BUCKET_MODE: {
    kind: "refused",
    when: "The masters of the ledger save buckets in another way than this one would: with or without compare-and-swap, or by gateways of the existing fleet.",
  },

  // Identity
  FULA_WALLET_KEY: {
    kind: "usage",
    when: "The file that holds a wallet's secret key is open to others, or is no such key.",
  },
  FULA_WALLET_UNCHECKED: {
    kind: "unavailable",
    when: "A wallet's contract could not be asked whether it signed a token: its chain's endpoints do not answer or do not agree, or too many are being asked about. Who cannot be checked is not let in.",
  },

  // Control plane
  FULA_MEMBERSHIP_NOT_FOUND: {
    kind: "refused",
    when: "The control plane has no such pool, member, sealed key or operator.",
  },
  FULA_MEMBERSHIP_EXISTS: {
    kind: "refused",
    when: "A pool, member or operator was to be added that the control plane has already, in whatever spelling.",
  },
  FULA_MEMBERSHIP_RACED: {
    kind: "unavailable",
    when: "Somebody else changed the same pool or operator at the same moment; nothing was changed, and trying again is safe.",
  },
  FULA_MEMBERSHIP_LAST_ADMIN: {
    kind: "refused",
    when: "The last active admin was to be revoked or to lose the role: nobody could undo it.",
  },
  FULA_MEMBERSHIP_INVALID: {
    kind: "usage",
    when: "A name, endpoint, operator id or snapshot for the control plane has another form than it must.",
  },
  FULA_CONTROL_PLANE_UNREACHABLE: {
    kind: "unavailable",
    when: "The control plane did not answer in time, or has no quorum; whether a write was done is not known.",
  },
  FULA_CONTROL_PLANE_UNSEEN: {
    kind: "failed",
    when: "How the servers of the control plane are cannot be seen: this box has no key of their system account.",
  },
  FULA_CONTROL_PLANE_UNREADABLE: {
    kind: "failed",
    when: "The control plane answered with something that is no record of this version, or its file is damaged.",
  },
  FULA_CONTROL_PLANE_UNFIT: {
    kind: "refused",
    when: "A bucket of the control plane lies in memory, expires, or lets servers answer that are behind; nothing is read from it.",
  },
  FULA_NOT_AUTHORIZED: {
    kind: "refused",
    when: "An operator who is unknown, revoked or of another role asked for an administrative act, or there are no operators at all.",
  },
  FULA_OPERATOR_KEY_INVALID: {
    kind: "usage",
    when: "FULA_OPERATOR_KEY names a file that is not there, or that holds no private ed25519 key in PEM; or the box's own key cannot be read by this user.",
  },
  FULA_CONTROL_PLANE_MOVED: {
    kind: "refused",
    when: "The control plane in a file was moved to NATS servers; whoever still has the file open must not go by it.",
  },
  FULA_POOL_NEEDED: {
    kind: "refused",
    when: "A pool that the federation itself stands on was to be deleted, or its last member to be taken out.",
  },
  FULA_MEMBERSHIP_OTHER_STATE: {
    kind: "refused",
    when: "A control plane was to be written over whose state is no earlier one of what comes: another federation's, or one that was changed since.",
  },
  FULA_MEMBERSHIP_DIFFERS: {
    kind: "failed",
    when: "After a migration or import the control plane has not what was written, or a backup has not what it was made of.",
  },
  FULA_CONTROL_PLANE_KEYS: {
    kind: "failed",
    when: "A certificate, private key or NKey in `keys/` that the control plane's servers need is missing or cannot be used.",
  },
  FULA_MEMBERSHIP_LAST_MEMBER: {
    kind: "refused",
    when: "The last member of a pool with a secret was to be taken out: nobody could open the secret any more.",
  },
  FULA_BOX_KEY_INVALID: {
    kind: "usage",
    when: "The file of the key that this box's sealed secrets open with holds no X25519 private key in PEM.",
  },
  FULA_CONTROL_PLANE_PEER: {
    kind: "refused",
    when: "A server was to be taken out of the control plane that runs, is none of its servers, or without which the others could not agree.",
  },
  FULA_CONTROL_PLANE_FILES: {
    kind: "failed",
    when: "A server of the control plane refuses files that were written for it, and goes on with those that it had.",
  },
  FULA_SEALED_BOX: {
    kind: "refused",
    when: "A sealed secret does not open with this box's key, or was sealed for another pool, epoch or member.",
  },
  FULA_SECRETS_DIFFER: {
    kind: "refused",
    when: "This master's secrets are not those that the control plane, or the join token, has for the federation.",
  },
  FULA_SECRETS_BEHIND: {
    kind: "refused",
    when: "This master's secrets are of an older epoch than the control plane's, so it gives none of them to others.",
  },
  FULA_REKEY_UNFINISHED: {
    kind: "refused",
    when: "The masters' secrets were to be changed, or old ones forgotten, while a master still works with older ones.",
  },

  // Recovery
  FULA_EPOCH_ROLLED_BACK: {
    kind: "refused",
    when: "The control plane knows an older epoch of the ledger than this box has seen, another one of the same number, or none: it was set back or lost its records, and nothing is decided by it.",
  },
  FULA_LEDGER_FENCED: {
    kind: "unavailable",
    when: "This box's server of the ledger is not started: another box has the primary, it is being changed, or the control plane does not say that this box may.",
  },
  FULA_EPOCH_STALE: {
    kind: "unavailable",
    when: "A write was refused because the database is of another epoch of the ledger than its sender means: the primary has changed, and he has not heard of it, or the database is the wrong one.",
  },
  FULA_LEDGER_ALONE: {
    kind: "refused",
    when: "The control plane is a file of this box, so the ledger has no second server: nothing could say which of two is the right one.",
  },
  FULA_BASE_BACKUP_SOURCE: {
    kind: "refused",
    when: "A server cannot be copied as a base backup: it is too old, has tablespaces of its own, or does not let us.",
  },
  FULA_BASE_BACKUP_ABSENT: {
    kind: "failed",
    when: "A base backup was named that is not there, or none is there that a restore can begin with.",
  },
  FULA_WAL_ARCHIVE_FOREIGN: {
    kind: "refused",
    when: "The directory of the archived write-ahead log holds that of another server.",
  },
  FULA_WAL_ARCHIVE_CONFLICT: {
    kind: "refused",
    when: "A segment of the write-ahead log is archived already with other contents; neither was changed.",
  },
  FULA_WAL_ARCHIVE_HOLE: {
    kind: "failed",
    when: "A segment of the write-ahead log is missing in the archive between a base backup and what is to be restored.",
  },
  FULA_WAL_ARCHIVE_DAMAGED: {
    kind: "failed",
    when: "An archived segment of the write-ahead log does not have the digest that was kept with it.",
  },
  FULA_RESTORE_TARGET: {
    kind: "usage",
    when: "The ledger was to be restored to a time or position that the base backups and the archived write-ahead log do not reach.",
  },
  FULA_RESTORE_OCCUPIED: {
    kind: "refused",
    when: "The ledger was to be restored into a directory that is there already.",
  },
  FULA_RESTORE_RUNNING: {
    kind: "refused",
    when: "The ledger's data were to be replaced while its server runs, other servers follow it, or something else repairs them.",
  },
  FULA_BASE_BACKUP_FOREIGN: {
    kind: "refused",
    when: "A base backup of one server was to take the place of another's data.",
  },
  FULA_BASE_BACKUP_DAMAGED: {
    kind: "failed",
    when: "A base backup does not hold what PostgreSQL sent, or its files or signature do not fit together.",
  },
  FULA_STANDBY_NONE: {
    kind: "refused",
    when: "A command needs a PostgreSQL server of the ledger on this box, and the settings name none.",
  },
  FULA_STANDBY_UNFIT: {
    kind: "refused",
    when: "A box or the ledger is not as a standby needs it; the message says what is missing.",
  },
  FULA_STANDBY_NEEDED: {
    kind: "refused",
    when: "A standby was to be removed that the ledger's writes wait for and no other one stands in for, or a box was to leave whose server others copy.",
  },
  FULA_RECOVERY_WAL_POSITION: {
    kind: "failed",
    when: "A server or a tool of PostgreSQL named a position in the WAL that cannot be read.",
  },
  FULA_RECOVERY_SLOT: {
    kind: "failed",
    when: "A replication slot that recovery made on the primary was gone at once.",
  },
  FULA_RECOVERY_PIN: {
    kind: "failed",
    when: "The primary cannot be made to keep the write-ahead log that a replica needs to come back.",
  },
  FULA_RECOVERY_STEP: {
    kind: "failed",
    when: "A program that recovery runs beside the ledger's PostgreSQL failed or took too long.",
  },
  FULA_RECOVERY_TIMEOUT: {
    kind: "unavailable",
    when: "A server of the ledger did not come, in the time that it had, to where a recovery needed it.",
  },
  FULA_RECOVERY_MARKER: {
    kind: "refused",
    when: "A data directory was to be started or promoted that a recovery is rewriting, or was when it ended.",
  },
  FULA_RECOVERY_TRUNCATION_UNSAFE: {
    kind: "refused",
    when: "WAL was to be taken away from a server whose data files may hold what it says.",
  },
  FULA_RECOVERY_SALVAGE: {
    kind: "failed",
    when: "What a server of the ledger alone has could not be kept, so that nothing was done which would discard it.",
  },
  FULA_RECOVERY_ARCHIVE: {
    kind: "failed",
    when: "Archived write-ahead log that a replica was to be brought back with is not there any more, damaged, or has no room.",
  },
  FULA_RECOVERY_DISK: {
    kind: "refused",
    when: "A new copy of the ledger's data has no room on this box beside the old one.",
  },
  FULA_RESYNC_REFUSED: {
    kind: "refused",
    when: "This box's server of the ledger cannot be brought back now, or not by what was allowed.",
  },
  FULA_RESYNC_SUPERSEDED: {
    kind: "refused",
    when: "The ledger's primary was changed while this box's server was being brought back; nothing is held any more.",
  },
  FULA_RESYNC_STOPPED: {
    kind: "failed",
    when: "This box's server of the ledger could not be brought back into sync; what was tried, and why it ended, is told.",
  },
  FULA_LEDGER_ROLE: {
    kind: "refused",
    when: "A server of the ledger is not what a step needs: a primary where a standby has to be, or the primary of another epoch.",
  },
  FULA_RECOVERY_NODE_CONF: {
    kind: "failed",
    when: "The file with the settings of this box's role in the replication has lines that fula-master did not write.",
  },
  FULA_RECOVERY_EPOCH_FLOOR: {
    kind: "refused",
    when: "Something was to be done under an epoch of the ledger that is older than one this box has seen, or that cannot be compared.",
  },
  FULA_FAILOVER_NO_STANDBY: {
    kind: "refused",
    when: "A failover or switchover was asked for, and the ledger has one server only.",
  },
  FULA_FAILOVER_REFUSED: {
    kind: "refused",
    when: "A failover or switchover cannot succeed as things stand; nothing was changed.",
  },
  FULA_FAILOVER_RUNNING: {
    kind: "refused",
    when: "Somebody else runs a failover or switchover at this moment.",
  },
  FULA_FAILOVER_STOPPED: {
    kind: "refused",
    when: "A step of a failover or switchover could not be verified; the hint says what is safe to do.",
  },
  FULA_FENCE_UNPROVEN: {
    kind: "refused",
    when: "It cannot be proven that the old master takes no writes, so nobody was promoted.",
  },
  FULA_FAILOVER_OVERTAKEN: {
    kind: "refused",
    when: "Another process has taken a failover over, or the primary was changed by something else meanwhile.",
  },
  FULA_FAILOVER_TOO_LATE: {
    kind: "refused",
    when: "A failover cannot be aborted any more: somebody may have been promoted.",
  },
  FULA_FAILOVER_ABSENT: {
    kind: "refused",
    when: "There is no failover to be aborted.",
  },
  FULA_FAILOVER_RUN_UNKNOWN: {
    kind: "failed",
    when: "The control plane has a failover of a newer version of fula-master.",
  },

  // Pinning service
  FULA_PIN_REQUEST: {
    kind: "usage",
    when: "A request to the pinning service has a name, origins, metadata or a filter that is not allowed.",
  },
  FULA_PIN_NOT_QUEUED: {
    kind: "failed",
    when: "A command of pins named a request or a content of which nothing is known, or nothing is to be done.",
  },

  // Ingest
  FULA_INGEST_EXPOSED: {
    kind: "usage",
    when: "A storage node would take tokens and blocks over a network without TLS, or send tokens to a master so.",
  },
  FULA_INGEST_UNREADY: {
    kind: "usage",
    when: "A storage node shall take blocks, but lacks what it needs for it: masters to ask, the cluster secret, a Kubo node, a certificate.",
  },
  FULA_INGEST_MASTERS_SILENT: {
    kind: "unavailable",
    when: "A storage node could ask no master about a client; where the quota is strict, nothing is taken meanwhile.",
  },
  FULA_UPLOAD_FILE: {
    kind: "usage",
    when: "A file that was to be uploaded, or that holds the credential, cannot be read.",
  },
  FULA_UPLOAD_REFUSED: {
    kind: "refused",
    when: "A gateway refused an object that was to be uploaded; nothing was stored.",
  },
  FULA_UPLOAD_SILENT: {
    kind: "unavailable",
    when: "A gateway did not answer an upload, or could not serve it for now; running it again is safe.",
  },
} as const satisfies Record<string, ErrorCodeEntry>;

/** A code of `ERROR_CODES`. */
export type ErrorCode = keyof typeof ERROR_CODES;
