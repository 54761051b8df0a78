import { DatabaseSync } from "node:sqlite";
import { pathToFileURL } from "node:url";

/**
 * Opens a file that is there, for reading and writing; what is acknowledged survives a power loss.
 * @param timeoutMs so long SQLite itself waits for a lock, with the whole process
 * @throws what SQLite throws, also where there is no file
 */
export function openExistingDatabase(path: string, timeoutMs: number): DatabaseSync {
  // A plain path would make SQLite create an empty file where the one that is meant was lost.
  const location = pathToFileURL(path);
  location.searchParams.set("mode", "rw");
  const db = new DatabaseSync(location, { timeout: timeoutMs });
  try {
    // FULL: what was acknowledged survives a power loss, not only a crash of the process.
    db.exec("pragma synchronous = full; pragma foreign_keys = on");
    return db;
  } catch (error) {
    db.close();
    throw error;
  }
}
