import { expect, test } from "vitest";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { silentLog } from "../../../src/lib/kernel/log.ts";
import { systemRandom } from "../../../src/lib/kernel/random.ts";
import { type ConnectionOptions, type ConnectionTarget, createPool } from "../../../src/lib/postgres/pool.ts";
import { restoreBackup } from "../../../src/lib/recovery/backup/restore-backup.ts";
import { planRestore } from "../../../src/lib/recovery/backup/restore-plan.ts";
import { takeBackup } from "../../../src/lib/recovery/backup/take-backup.ts";
import { type RestoreSite, testBackup } from "../../../src/lib/recovery/backup/test-backup.ts";
import { listArchive } from "../../../src/lib/recovery/backup/wal-archive.ts";
import { startWalArchiver } from "../../../src/lib/recovery/backup/wal-receiver.ts";
import { parseLsn } from "../../../src/lib/recovery/lsn.ts";
import { openContainerSite } from "../../../src/lib/runtime/postgres-site-container.ts";
import { infra } from "../../infra/infra.ts";
import { backupBox } from "../../support/backup-box.ts";
import { runContainer, uniqueName } from "../../support/containers.ts";
import { findFreePort } from "../../support/free-port.ts";
import { until } from "../../support/until.ts";

const ROOT = "/var/lib/postgresql/data";
const { signal } = new AbortController();

async function numbersIn(target: ConnectionTarget): Promise<readonly number[]> {
  const pool = createPool({ ...target, part: "test", node: "test", max: 1 });
  try {
    return (await pool.query<{ n: number }>("select n from t order by n")).rows.map(({ n }) => n);
  } finally {
    await pool.end();
  }
}

test("a server in a container is backed up, archived and restored through helpers on its volume", async () => {
  const { docker, images } = infra();
  const volume = uniqueName("backup");
  const server = await runContainer("backup", {
    image: images.postgres,
    volumes: { [volume]: ROOT },
    env: { POSTGRES_PASSWORD: "none", PGDATA: `${ROOT}/pgdata` },
  });
  await server.ready("the server answers", async () => {
    const { exitCode } = await server.exec("pg_isready", "-q", "-h", "127.0.0.1");
    return exitCode === 0;
  });
  const where = { host: server.address, port: 5432, clock: systemClock, random: systemRandom };
  const site = await openContainerSite({ docker, container: server.name, ...where });
  const connection: ConnectionOptions = {
    host: server.address,
    port: 5432,
    database: "postgres",
    user: "postgres",
    password: "none",
    part: "backup",
    node: "test",
  };
  const pool = createPool({ ...connection, max: 1 });
  const box = backupBox();
  const seen: number[] = [];
  const place: RestoreSite = {
    site,
    locksDir: box.locksDir,
    database: "postgres",
    check: async (target) => {
      seen.splice(0, seen.length, ...(await numbersIn(target)));
      return [];
    },
    freePort: findFreePort,
    clock: systemClock,
    random: systemRandom,
  };
  try {
    await pool.query("create table t (n int)");
    await pool.query("insert into t values (1)");
    const base = { ...box, connection, node: "test", tool: "test", clock: systemClock, random: systemRandom, signal };
    const { name } = await takeBackup(base);
    await using _ = startWalArchiver({
      ...box,
      connection: async () => await Promise.resolve(connection),
      clock: systemClock,
      log: silentLog,
    });
    expect(await testBackup(place, await box.entry(name), box.signer, { signal })).toMatchObject({
      ok: true,
      pgVerifyBackup: true,
    });
    expect(seen).toEqual([1]);
    await pool.query("insert into t values (2)");
    const { rows } = await pool.query<{ lsn: string }>("select pg_current_wal_flush_lsn()::text as lsn");
    const wanted = parseLsn(rows[0]?.lsn ?? "");
    await until("the WAL is archived", async () => {
      const ranges = (await listArchive(box.backupDir))?.ranges ?? [];
      return ranges.some(({ endLsn }) => endLsn >= wanted);
    });
    const request = { target: { kind: "latest" }, backup: null, timeline: null } as const;
    const plan = planRestore(box.backupDir, await box.list(), await listArchive(box.backupDir), request);
    const options = { backupDir: box.backupDir, dir: `${ROOT}/restored`, signal, acceptProblems: false };
    const restored = await restoreBackup(place, plan, { ...options, lastStatements: () => [] });
    expect([restored.timeline, restored.problems, seen]).toEqual([2, [], [1, 2]]);
    const left = await server.exec("ls", ROOT);
    expect(left.stdout.trim().split("\n").toSorted()).toEqual(["pgdata", "restored"]);
  } finally {
    await pool.end();
    await server[Symbol.asyncDispose]();
    await docker.getVolume(volume).remove({ force: true });
  }
});
