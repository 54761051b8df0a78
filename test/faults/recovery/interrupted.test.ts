import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { Epoch } from "../../../src/lib/recovery/epoch.ts";
import { parseLsn } from "../../../src/lib/recovery/lsn.ts";
import { lookInSync } from "../../../src/lib/recovery/postgres/in-sync.ts";
import { settleLeftovers } from "../../../src/lib/recovery/postgres/leftovers.ts";
import { PostgresReplica } from "../../../src/lib/recovery/postgres/replica-io.ts";
import type { DivergedTail, ReplicaWork } from "../../../src/lib/recovery/postgres/replica-work.ts";
import type { PostgresSite, SiteSession } from "../../../src/lib/runtime/postgres-site.ts";
import { failOver, ledgerPair, workAt } from "../../support/ledger-servers.ts";
import { openPostgresRig, type PostgresRig, type RigServer } from "../../support/postgres-pair.ts";

/** Programs that one rung runs at most. */
const STEPS_MAX = 40;
const never = new AbortController().signal;
const noShelf = { unpack: async () => await Promise.reject(new Error("there is no backup")) };

/** How the program of a step fails: it is never begun, or it is killed when it has begun. */
type How = "throws" | "is killed";

const SOAK = process.env["SOAK"] === "1";
/** Of a copy, every third step fails, in one way and then in the other; with SOAK=1 every step, in both. */
const STRIDE = SOAK ? 1 : 3;
const ROUNDS: readonly { readonly odd: How; readonly even: How }[] = [
  { odd: "throws", even: "is killed" },
  ...(SOAK ? ([{ odd: "is killed", even: "throws" }] as const) : []),
];
/** Each attempt makes a base backup, on a machine that may have much else to do. */
const TIMEOUT_MS = 600_000;

/** A site at which the program with a number, counted over all sessions, fails. */
function failingAt(site: PostgresSite, step: number, how: How): { site: PostgresSite; ran(): number } {
  let count = 0;
  const wrap = (session: SiteSession): SiteSession => ({
    host: session.host,
    run: async (program, run) => {
      count += 1;
      if (count !== step) return await session.run(program, run);
      if (how === "throws") throw new Error("injected");
      await session.run(program, { ...run, timeoutMs: 1 });
      throw new Error("injected");
    },
    [Symbol.asyncDispose]: async () => {
      await session[Symbol.asyncDispose]();
    },
  });
  const wrapped = new Proxy(site, {
    get: (target, name) => {
      if (name === "open") return async (signal: AbortSignal) => wrap(await target.open(signal));
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
  return { site: wrapped, ran: () => count };
}

interface Diverged {
  readonly primary: RigServer;
  readonly old: RigServer;
  readonly next: Epoch;
  readonly tail: DivergedTail;
}

async function diverged(rig: PostgresRig): Promise<Diverged> {
  const { primary: old, standby: primary } = await ledgerPair(rig);
  const next = await failOver(primary, async () => {
    await old.sql("insert into user_credits (user_id) values ('old')", [], "ledger");
  });
  const [end] = await old.sql<{ lsn: string }>("select pg_current_wal_flush_lsn()::text as lsn");
  await old.stop("immediate");
  await primary.sql("select pg_create_physical_replication_slot('fula_one', true)");
  const [fork] = await primary.sql<{ lsn: string }>(
    "select switch_lsn::text as lsn from ledger_epochs where number = 2",
    [],
    "ledger",
  );
  const forkLsn = parseLsn(fork?.lsn ?? "");
  const endLsn = parseLsn(end?.lsn ?? "");
  return { primary, old, next, tail: { timeline: 1, forkLsn, endLsn } };
}

/** What must not be there when nothing works at a server any more. */
function leftAt(server: RigServer): readonly string[] {
  return readdirSync(server.rootDir).filter((name) => /^data\.new\.|^recovery\.inprogress$|^conf\.kept/.test(name));
}

async function streams(work: ReplicaWork, primary: RigServer): Promise<void> {
  const [row] = await primary.sql<{ lsn: string }>("select pg_current_wal_flush_lsn()::text as lsn");
  const target = parseLsn(row?.lsn ?? "");
  const chunks = new PostgresReplica(() => work, noShelf).streamWal(0n, target, never);
  for await (const lsn of chunks) expect(lsn).toBeLessThanOrEqual(target);
  // The primary goes on writing by itself: at one instant the standby may be catching up again.
  await expect.poll(async () => (await lookInSync(work.server, work.following, target)).lacks).toEqual([]);
}

test.for(ROUNDS)(
  "a copy that fails at any step leaves the old data as they were and nothing else, and the next one is made",
  { timeout: TIMEOUT_MS },
  async ({ odd, even }) => {
    await using rig = await openPostgresRig();
    const { primary, old, next } = await diverged(rig);
    for (let step = 1; step <= STEPS_MAX; step += STRIDE) {
      const work = workAt(old, primary, next, { session: BigInt(step) });
      const failing = failingAt(old.site, step, step % 2 === 1 ? odd : even);
      const attempt = new PostgresReplica(() => ({ ...work, server: { ...work.server, site: failing.site } }), noShelf);
      const failure = await attempt.transferFullBase(0n, never).then(
        () => null,
        (error: unknown) => error,
      );
      if (failing.ran() < step) break;
      await using files = await old.site.open(never);
      expect(await settleLeftovers(files, work.server)).toBeNull();
      expect(leftAt(old)).toEqual([]);
      expect(existsSync(join(old.dataDir, "PG_VERSION"))).toBe(true);
      if (failure === null) expect(existsSync(join(old.rootDir, `data.old.${step}`))).toBe(true);
    }
    await streams(workAt(old, primary, next), primary);
  },
);

test.for(ROUNDS)(
  "a rewind that fails at any step leaves nothing behind while nothing was written, and its marker from then on",
  { timeout: TIMEOUT_MS },
  async ({ odd, even }) => {
    await using rig = await openPostgresRig();
    const { primary, old, next, tail } = await diverged(rig);
    let marked = 0;
    for (let step = 1; step <= STEPS_MAX; step += 1) {
      const work = workAt(old, primary, next, { tail, session: BigInt(step) });
      const failing = failingAt(old.site, step, step % 2 === 1 ? odd : even);
      const attempt = new PostgresReplica(() => ({ ...work, server: { ...work.server, site: failing.site } }), noShelf);
      const failure = await attempt.rewind(0n, never).then(
        () => null,
        (error: unknown) => error,
      );
      if (failing.ran() < step) break;
      await using files = await old.site.open(never);
      const marker = await settleLeftovers(files, work.server);
      if (marker === null) {
        expect(leftAt(old)).toEqual([]);
        if (failure === null) break;
        continue;
      }
      expect(marker).toMatchObject({ kind: "rewind", phase: "write" });
      await expect(old.site.start()).rejects.toMatchObject({ code: "FULA_RECOVERY_MARKER" });
      marked += 1;
      break;
    }
    if (marked > 0)
      await new PostgresReplica(() => workAt(old, primary, next, { tail, session: 99n }), noShelf).transferFullBase(
        0n,
        never,
      );
    await streams(workAt(old, primary, next), primary);
    expect(leftAt(old)).toEqual([]);
  },
);
