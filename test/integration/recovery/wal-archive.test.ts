import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { openSession } from "../../../src/lib/postgres/session.ts";
import { restoreBackup } from "../../../src/lib/recovery/backup/restore-backup.ts";
import { planRestore, type RestoreRequest } from "../../../src/lib/recovery/backup/restore-plan.ts";
import { listArchive } from "../../../src/lib/recovery/backup/wal-archive.ts";
import { parseLsn } from "../../../src/lib/recovery/lsn.ts";
import { parseHistory } from "../../../src/lib/recovery/timeline-history.ts";
import { archived, archiverOf, type BackupBox, backupBox, restoreSite } from "../../support/backup-box.ts";
import { openPostgresRig, type RigServer } from "../../support/postgres-pair.ts";
import { until } from "../../support/until.ts";

const { signal } = new AbortController();

/** Restores, and gives the numbers that are in table `t` then. */
async function restored(
  box: BackupBox,
  server: RigServer,
  target: RestoreRequest["target"],
  dir = `${server.rootDir}/restored-${systemClock.nowMs()}`,
): Promise<readonly number[]> {
  const request = { target, backup: null, timeline: null };
  const plan = planRestore(box.backupDir, await box.list(), await listArchive(box.backupDir), request);
  const numbers: number[] = [];
  const place = restoreSite(box, server, {
    check: async (connection) => {
      await using session = await openSession({ ...connection, part: "test", node: "test" }, systemClock);
      const { rows } = await session.query<{ n: number }>({
        name: "n",
        text: "select n from t order by n",
        values: [],
      });
      numbers.push(...rows.map(({ n }) => n));
      return [];
    },
  });
  const lastStatements = (): readonly string[] => [];
  await restoreBackup(place, plan, { backupDir: box.backupDir, dir, signal, acceptProblems: false, lastStatements });
  return numbers;
}

async function insert(server: RigServer, n: number): Promise<Date> {
  const [row] = await server.sql<{ at: Date }>("insert into t values ($1) returning clock_timestamp() as at", [n]);
  if (row === undefined) throw new Error("nothing was inserted");
  return row.at;
}

test("a ledger is restored to the very transaction, by time, by position and to the last byte", async () => {
  await using rig = await openPostgresRig();
  const server = await rig.primary("one");
  await server.sql("create table t (n int)");
  const box = backupBox();
  await using _ = archiverOf(box, server);
  await archived(box, server);
  await box.take(server);
  await insert(server, 1);
  const [after] = await server.sql<{ at: string }>(
    "select (extract(epoch from clock_timestamp()) * 1000000)::bigint::text as at",
  );
  await server.sql("select pg_switch_wal()");
  await insert(server, 2);
  await archived(box, server);
  expect(await restored(box, server, { kind: "latest" })).toEqual([1, 2]);
  expect(await restored(box, server, { kind: "time", atUs: BigInt(after?.at ?? 0) })).toEqual([1]);
  expect((await listArchive(box.backupDir))?.holes).toEqual([]);
  // Not now: the server may still commit something by itself, such as statistics, and have it archived.
  const later = BigInt(systemClock.nowMs() + 3_600_000) * 1_000n;
  await expect(restored(box, server, { kind: "time", atUs: later })).rejects.toMatchObject({
    code: "FULA_RESTORE_TARGET",
  });
});

test("archived WAL that was damaged or lost is never restored over, and what was begun is taken away", async () => {
  await using rig = await openPostgresRig();
  const server = await rig.primary("one");
  await server.sql("create table t (n int)");
  const box = backupBox();
  const first = archiverOf(box, server);
  await archived(box, server);
  await box.take(server);
  await insert(server, 1);
  await server.sql("select pg_switch_wal()");
  await archived(box, server);
  await first[Symbol.asyncDispose]();
  await insert(server, 2);
  await server.sql("select pg_switch_wal()");
  await insert(server, 3);
  await using _ = archiverOf(box, server);
  await archived(box, server);
  const listing = await listArchive(box.backupDir);
  expect(listing).toMatchObject({ holes: [], ranges: [{ timeline: 1 }] });
  const dir = join(box.backupDir, "wal");
  const segment =
    readdirSync(dir)
      .toSorted()
      .findLast((name) => name.endsWith(".sha256"))
      ?.slice(0, -".sha256".length) ?? "";
  const bytes = readFileSync(join(dir, segment));
  bytes.writeUInt8(bytes.readUInt8(100) ^ 1, 100);
  writeFileSync(join(dir, segment), bytes);
  await expect(restored(box, server, { kind: "latest" })).rejects.toMatchObject({ code: "FULA_WAL_ARCHIVE_DAMAGED" });
  rmSync(join(dir, segment));
  await expect(restored(box, server, { kind: "latest" })).rejects.toMatchObject({ code: "FULA_WAL_ARCHIVE_HOLE" });
  expect(readdirSync(server.rootDir).filter((name) => name.startsWith("restored"))).toEqual([]);
});

test("the archive follows a server over its promotion, and a restore follows the archive", async () => {
  await using rig = await openPostgresRig();
  const primary = await rig.primary("one");
  await primary.sql("create table t (n int)");
  const standby = await rig.standby(primary, "two");
  const box = backupBox();
  await using _ = archiverOf(box, standby);
  await archived(box, primary);
  await box.take(standby);
  await insert(primary, 1);
  const [before] = await primary.sql<{ lsn: string }>("select pg_current_wal_insert_lsn()::text as lsn");
  await insert(primary, 5);
  await archived(box, primary);
  await primary.stop("immediate");
  await standby.sql("select pg_promote()");
  await insert(standby, 2);
  await archived(box, standby);
  expect(await restored(box, standby, { kind: "latest" })).toEqual([1, 2, 5]);
  // Before the promotion: what is restored has never been on the timeline that began there.
  const dir = `${standby.rootDir}/before`;
  expect(await restored(box, standby, { kind: "lsn", lsn: parseLsn(before?.lsn ?? "") }, dir)).toEqual([1]);
  const history = parseHistory(readFileSync(join(dir, "pg_wal", "00000003.history"), "utf8"));
  expect(history.map(({ timeline }) => timeline)).toEqual([1]);
});

test("the archive of a server does not go on with what its twin writes under the same names", async () => {
  await using rig = await openPostgresRig();
  const server = await rig.primary("one");
  await server.sql("create table t (n int)");
  await server.stop();
  const twin = await rig.copyOf(server, "twin");
  await server.start();
  await twin.start();
  const box = backupBox();
  const archive = async (): Promise<void> => {
    await using _ = archiverOf(box, server);
    await archived(box, server);
  };
  const refused = async (): Promise<void> => {
    await using archiver = archiverOf(box, twin);
    const before = await listArchive(box.backupDir);
    await until("the twin's WAL is refused", async () => {
      const state = await Promise.resolve(archiver.state());
      return state.status === "retrying" && state.code === "FULA_WAL_ARCHIVE_CONFLICT";
    });
    expect((await listArchive(box.backupDir))?.ranges).toEqual(before?.ranges);
  };
  await insert(server, 1);
  for (const n of [2, 3]) await insert(twin, n);
  await archive();
  await refused();
  // Where the archive ends with a segment, that is received again.
  for (const each of [server, twin]) await each.sql("select pg_switch_wal()");
  await insert(twin, 4);
  await archive();
  await refused();
  await insert(server, 5);
  await archive();
  expect((await listArchive(box.backupDir))?.holes).toEqual([]);
});

test("a directory that is there already is refused, and stays as it is", async () => {
  await using rig = await openPostgresRig();
  const server = await rig.primary("one");
  const box = backupBox();
  await box.take(server);
  const dir = join(server.rootDir, "of-the-operator");
  mkdirSync(dir);
  writeFileSync(join(dir, "notes"), "years of work");
  const refused = { code: "FULA_RESTORE_OCCUPIED", message: expect.stringContaining(dir) };
  await expect(restored(box, server, { kind: "latest" }, dir)).rejects.toMatchObject(refused);
  expect(readFileSync(join(dir, "notes"), "utf8")).toBe("years of work");
});
