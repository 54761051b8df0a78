import { describe, expect, test } from "vitest";
import { parseControlData, roleOfState } from "../../../src/lib/recovery/postgres/control-data.ts";

const STANDBY = `pg_control version number:            1300
Catalog version number:               202209061
Database system identifier:           7431871190352345678
Database cluster state:               shut down in recovery
pg_control last modified:             Fri 20 Nov 2026 03:00:00 AM UTC
Latest checkpoint location:           0/3000060
Latest checkpoint's REDO location:    0/3000028
Latest checkpoint's REDO WAL file:    000000010000000000000003
Latest checkpoint's TimeLineID:       1
Latest checkpoint's PrevTimeLineID:   1
Minimum recovery ending location:     0/30001C8
Min recovery ending loc's timeline:   1
wal_log_hints setting:                on
WAL block size:                       8192
Bytes per WAL segment:                16777216
Data page checksum version:           0
`;

describe("the control file of a data directory", () => {
  test("is read as pg_controldata prints it", () => {
    expect(parseControlData(STANDBY)).toEqual({
      systemId: "7431871190352345678",
      state: "shut down in recovery",
      checkpointLsn: 0x3000060n,
      redoLsn: 0x3000028n,
      checkpointTimeline: 1,
      minRecoveryEndLsn: 0x30001c8n,
      minRecoveryEndTimeline: 1,
      segmentBytes: 16_777_216,
      walBlockBytes: 8192,
      hasChecksums: false,
      walLogHints: true,
    });
  });

  test.each([
    ["its checksum is wrong", `WARNING: Calculated CRC checksum does not match value stored in file.\n${STANDBY}`],
    ["its state is none of PostgreSQL's", STANDBY.replace("shut down in recovery", "unrecognized status code")],
    ["its segments have no size", STANDBY.replace("16777216", "0")],
    ["nothing was printed", ""],
  ])("counts as unreadable where %s", (_, text) => {
    expect(parseControlData(text)).toBeNull();
  });

  test("tells a standby from a server that took writes", () => {
    expect(roleOfState("in archive recovery")).toBe("standby");
    expect(roleOfState("shut down in recovery")).toBe("standby");
    expect(["in production", "shut down", "shutting down", "in crash recovery"].map(roleOfState)).toEqual([
      "primary",
      "primary",
      "primary",
      "primary",
    ]);
  });
});
