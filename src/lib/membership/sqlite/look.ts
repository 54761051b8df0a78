import { stat, statfs } from "node:fs/promises";
import { dirname } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { explainSqliteError } from "./database.ts";

/** How the file of a control plane lies on this box. */
export interface ControlPlaneFileLook {
  /** What SQLite finds wrong with it; empty where it is whole. */
  readonly damage: readonly string[];
  /** `wal`, or whatever somebody else has made of it. */
  readonly journalMode: string;
  /** Permission bits of the file. */
  readonly mode: number;
  /** User that it belongs to. */
  readonly uid: number;
  /** Name of the network file system that it lies on; null where it lies on this machine. */
  readonly network: string | null;
}

/** Magic numbers of `statfs`(2): on these, locks and shared memory of SQLite do not hold between machines. */
const NETWORK_FILE_SYSTEMS: ReadonlyMap<number, string> = new Map([
  [0x6969, "NFS"],
  [0xff534d42, "CIFS"],
  [0xfe534d42, "SMB2"],
  [0x01021997, "9P"],
  [0x00c36400, "CephFS"],
]);

/** As many as a person reads. */
const DAMAGE_SHOWN = 5;

function textsOf(db: DatabaseSync, pragma: string): readonly string[] {
  return db
    .prepare(`pragma ${pragma}`)
    .all()
    .map((row) => String(Object.values(row)[0]));
}

/**
 * Looks whether the file of a control plane is whole, and how it lies here. Changes nothing.
 * @throws FulaError FULA_CONTROL_PLANE_UNREADABLE where it cannot be read at all or is not there, FULA_CONTROL_PLANE_UNREACHABLE
 */
export async function lookAtControlPlaneFile(path: string): Promise<ControlPlaneFileLook> {
  try {
    const db = new DatabaseSync(path, { readOnly: true });
    try {
      const found = textsOf(db, `quick_check(${DAMAGE_SHOWN})`);
      const { mode, uid } = await stat(path);
      const { type } = await statfs(dirname(path));
      return {
        damage: found.filter((text) => text !== "ok"),
        journalMode: textsOf(db, "journal_mode")[0] ?? "unknown",
        mode: mode & 0o777,
        uid,
        network: NETWORK_FILE_SYSTEMS.get(type) ?? null,
      };
    } finally {
      db.close();
    }
  } catch (error) {
    throw explainSqliteError(error, path);
  }
}
