import { writeSync } from "node:fs";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { systemRandom } from "../../../src/lib/kernel/random.ts";
import { takeBackup } from "../../../src/lib/recovery/backup/take-backup.ts";

/** Takes a base backup, says "copying" when its first bytes have come, and then waits to be killed. */
const [backupDir = "", locksDir = "", port = ""] = process.argv.slice(2);
await takeBackup({
  backupDir,
  locksDir,
  connection: {
    host: "127.0.0.1",
    port: Number(port),
    user: "postgres",
    database: "postgres",
    part: "backup",
    node: "t",
  },
  signer: { keyId: "ed25519:child", sign: () => new Uint8Array(64) },
  node: "test",
  tool: "fula-master test",
  clock: systemClock,
  random: systemRandom,
  signal: new AbortController().signal,
  onProgress: () => {
    writeSync(1, "copying\n");
    // Nothing moves any more, so that the kill comes in the middle of it.
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
  },
});
