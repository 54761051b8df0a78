import { bytes, duration, flag, integer, oneOf, optionalFilePath, optionalText, schedule } from "./setting.ts";

/** A standby of the ledger's PostgreSQL on this box, or towards one on another. */
export const STANDBY_SETTINGS = {
  server: oneOf(
    {
      description:
        "Where this box's own copy of a ledger runs that postgres.mode finds elsewhere: `embedded` as processes, `docker` in a container; `none` where it has no standby. `standby add` writes it.",
      default: "none",
    },
    ["none", "embedded", "docker"] as const,
  ),
  sync: oneOf(
    {
      description:
        "`preferred`: a commit waits for a standby as long as one streams; `strict`: always, so that losing the standbys stops the writes; `off`: never, and a failover may lose the last writes. The primary's `serve` follows a change within seconds, without a restart.",
      default: "preferred",
    },
    ["preferred", "strict", "off"] as const,
  ),
  degradeAfter: duration({
    description: "With `preferred`: a standby that has not streamed for so long is not waited for any more.",
    default: "10s",
  }),
  slotMax: bytes(
    {
      description: "Write-ahead log that is kept at most for a standby that is away; beyond it the standby is rebuilt.",
      default: 17_179_869_184,
    },
    67_108_864,
  ),
  maxLag: bytes(
    { description: "A standby further behind than this is told of as unhealthy.", default: 67_108_864 },
    1_048_576,
  ),
} as const;

/** Base backups and the archive of the write-ahead log. */
export const BACKUP_SETTINGS = {
  dir: optionalFilePath({
    description:
      "Directory of base backups and archived write-ahead log; `backups/ledger` of the base directory where it is not set.",
    default: null,
  }),
  archive: flag({
    description: "Whether the ledger's write-ahead log is archived, for restores to a point in time.",
    default: false,
  }),
  schedule: schedule({ description: "When a base backup is taken, in the box's time zone.", default: "30 2 * * *" }),
  keep: integer({ description: "Newest verified base backups that are kept.", default: 7 }, 1, 10_000),
  maxAge: duration({ description: "A last good base backup older than this is reported as stale.", default: "26h" }),
} as const;

/** What a failover calls outside of fula-master. */
export const FAILOVER_SETTINGS = {
  fenceCommand: optionalText({
    description:
      "Command that stops the services of the old master, such as one by SSH; told by FULA_OLD_MASTER. It must only end with 0 when they are stopped.",
    default: null,
  }),
  flipCommand: optionalText({
    description:
      "Command that moves DNS or a load balancer to the new master, told by FULA_OLD_MASTER and FULA_NEW_MASTER; it must bear being run twice.",
    default: null,
  }),
  hookTimeout: duration({ description: "How long either command may take.", default: "60s" }),
} as const;
