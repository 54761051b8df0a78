import { execFile } from "node:child_process";
import { chmod, mkdir, mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import { PROJECT_ROOT } from "../../../src/lib/kernel/project.ts";
import { systemRandom } from "../../../src/lib/kernel/random.ts";
import type { LedgerEpochRecord } from "../../../src/lib/membership/ledger-records.ts";
import { KeptSession } from "../../../src/lib/postgres/kept-session.ts";
import { ensureSlot, listSlotPins } from "../../../src/lib/recovery/postgres/slots.ts";
import type { SyncKeeper } from "../../../src/lib/server/sync-keeper.ts";
import { actOnEpoch } from "../../../src/lib/stack/ledger-agent.ts";
import { openOwnServer } from "../../../src/lib/stack/own-server.ts";
import { type ResyncChoice, planResyncRun, resync } from "../../../src/lib/stack/resync-run.ts";
import { ALLOWABLE } from "../../../src/lib/stack/resync-rungs.ts";
import { addStandby } from "../../../src/lib/stack/standby-add.ts";
import { until } from "../../support/until.ts";
import { makeStandbyPair, type StandbyPair, type StandbyTestBox } from "../../support/standby-boxes.ts";

let dir: string;
let pair: StandbyPair;
let keeper: SyncKeeper;

const serverOf = async (box: StandbyTestBox) => await openOwnServer(await box.load(), { ...box.context() });

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "fula-test-resync-"));
  await chmod(dir, 0o755);
  pair = await makeStandbyPair(dir);
  keeper = await pair.first.keep();
  await addStandby(pair.second.context(), async (tasks) => {
    for (const task of tasks) if ((await task.skip()) === null) await task.run(() => {});
  });
  await keeper[Symbol.asyncDispose]();
}, 120_000);

afterAll(async () => {
  await keeper[Symbol.asyncDispose]();
  for (const box of [pair.first, pair.second]) await (await serverOf(box)).site.stop("immediate");
  await rm(dir, { recursive: true, force: true });
});

/** Says in the control plane that the next epoch begins, and how far that is. */
async function raise(primary: string, phase: LedgerEpochRecord["phase"]): Promise<void> {
  const store = pair.first.store();
  const { revision, value } = await store.get("epoch");
  if (value === null) throw new Error("there is no epoch");
  const { number, uuid, syncSet, syncNeeded } = value;
  const next: LedgerEpochRecord = {
    ...value,
    number: number + 1,
    uuid: systemRandom.uuid(),
    phase,
    primary,
    timeline: null,
    switchLsn: null,
    syncSet: [],
    syncNeeded: 0,
    previous: { number, uuid, primary: value.primary, syncSet, syncNeeded },
    token: systemRandom.uuid(),
  };
  expect(await store.put("epoch", next, revision)).not.toBeNull();
}

/** The record of the same epoch, one phase further. */
async function advance(phase: LedgerEpochRecord["phase"]): Promise<void> {
  const store = pair.first.store();
  const { revision, value } = await store.get("epoch");
  if (value === null) throw new Error("there is no epoch");
  expect(await store.put("epoch", { ...value, phase, token: systemRandom.uuid() }, revision)).not.toBeNull();
}

/** Has a box do what the epoch asks of its server, once. */
async function act(box: StandbyTestBox): Promise<void> {
  const { signal, random } = box.context();
  await actOnEpoch({ loaded: await box.load(), store: box.store(), server: await serverOf(box), random, signal });
}

function choice(given: Partial<ResyncChoice> = {}): ResyncChoice {
  return { allowed: new Set(ALLOWABLE), confirm: async () => await Promise.resolve(), onProgress: () => {}, ...given };
}

/** What nobody may hold, and what may not stand beside the data, when no resync runs. */
async function leftovers(box: StandbyTestBox): Promise<readonly string[]> {
  const { site } = await serverOf(box);
  const other = await serverOf(box === pair.first ? pair.second : pair.first);
  const pins = await listSlotPins(async () => await other.connect());
  const sessions = await box.store().list("session");
  const files = (await readdir(site.rootDir)).filter((name) => /^data\.|^recovery\.inprogress$|^conf\.kept/.test(name));
  return [...pins.map(({ name }) => name), ...sessions.map(({ node }) => node), ...files];
}

test("a box that keeps the connection to its server looks over a new one where the kept one hangs or is gone", async () => {
  const { signal, random } = pair.first.context();
  const server = await serverOf(pair.first);
  const connected: number[] = [];
  await using kept = new KeptSession(async () => {
    const session = await server.connect();
    connected.push(session.pid);
    return session;
  });
  const round = async (): Promise<string | undefined> => {
    const parts = { loaded: await pair.first.load(), store: pair.first.store(), server, random, signal };
    return (await actOnEpoch({ ...parts, kept })).server?.kind;
  };
  expect(await round()).toBe("primary");
  expect(await round()).toBe("primary");
  expect(connected).toHaveLength(1);
  const [frozen = 0] = connected;
  process.kill(frozen, "SIGSTOP");
  try {
    expect(await round()).toBe("primary");
    expect(connected).toHaveLength(2);
  } finally {
    process.kill(frozen, "SIGCONT");
  }
  await using other = await server.connect();
  await other.client.query("select pg_terminate_backend($1, 60000)", [connected[1]]);
  expect(await round()).toBe("primary");
  expect(connected).toHaveLength(3);
});

test("a former primary with rows of its own is rewound, and streams; a change of the primary in the middle stops that and leaves nothing", async () => {
  const { first, second } = pair;
  const old = await serverOf(first);
  await raise("two", "fencing");
  await act(second);
  {
    await using session = await old.connect();
    await session.client.query("set synchronous_commit = local");
    await session.client.query("insert into user_credits (user_id) values ('nobody-else-has-this')");
  }
  await pair.ledger.close();
  await old.site.stop("immediate");
  await advance("promoting");
  await act(second);
  keeper = await second.keep();

  const planned = await planResyncRun(first.context());
  expect(planned.plan).toMatchObject({ rung: "rewind", lineage: "ahead", primary: "two", epoch: { number: 2 } });
  expect(planned.plan.refused.map(({ rung }) => rung)).toEqual(["zero_gap", "catchup", "truncate_only"]);
  const stingy = choice({ allowed: new Set(["truncate"]) });
  await expect(resync(first.context(), stingy)).rejects.toMatchObject({ code: "FULA_RESYNC_REFUSED" });

  let isRaised = false;
  const raising = choice({
    onProgress: () => {
      if (!isRaised) void raise("two", "fencing");
      isRaised = true;
    },
  });
  await expect(resync(first.context(), raising)).rejects.toMatchObject({ code: "FULA_RESYNC_SUPERSEDED" });
  expect(await leftovers(first)).toEqual([]);
  await expect(resync(first.context(), choice())).rejects.toMatchObject({ code: "FULA_RESYNC_REFUSED" });
  await advance("promoting");
  await act(second);

  const report = await resync(first.context(), choice());
  expect(report).toMatchObject({ outcome: "in_sync", keptOldData: [], plan: { epoch: { number: 3 } } });
  expect(await leftovers(first)).toEqual([]);
  expect((await first.store().get("box", "one")).value?.state).toBe("standby");
  await using session = await old.connect();
  const { rows } = await session.client.query("select user_id from user_credits");
  expect(rows).toEqual([]);
}, 180_000);

/** What a run that was killed leaves: its record, a pin, and half a copy. */
async function leaveBehind(box: StandbyTestBox): Promise<void> {
  const { site } = await serverOf(box);
  await mkdir(join(site.rootDir, "data.new.7"));
  const { revision } = await box.store().get("session", box.name);
  const at = "2026-11-20T03:00:00Z";
  const epoch = { number: 3, uuid: systemRandom.uuid() };
  const dead = {
    node: box.name,
    epoch,
    kind: "catchup",
    phase: "resync",
    owner: "one 1",
    pins: [],
    token: epoch.uuid,
    at,
  } as const;
  await box.store().put("session", dead, revision, box.name);
  await using session = await (await serverOf(pair.second)).connect();
  await ensureSlot(session, "fm_pin_7_wal");
}

test("a server that is in sync is left as it is, without what a killed run held, and one without data is copied", async () => {
  const { first } = pair;
  await leaveBehind(first);
  expect(await leftovers(first)).toHaveLength(3);
  const { site } = await serverOf(first);
  const postmaster = await readFile(join(site.dataDir, "postmaster.pid"), "utf8");
  const looked = await resync(first.context(), choice());
  // A primary writes a record of its own every now and then: with bad luck, during the look.
  expect(looked).toMatchObject({ outcome: "in_sync", rungs: [expect.stringMatching(/^(zero_gap|catchup)$/u)] });
  expect(await readFile(join(site.dataDir, "postmaster.pid"), "utf8")).toBe(postmaster);
  expect(await leftovers(first)).toEqual([]);
  await site.stop("fast");
  await rm(site.dataDir, { recursive: true });
  const report = await resync(first.context(), choice());
  expect(report.rungs[0]).toBe("full_base");
  expect(await leftovers(first)).toEqual([]);
  const kept = join(site.rootDir, "salvage", "3");
  const [session = ""] = await readdir(kept).catch(() => []);
  const manifest: unknown = JSON.parse(await readFile(join(kept, session, "manifest.json"), "utf8"));
  expect(manifest).toMatchObject({ rows: 1, failure: null });
}, 180_000);

test("a resync whose primary does not answer any more hears that it is to stop, and after the next one nothing is held", async () => {
  const { first, second } = pair;
  const stop = new AbortController();
  await using there = await (await serverOf(second)).connect();
  // Whoever looks at the primary reads this table, and waits for ever.
  const confirm = async (): Promise<void> => {
    await there.client.query(
      "begin; set local idle_in_transaction_session_timeout = 0; lock table ledger_epochs in access exclusive mode",
    );
  };
  const run = resync(first.context(stop.signal), choice({ confirm })).catch((error: unknown) => error);
  await using looking = await (await serverOf(second)).connect();
  await until("it waits", async () => {
    const { rows } = await looking.client.query(
      "select from pg_stat_activity where application_name = 'fula-master/resync@one' and wait_event_type = 'Lock'",
    );
    return rows.length > 0;
  });
  stop.abort(new Error("Ctrl-C"));
  expect(await run).toMatchObject({ message: "Ctrl-C" });
  await there.client.query("rollback");
  expect(await resync(first.context(), choice())).toMatchObject({ outcome: "in_sync" });
  expect(await leftovers(first)).toEqual([]);
}, 120_000);

/** Where a run that copies is killed: it has a record, holds WAL, the new data are in place, its program has forked. */
const KILLED_AT = [
  "recovery.session_created",
  "recovery.pin_acquired",
  "recovery.exec_transferred",
  "starting background WAL receiver",
];

/** Brings a box back in a process of its own, which is killed there; the records are as it left them. */
async function killResync(box: StandbyTestBox, place: string): Promise<void> {
  const child = join(PROJECT_ROOT, "test", "support", "children", "run-resync.ts");
  const run = promisify(execFile)(process.execPath, [child, box.baseDir, box.control.text(), place]);
  const end = await run.then(
    () => null,
    (error: unknown) => error,
  );
  expect(end, place).toMatchObject({ signal: "SIGKILL" });
  if (end instanceof Error && "stdout" in end && typeof end.stdout === "string") box.control.take(end.stdout);
}

/** What runs at a box's data, by the arguments of every process. */
async function programsAt(rootDir: string): Promise<readonly string[]> {
  const pids = (await readdir("/proc")).filter((name) => /^\d+$/.test(name));
  const lines = await Promise.all(
    pids.map(async (pid) => await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "")),
  );
  return lines.filter((line) => line.includes(rootDir)).map((line) => line.replaceAll("\0", " "));
}

test("a resync that is killed leaves no program at the data, and after the next one nothing that it held is left", async () => {
  const { first } = pair;
  const { site } = await serverOf(first);
  await site.stop("fast");
  for (const place of KILLED_AT) {
    await rm(site.dataDir, { recursive: true, force: true });
    await killResync(first, place);
    await until(`nothing runs after ${place}`, async () => (await programsAt(site.rootDir)).length === 0);
    expect(await leftovers(first), place).toContain("one");
  }
  expect(await resync(first.context(), choice())).toMatchObject({ outcome: "in_sync" });
  expect(await leftovers(first)).toEqual([]);
}, 300_000);
