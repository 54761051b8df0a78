import { type Lsn, parseLsn } from "../lsn.ts";

/** Whether the data directory was last served to writers, or only followed somebody. */
export type LastRole = "primary" | "standby";

/** What the control file of a data directory says, as `pg_controldata` prints it. */
export interface ControlData {
  /** In decimal. */
  readonly systemId: string;
  /** As PostgreSQL words it: `in production`, `shut down in recovery`. */
  readonly state: string;
  readonly checkpointLsn: Lsn;
  readonly redoLsn: Lsn;
  readonly checkpointTimeline: number;
  /** Below this the data files are not consistent; 0 for a server that was no standby. */
  readonly minRecoveryEndLsn: Lsn;
  readonly minRecoveryEndTimeline: number;
  readonly segmentBytes: number;
  readonly walBlockBytes: number;
  readonly hasChecksums: boolean;
  readonly walLogHints: boolean;
}

const STANDBY_STATES: ReadonlySet<string> = new Set(["shut down in recovery", "in archive recovery"]);

/** What a stopped server was, by the state in its control file. */
export function roleOfState(state: string): LastRole {
  return STANDBY_STATES.has(state) ? "standby" : "primary";
}

/** States in which PostgreSQL leaves a control file; one with another text was not written by it. */
const STATES: ReadonlySet<string> = new Set([
  ...STANDBY_STATES,
  "shut down",
  "shutting down",
  "in crash recovery",
  "in production",
]);

/**
 * Reads what `pg_controldata` printed under LC_ALL=C.
 * @returns null where it is not the control file of a server that ever ran: of another version, cut off, or overwritten
 */
export function parseControlData(text: string): ControlData | null {
  // A control file whose checksum is wrong is printed none the less, after this word.
  if (/^WARNING/m.test(text)) return null;
  const fields = new Map<string, string>();
  for (const line of text.split("\n")) {
    const colon = line.indexOf(":");
    if (colon > 0) fields.set(line.slice(0, colon), line.slice(colon + 1).trim());
  }
  const of = (name: string): string => fields.get(name) ?? "";
  const state = of("Database cluster state");
  const [segmentBytes, walBlockBytes] = [Number(of("Bytes per WAL segment")), Number(of("WAL block size"))];
  if (!STATES.has(state) || !/^\d+$/.test(of("Database system identifier"))) return null;
  if (!(segmentBytes > 0 && walBlockBytes > 0)) return null;
  return {
    systemId: of("Database system identifier"),
    state,
    checkpointLsn: parseLsn(of("Latest checkpoint location")),
    redoLsn: parseLsn(of("Latest checkpoint's REDO location")),
    checkpointTimeline: Number(of("Latest checkpoint's TimeLineID")),
    minRecoveryEndLsn: parseLsn(of("Minimum recovery ending location")),
    minRecoveryEndTimeline: Number(of("Min recovery ending loc's timeline")),
    segmentBytes,
    walBlockBytes,
    hasChecksums: Number(of("Data page checksum version")) > 0,
    walLogHints: of("wal_log_hints setting") === "on",
  };
}
