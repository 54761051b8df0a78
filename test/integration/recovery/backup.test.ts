import { spawn } from "node:child_process";
import { once } from "node:events";
import { cpSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { isFulaError } from "../../../src/lib/kernel/errors.ts";
import { acquireLock } from "../../../src/lib/kernel/lock.ts";
import { openSession } from "../../../src/lib/postgres/session.ts";
import { backupFiles } from "../../../src/lib/recovery/backup/backup-record.ts";
import { checkContent } from "../../../src/lib/recovery/backup/catalogue.ts";
import { pinBackup } from "../../../src/lib/recovery/backup/keep-files.ts";
import { pruneBackups } from "../../../src/lib/recovery/backup/prune-backups.ts";
import { restoreLockFile } from "../../../src/lib/recovery/backup/restore-backup.ts";
import { testBackup } from "../../../src/lib/recovery/backup/test-backup.ts";
import { type BackupBox, backupBox, restoreSite } from "../../support/backup-box.ts";
import { openPostgresRig, type PostgresRig, type RigServer } from "../../support/postgres-pair.ts";
import { runOnTinyDisk } from "../../support/tiny-disk.ts";
import { until } from "../../support/until.ts";

const { signal } = new AbortController();

async function serverWithData(rig: PostgresRig): Promise<RigServer> {
  const server = await rig.primary("one");
  await server.sql("create table t as select g from generate_series(1, 5000) g");
  return server;
}

async function noSlots(server: RigServer): Promise<void> {
  await until("the server keeps nothing for a backup", async () => {
    return (await server.sql("select 1 from pg_replication_slots")).length === 0;
  });
}

/** Everything that is wrong with a backup: as it is listed, and as it is when every byte is read. */
async function problemsOf(box: BackupBox, name: string): Promise<readonly string[]> {
  const entry = await box.entry(name);
  return [...entry.problems, ...(await checkContent(entry, { signal }))];
}

test("a backup of a server in use is signed, whole, and restores to what was committed when it ended", async () => {
  await using rig = await openPostgresRig();
  const server = await serverWithData(rig);
  const box = backupBox();
  const record = await box.take(server);
  const [entry] = await box.list();
  expect(entry).toMatchObject({ name: record.name, problems: [], test: null, kept: null, pins: [], record });
  expect(await problemsOf(box, record.name)).toEqual([]);
  const counted: unknown[] = [];
  const place = restoreSite(box, server, {
    check: async (target) => {
      await using session = await openSession({ ...target, part: "test", node: "test" }, systemClock);
      counted.push(...(await session.query({ name: "count", text: "select count(*) from t", values: [] })).rows);
      return [];
    },
  });
  const tested = await testBackup(place, await box.entry(record.name), box.signer, { signal });
  expect(tested).toMatchObject({ ok: true, pgVerifyBackup: true, problems: [] });
  expect(counted).toEqual([{ count: "5000" }]);
  expect((await box.entry(record.name)).test).toEqual(tested);
  expect(readdirSync(server.rootDir).filter((name) => name.startsWith("backup-test"))).toEqual([]);
  await noSlots(server);
});

function flip(path: string): void {
  const bytes = readFileSync(path);
  const at = Math.floor(bytes.length / 2);
  bytes.writeUInt8((bytes[at] ?? 0) ^ 0x10, at);
  writeFileSync(path, bytes);
}

test("whatever is done to a backup's files is found out", async () => {
  await using rig = await openPostgresRig();
  const server = await serverWithData(rig);
  const box = backupBox();
  const { name } = await box.take(server);
  const files = backupFiles(box.backupDir, name);
  const whole = `${files.dir}.whole`;
  renameSync(files.dir, whole);
  const record = readFileSync(join(whole, "backup.json"), "utf8");
  const damages: Readonly<Record<string, () => void>> = {
    "a flipped bit in the archive": () => {
      flip(files.archive);
    },
    "an archive that is cut off": () => {
      truncateSync(files.archive, 1_000);
    },
    "no archive": () => {
      rmSync(files.archive);
    },
    "a flipped bit in PostgreSQL's manifest": () => {
      flip(files.manifest);
    },
    "no manifest": () => {
      rmSync(files.manifest);
    },
    "a record that says something else": () => {
      writeFileSync(files.record, record.replace('"timeline": 1', '"timeline": 2'));
    },
    "a record of a stranger": () => {
      writeFileSync(files.record, record.replace(box.signer.keyId, "ed25519:stranger"));
    },
    "no signature": () => {
      rmSync(files.signature);
    },
    "a record that the file system does not give": () => {
      rmSync(files.record);
      mkdirSync(files.record);
    },
    "a note of an operator that it does not give": () => {
      mkdirSync(files.kept);
      rmSync(files.archive);
    },
    "a signature of something else": () => {
      writeFileSync(files.signature, box.signer.sign(Buffer.from("something else")));
    },
    "another archive and manifest, signed for": () => {
      const forged = record.replace(/"sha256": "[0-9a-f]{64}"/, `"sha256": "${"0".repeat(64)}"`);
      writeFileSync(files.record, forged);
      writeFileSync(files.signature, box.signer.sign(Buffer.from(forged)));
    },
  };
  const missed: string[] = [];
  for (const [what, damage] of Object.entries(damages)) {
    rmSync(files.dir, { recursive: true, force: true });
    cpSync(whole, files.dir, { recursive: true });
    damage();
    if ((await problemsOf(box, name)).length === 0) missed.push(what);
  }
  expect(missed).toEqual([]);
  // The memory of a process is a file whose first page cannot be read, as on a disk that is going.
  rmSync(files.dir, { recursive: true });
  cpSync(whole, files.dir, { recursive: true });
  const dying = { ...(await box.entry(name)), files: { ...files, archive: "/proc/self/mem" } };
  expect(await checkContent(dying, { signal })).toEqual([expect.stringMatching(/cannot be read: EIO.*dmesg/)]);
  const renamed = name.replace(/[0-9a-f]{8}$/, "ffffffff");
  cpSync(whole, backupFiles(box.backupDir, renamed).dir, { recursive: true });
  expect(await problemsOf(box, renamed)).not.toEqual([]);
});

test("a backup that is aborted or killed leaves nothing that is taken for one, here or at the server", async () => {
  await using rig = await openPostgresRig();
  const server = await serverWithData(rig);
  const box = backupBox();
  const abort = new AbortController();
  const aborted = box.take(server, {
    signal: abort.signal,
    onProgress: () => {
      abort.abort(new Error("enough"));
    },
  });
  await expect(aborted).rejects.toThrow("enough");
  expect(readdirSync(box.backupDir)).toEqual([]);
  const script = join(import.meta.dirname, "../../support/children/take-backup.ts");
  const child = spawn(process.execPath, [script, box.backupDir, box.locksDir, String(server.port)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  await once(child.stdout, "data");
  expect(readdirSync(box.backupDir)).toEqual([expect.stringMatching(/^\.partial-base-/)]);
  child.kill("SIGKILL");
  await once(child, "exit");
  expect(await box.list()).toEqual([]);
  await noSlots(server);
  const { name } = await box.take(server);
  expect(readdirSync(box.backupDir)).toEqual([name]);
});

test("a disk that fills up in the middle leaves nothing half-done, says so, and archiving goes on when there is room", async () => {
  await using rig = await openPostgresRig();
  const server = await serverWithData(rig);
  const { exitCode, stdout, stderr } = await runOnTinyDisk("fill-backup-disk.ts", 49_152, [String(server.port)]);
  expect(exitCode, stderr).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({
    taken: {
      code: "FULA_DISK_FULL",
      message: expect.stringContaining("ENOSPC"),
      hint: expect.stringContaining("df -h"),
    },
    left: [],
    full: { code: "FULA_DISK_FULL" },
    holes: 0,
  });
});

test("what an operator keeps meanwhile, and all of it while somebody restores, is not removed", async () => {
  await using rig = await openPostgresRig();
  const server = await serverWithData(rig);
  const box = backupBox();
  const old = await box.take(server);
  const newest = await box.take(server);
  const prune = async () => await pruneBackups({ ...box, trust: box.signer, clock: systemClock, signal }, 1);
  const names = async () => (await box.list()).map(({ name }) => name);
  {
    using _ = await acquireLock(restoreLockFile(box.locksDir), "restore", systemClock);
    expect(await prune()).toMatchObject({ removed: [], decisions: [{ keep: true }, { reasons: ["pinned"] }] });
  }
  // As prune leaves it that was killed after an operator's word came.
  const leaving = join(box.backupDir, `.removing-${old.name}`);
  renameSync(backupFiles(box.backupDir, old.name).dir, leaving);
  writeFileSync(join(leaving, "kept.json"), JSON.stringify({ by: "me", because: "an audit", at: old.endedAt }));
  expect((await prune()).removed).toEqual([]);
  expect(await names()).toEqual([newest.name, old.name]);
  rmSync(backupFiles(box.backupDir, old.name).kept);
  expect((await prune()).removed).toEqual([old.name]);
});

test("a pin that is taken while prune removes holds the backup, or says that it is gone", async () => {
  await using rig = await openPostgresRig();
  const server = await serverWithData(rig);
  const box = backupBox();
  const old = await box.take(server);
  const kept = await box.take(server);
  const prune = async () => await pruneBackups({ ...box, trust: box.signer, clock: systemClock, signal }, 1);
  const held = await pinBackup(box.backupDir, old.name, 41n, systemClock);
  expect((await prune()).removed).toEqual([]);
  await held.release("the session ended");
  const [report, pin] = await Promise.allSettled([prune(), pinBackup(box.backupDir, old.name, 42n, systemClock)]);
  expect(report.status).toBe("fulfilled");
  const isThere = (await box.list()).some(({ name }) => name === old.name);
  expect(pin.status).toBe(isThere ? "fulfilled" : "rejected");
  if (pin.status === "rejected") expect(isFulaError(pin.reason, "FULA_BASE_BACKUP_ABSENT")).toBe(true);
  if (pin.status === "fulfilled") await pin.value.release("the session ended");
  await prune();
  expect((await box.list()).map(({ name }) => name)).toEqual([kept.name]);
  expect(readdirSync(join(box.backupDir, "pins"))).toEqual([]);
});
