import { closeSync, openSync, readdirSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { isFulaError } from "../../../src/lib/kernel/errors.ts";
import { silentLog } from "../../../src/lib/kernel/log.ts";
import { systemRandom } from "../../../src/lib/kernel/random.ts";
import { takeBackup } from "../../../src/lib/recovery/backup/take-backup.ts";
import { listArchive } from "../../../src/lib/recovery/backup/wal-archive.ts";
import { startWalArchiver } from "../../../src/lib/recovery/backup/wal-receiver.ts";
import { until } from "../until.ts";

/**
 * Takes a base backup on a disk that fills up in the middle of it, then archives on the full disk until that has room again.
 * Prints one line of JSON.
 */
const [port = "", disk = ""] = process.argv.slice(2);
const backupDir = join(disk, "ledger");
const locksDir = join(disk, "locks");
const filler = join(disk, "filler");
const connection = {
  host: "127.0.0.1",
  port: Number(port),
  user: "postgres",
  database: "postgres",
  part: "backup",
  node: "t",
};

function fill(): void {
  const file = openSync(filler, "a");
  try {
    for (let bytes = 1_048_576; bytes >= 4_096; ) {
      try {
        writeSync(file, Buffer.alloc(bytes));
      } catch {
        bytes /= 2;
      }
    }
  } finally {
    closeSync(file);
  }
}

let isFull = false;
const taken = await takeBackup({
  backupDir,
  locksDir,
  connection,
  signer: { keyId: "ed25519:child", sign: () => new Uint8Array(64) },
  node: "test",
  tool: "fula-master test",
  clock: systemClock,
  random: systemRandom,
  signal: new AbortController().signal,
  onProgress: () => {
    if (!isFull) fill();
    isFull = true;
  },
}).then(
  () => null,
  (error: unknown) =>
    isFulaError(error) ? { code: error.code, message: error.message, hint: error.hint } : String(error),
);
const left = readdirSync(backupDir);
await using archiver = startWalArchiver({
  backupDir,
  locksDir,
  connection: async () => await Promise.resolve(connection),
  clock: systemClock,
  log: silentLog,
  syncMs: 20,
});
fill();
const full = await until("archiving meets the full disk", async () => {
  const state = archiver.state();
  // Before, it may have been told to come again by a server that is busy.
  return await Promise.resolve(state.status === "retrying" && state.code === "FULA_DISK_FULL" ? state : null);
});
rmSync(filler);
await until("archiving goes on", async () => {
  return await Promise.resolve(archiver.state().status === "streaming" && archiver.interruptions() > 0);
});
const listing = await listArchive(backupDir);
process.stdout.write(`${JSON.stringify({ taken, left, full, holes: listing?.holes.length ?? null })}\n`);
