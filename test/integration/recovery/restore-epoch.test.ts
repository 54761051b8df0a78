import { expect, test } from "vitest";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { systemRandom } from "../../../src/lib/kernel/random.ts";
import { createPool } from "../../../src/lib/postgres/pool.ts";
import { replaceData } from "../../../src/lib/recovery/backup/replace-data.ts";
import { restoreBackup } from "../../../src/lib/recovery/backup/restore-backup.ts";
import { planRestore } from "../../../src/lib/recovery/backup/restore-plan.ts";
import { listArchive, reachOf } from "../../../src/lib/recovery/backup/wal-archive.ts";
import { parseLsn } from "../../../src/lib/recovery/lsn.ts";
import { readEpochFloor } from "../../../src/lib/recovery/postgres/epoch-floor.ts";
import { PostgresProbe } from "../../../src/lib/recovery/postgres/replica-probe.ts";
import { siteLayout } from "../../../src/lib/recovery/postgres/site-layout.ts";
import { beginRestoreEpoch } from "../../../src/lib/stack/restore-epoch.ts";
import { archived, archiverOf, backupBox, restoreSite } from "../../support/backup-box.ts";
import { newEpoch } from "../../support/ledger-records.ts";
import { asLedgerServer, ledgerPair, linkTo } from "../../support/ledger-servers.ts";
import { MemoryLedger } from "../../support/memory-ledger-store.ts";
import { openPostgresRig, type RigServer } from "../../support/postgres-pair.ts";
import { until } from "../../support/until.ts";

const { signal } = new AbortController();
const SESSION = 71n;

/** Whether a session that means an epoch may write money. */
async function mayWrite(server: RigServer, ledgerEpoch: string): Promise<true | string> {
  const pool = createPool({ ...server.connection("ledger"), part: "test", node: "test", max: 1, ledgerEpoch });
  try {
    await pool.query("delete from user_credits");
    return true;
  } catch (error) {
    return error instanceof Error && "code" in error ? String(error.code) : String(error);
  } finally {
    await pool.end();
  }
}

async function note(server: RigServer, text: string): Promise<void> {
  await server.sql("insert into notes values ($1)", [text], "ledger");
}

test("a ledger that was set back, by the run after one that was killed between epoch and data, is of a new epoch: its old sessions are refused, and so is a standby of what was taken back", async () => {
  await using rig = await openPostgresRig();
  const { primary, standby, epoch } = await ledgerPair(rig);
  await primary.sql("create table notes (text text)", [], "ledger");
  const box = backupBox();
  const archiver = archiverOf(box, primary);
  await archived(box, primary);
  await box.take(primary);
  await note(primary, "kept");
  const [at] = await primary.sql<{ lsn: string }>("select pg_current_wal_insert_lsn()::text as lsn");
  await note(primary, "the mistake");
  await archived(box, primary);
  await rig.streaming(primary, "two");
  expect(await mayWrite(primary, `1:${epoch.uuid}`)).toBe(true);
  await archiver[Symbol.asyncDispose]();
  await standby.stop();
  await primary.stop();

  const ledger = new MemoryLedger();
  await ledger.open().put("epoch", newEpoch({ number: 1, uuid: epoch.uuid, primary: "one" }), 0);
  const open = async () => await Promise.resolve(ledger.open());
  const request = { target: { kind: "lsn", lsn: parseLsn(at?.lsn ?? "") }, backup: null, timeline: null } as const;
  const plan = planRestore(box.backupDir, await box.list(), await listArchive(box.backupDir), request);
  await using files = await primary.site.open(signal);
  /** As the command does it, up to where the control plane knows of the new epoch and the data are the old ones. */
  const upToSwap = async (session: bigint) => {
    const restore = await beginRestoreEpoch(open, "one", "base-x", { clock: systemClock, random: systemRandom });
    if (restore === null) throw new Error("the ledger has no epoch");
    const restored = await restoreBackup(restoreSite(box, primary, { database: "ledger" }), plan, {
      backupDir: box.backupDir,
      dir: siteLayout(primary.site).newData(session),
      signal,
      acceptProblems: false,
      lastStatements: (recovered) => restore.statements(recovered),
    });
    await restore.begin(files, primary.site);
    return { restore, restored };
  };
  // What a run leaves that is killed there is gone on with by the next, under an epoch of its own.
  const { restore: killed } = await upToSwap(SESSION - 1n);
  expect((await ledger.open().get("epoch")).value).toMatchObject({ ...killed.epoch, phase: "promoting" });
  const { restore, restored } = await upToSwap(SESSION);
  await replaceData(primary.site, files, SESSION, systemClock);
  await restore.finish(restored);
  await primary.start();

  const notes = await primary.sql<{ text: string }>("select text from notes", [], "ledger");
  expect(notes.map(({ text }) => text)).toEqual(["kept"]);
  const { number, uuid } = restore.epoch;
  expect(await readEpochFloor(files, primary.site)).toEqual({ number: 3n, uuid });
  expect((await ledger.open().get("epoch")).value).toMatchObject({ number: 3, uuid, phase: "open", primary: "one" });
  expect(await mayWrite(primary, `1:${epoch.uuid}`)).toBe("FM002");
  expect(await mayWrite(primary, `2:${killed.epoch.uuid}`)).toBe("FM002");
  expect(await mayWrite(primary, `${number}:${uuid}`)).toBe(true);

  const probe = new PostgresProbe({
    server: asLedgerServer(standby),
    primary: linkTo(primary),
    slot: "fula_nobody",
    arbiter: { number: 3n, uuid },
    syncNeeded: 0,
    archive: null,
    newestBackup: async () => await Promise.resolve(null),
  });
  const { decision } = await probe.classify(signal);
  expect(["rewind", "full_base"]).toContain(decision.rung);

  // The archive has more of the old timeline than the new one began with, and goes on with that all the same.
  await using _ = archiverOf(box, primary);
  await note(primary, "since");
  const [end] = await primary.sql<{ lsn: string }>("select pg_current_wal_flush_lsn()::text as lsn");
  const backup = (await box.list())[0]?.record;
  await until("the archive has what came since", async () => {
    const listing = await listArchive(box.backupDir);
    const reach = listing === null ? null : reachOf(listing, backup?.endLsn ?? 0n, restored.timeline);
    return reach !== null && reach.endLsn >= parseLsn(end?.lsn ?? "") && reach.timeline === restored.timeline;
  });
});
