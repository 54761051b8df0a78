import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { type Lsn, parseLsn } from "../../../src/lib/recovery/lsn.ts";
import { withLedger } from "../../../src/lib/stack/ledger.ts";
import { expectDone } from "../../support/cli.ts";
import { PG_BIN_DIR } from "../../support/postgres-pair.ts";
import { makeTestBox, type TestBox } from "../../support/test-box.ts";
import { until } from "../../support/until.ts";

const LONG_MS = 900_000;

interface Listed {
  readonly name: string;
}

async function json<T>(box: TestBox, argv: readonly string[]): Promise<T> {
  const { stdout } = expectDone(await box.run([...argv, "--json"]), argv.join(" "));
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- what the command documents
  return JSON.parse(stdout) as T;
}

async function notes(box: TestBox, text?: string): Promise<readonly string[]> {
  return await withLedger(await box.load(), { clock: systemClock }, async (pool) => {
    await pool.query("create table if not exists drill_notes (text text)");
    if (text !== undefined) await pool.query("insert into drill_notes values ($1)", [text]);
    const { rows } = await pool.query<{ text: string }>("select text from drill_notes order by text");
    return rows.map((row) => row.text);
  });
}

async function position(box: TestBox): Promise<Lsn> {
  return await withLedger(await box.load(), { clock: systemClock }, async (pool) => {
    const { rows } = await pool.query<{ lsn: string }>("select pg_current_wal_flush_lsn()::text as lsn");
    return parseLsn(rows[0]?.lsn ?? "");
  });
}

/** A moment after all that was committed before: commits have microseconds, and a target of a restore has milliseconds. */
async function now(): Promise<string> {
  const sinceMs = systemClock.nowMs();
  await until("the clock has gone on", async () => await Promise.resolve(systemClock.nowMs() > sinceMs));
  return new Date(systemClock.nowMs()).toISOString();
}

async function statusOf(box: TestBox): Promise<{ readonly backups: { readonly state: string } } | null> {
  const { exitCode, stdout } = await box.run(["status", "--json"]);
  return exitCode === 0 ? JSON.parse(stdout) : null;
}

test(
  "a master backs its ledger up, archives it while it serves, and goes back to before a mistake",
  async () => {
    await using box = await makeTestBox();
    mkdirSync(box.baseDir, { mode: 0o700 });
    writeFileSync(
      join(box.baseDir, "fula-master.yaml"),
      `postgres:\n  binDir: ${PG_BIN_DIR}\nbackup:\n  archive: true\n`,
    );
    const joined = await box.run(box.joinArgs);
    expect(joined.exitCode, joined.stderr).toBe(0);
    await notes(box, "kept");
    const created = await json<{ ok: boolean; backup: Listed & { test: { ok: boolean; pgVerifyBackup: boolean } } }>(
      box,
      ["backup", "create", "--if-active"],
    );
    expect(created).toMatchObject({ ok: true, backup: { test: { ok: true, pgVerifyBackup: true } } });
    await notes(box, "made after the backup");
    const before = await now();
    await notes(box, "the mistake");
    const written = await position(box);
    await until("the archive has the mistake too", async () => {
      const { archive } = await json<{ archive: { reachesTo: string | null } | null }>(box, ["backup", "list"]);
      return archive?.reachesTo != null && parseLsn(archive.reachesTo) >= written;
    });
    const status = await until("all is well", async () => {
      const seen = await statusOf(box);
      return seen?.backups.state === "ok" ? seen : null;
    });
    expect(status).toMatchObject({
      backups: { state: "ok", due: true, count: 1, newest: created.backup.name, tested: true },
    });
    await until("the metrics say that the archive streams", async () => {
      const metrics = await (await fetch(`http://127.0.0.1:${box.ports.server}/metrics`)).text();
      return /^fula_archive_streaming 1$/m.test(metrics);
    });
    const beside = await json<{ ok: boolean; dir: string; contents: object }>(box, [
      "backup",
      "restore",
      "--to",
      before,
    ]);
    expect(beside).toMatchObject({ ok: true, contents: { accounts: 0 } });
    const running = await box.run(["backup", "restore", "--to", before, "--in-place", "--yes"]);
    expect([running.exitCode, running.stderr]).toEqual([3, expect.stringContaining("FULA_RESTORE_RUNNING")]);
    expectDone(await box.run(["stop"]), "stop");
    expect(await json(box, ["backup", "restore", "--to", before, "--in-place", "--yes"])).toMatchObject({
      ok: true,
      inPlace: true,
    });
    const latest = await box.run(["backup", "restore", "--to", "latest", "--dry-run"]);
    expect([latest.exitCode, latest.stderr]).toEqual([2, expect.stringContaining("FULA_RESTORE_TARGET")]);
    expect(await notes(box)).toEqual(["kept", "made after the backup"]);
    expect((await box.run(["billing", "verify"])).exitCode).toBe(0);
  },
  LONG_MS,
);
