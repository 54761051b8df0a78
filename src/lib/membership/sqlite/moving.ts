import { open } from "node:fs/promises";
import { dirname } from "node:path";
import { explainWriteError, fsyncDir, SECRET_FILE_MODE } from "../../kernel/files.ts";
import { explainSqliteError, openDatabase } from "./database.ts";
import { type SqliteStoreOptions, whileBusy } from "./sqlite-store.ts";

/** A control plane in a file that nobody can write to meanwhile; reading goes on. */
export interface HeldControlPlane extends AsyncDisposable {
  /**
   * Copies the state into a new file that stands by itself.
   * @throws FulaError FULA_DISK_FULL, FULA_PATH_NOT_WRITABLE
   */
  backUp(to: string): Promise<void>;
  /** Ends the file's time: from here on every question is refused with where it was moved to. @param at RFC 3339, UTC */
  retire(address: string, at: string): void;
}

/** Makes an empty file that only its owner may read; SQLite would go by the umask. */
async function makePrivateFile(path: string): Promise<void> {
  try {
    await (await open(path, "wx", SECRET_FILE_MODE)).close();
  } catch (error) {
    throw explainWriteError(error, path);
  }
}

async function syncFile(path: string): Promise<void> {
  const handle = await open(path, "r+");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
  await fsyncDir(dirname(path));
}

/**
 * Keeps everybody from writing to a control plane in a file, until it is disposed of. Who wants to write meanwhile waits,
 * and is refused after the time limit.
 * @throws FulaError FULA_CONTROL_PLANE_UNREADABLE, FULA_CONTROL_PLANE_UNREACHABLE where another process writes for too long
 */
export async function holdWrites(path: string, options: SqliteStoreOptions): Promise<HeldControlPlane> {
  const db = await whileBusy(path, options, () => openDatabase(path));
  try {
    await whileBusy(path, options, () => db.exec("begin immediate"));
  } catch (error) {
    db.close();
    throw error;
  }
  return {
    backUp: async (to) => {
      await makePrivateFile(to);
      // SQLite refuses to copy on a connection that has a transaction open.
      const reader = openDatabase(path);
      try {
        reader.prepare("vacuum into ?").run(to);
      } catch (error) {
        throw explainSqliteError(error, to);
      } finally {
        reader.close();
      }
      await syncFile(to);
    },
    retire: (address, at) => {
      const text = "insert or replace into retired (only_row, address, retired_at) values (1, ?, ?)";
      db.prepare(text).run(address, at);
      db.exec("commit");
    },
    [Symbol.asyncDispose]: async () => {
      if (db.isTransaction) db.exec("rollback");
      db.close();
    },
  };
}
