import type { Clock } from "../../kernel/clock.ts";
import { FulaError } from "../../kernel/errors.ts";
import type { Log } from "../../kernel/log.ts";
import type { Random } from "../../kernel/random.ts";
import { formatCount } from "../../kernel/units.ts";
import { lockHolderNames, tryLockAlone, unlockShared } from "../../postgres/advisory-lock.ts";
import { openOwnSession } from "../../postgres/own-session.ts";
import type { ConnectionTarget, Pool } from "../../postgres/pool.ts";
import type { Session } from "../../postgres/session.ts";
import { STAYING_SESSION } from "../../postgres/session-settings.ts";
import { type TransactionClient, withTransaction } from "../../postgres/transaction.ts";
import { SAVING_MODES, type SavingMode } from "./saving-mode.ts";

/** Session locks that each serving master holds shared: who holds one serves, and saves buckets in that mode. */
const MODE_LOCKS: Readonly<Record<SavingMode, bigint>> = {
  cas: 815_551_005n,
  single: 815_551_006n,
  fleet: 815_551_007n,
};
/** Changing the mode waits for moves that are being made, and new ones wait for it. */
const LOCK_TIMEOUT_MS = 10_000;

/** How the masters of a ledger save buckets. */
export interface SavingState {
  /** Null where none has served yet. */
  readonly mode: SavingMode | null;
  /** The sessions of those that serve, by the mode that they serve in. */
  readonly serving: Readonly<Record<SavingMode, readonly string[]>>;
}

async function readMode(client: TransactionClient, isLocked = false): Promise<SavingMode | null> {
  const { rows } = await client.query<{ mode: SavingMode | null }>(
    `select mode from bucket_mode${isLocked ? " for update" : ""}`,
  );
  const [row] = rows;
  if (row === undefined) throw new Error("the table bucket_mode has lost its row");
  return row.mode;
}

/** Looks how the masters save buckets, and who serves. @throws FulaError FULA_DATABASE_UNREACHABLE */
export async function readSavingState(pool: Pool): Promise<SavingState> {
  return await withTransaction(
    pool,
    async (client) => {
      const mode = await readMode(client);
      const cas = await lockHolderNames(client, MODE_LOCKS.cas);
      const single = await lockHolderNames(client, MODE_LOCKS.single);
      const fleet = await lockHolderNames(client, MODE_LOCKS.fleet);
      return { mode, serving: { cas, single, fleet } };
    },
    { readOnly: true },
  );
}

const SETTINGS: Readonly<Record<SavingMode, string>> = {
  cas: "set FULA_BUCKET_ROOT_CAS=true here",
  single: "set FULA_BUCKET_ROOT_CAS=false here",
  fleet: "set gateway.mode to container here",
};

function mixed(mode: SavingMode, wanted: SavingMode, serving: readonly string[]): FulaError {
  const who = serving.length === 0 ? "by a master that has just ended" : `by ${serving.join(", ")}`;
  return new FulaError(
    "FULA_BUCKET_MODE",
    `Buckets of this ledger are saved in mode ${mode}, ${who}; this master would save them in mode ${wanted}.`,
    {
      hint: `${SETTINGS[mode]}; to change all of them, stop every master first.`,
      details: { mode, wanted, serving },
    },
  );
}

/** The fleet's gateways cannot read an index of ours, and would begin such a bucket anew. */
async function assertFleetCanRead(client: TransactionClient): Promise<void> {
  const { rows } = await client.query<{ count: string }>(
    "select count(*) as count from bucket_roots where format = 1 and deleted_at is null",
  );
  const count = Number(rows[0]?.count);
  if (count === 0) return;
  throw new FulaError(
    "FULA_BUCKET_MODE",
    `Gateways of the existing fleet cannot read ${formatCount(count, "bucket")} of this ledger.`,
    {
      hint: "leave gateway.mode at own on every master; what was imported does not go back.",
      details: { wanted: "fleet", buckets: count },
    },
  );
}

/**
 * Writes the mode down where it is another one and nobody serves in any but the wanted one, until the transaction's end.
 * @returns the mode before
 * @throws FulaError FULA_BUCKET_MODE
 */
async function changeMode(client: TransactionClient, wanted: SavingMode): Promise<SavingMode | null> {
  await client.query(`set local lock_timeout = ${LOCK_TIMEOUT_MS}`);
  await client.query("set local statement_timeout = 0");
  // Masters that start at the same time decide one after the other.
  const before = await readMode(client, true);
  if (before === wanted) return before;
  for (const other of SAVING_MODES.filter((mode) => mode !== wanted)) {
    if (!(await tryLockAlone(client, MODE_LOCKS[other])))
      throw mixed(other, wanted, await lockHolderNames(client, MODE_LOCKS[other]));
  }
  if (wanted === "fleet") await assertFleetCanRead(client);
  // A move that a killed master has left on its way reads the mode when it begins: those end first.
  await client.query("lock table bucket_roots in share row exclusive mode");
  await client.query("update bucket_mode set mode = $1", [wanted]);
  return before;
}

/**
 * Changes how the masters of this ledger save buckets, while none serves in another way.
 * @returns the mode before
 * @throws FulaError FULA_BUCKET_MODE, naming who serves in another mode
 */
export async function changeSavingMode(pool: Pool, wanted: SavingMode): Promise<SavingMode | null> {
  return await withTransaction(pool, async (client) => await changeMode(client, wanted));
}

/**
 * Joins where the mode is as wanted already, which it is at every start but the first: without a lock that masters would
 * wait for in turn.
 */
async function joinAsItIs(client: TransactionClient, wanted: SavingMode): Promise<boolean> {
  const lock = [MODE_LOCKS[wanted].toString()];
  // Held first and read second: whoever changes the mode away from it takes this lock for himself alone.
  await client.query("select pg_advisory_lock_shared($1)", lock);
  if ((await readMode(client)) === wanted) return true;
  await client.query("select pg_advisory_unlock_shared($1)", lock);
  return false;
}

/**
 * Joins the masters that save buckets in a mode, for as long as this session lives; no pooler may be between. The first of
 * all writes the mode down; one that wants another may change it while nobody serves.
 * @throws FulaError FULA_BUCKET_MODE where others serve in another mode; what the driver throws
 */
async function joinSavingMode(client: TransactionClient, wanted: SavingMode): Promise<void> {
  if (!(await joinAsItIs(client, wanted))) {
    await client.query("begin");
    try {
      await changeMode(client, wanted);
      await client.query("select pg_advisory_lock_shared($1)", [MODE_LOCKS[wanted].toString()]);
      await client.query("commit");
    } catch (error) {
      await client.query("rollback");
      throw error;
    }
  }
  for (const other of SAVING_MODES.filter((mode) => mode !== wanted)) await unlockShared(client, MODE_LOCKS[other]);
}

/** What a guard of the mode works with. */
export interface ModeGuardOptions {
  readonly connection: ConnectionTarget;
  /** Name of this master. */
  readonly node: string;
  readonly mode: SavingMode;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

const STATEMENT_TIMEOUT_MS = 15_000;
const RETRY_MS = 250;
const RETRY_MS_MAX = 5_000;

async function openJoined({ connection, node, mode, clock }: ModeGuardOptions): Promise<Session> {
  const session = await openOwnSession(
    { ...connection, node, part: "buckets", queryTimeoutMs: STATEMENT_TIMEOUT_MS, sessionSettings: STAYING_SESSION },
    clock,
  );
  try {
    await joinSavingMode(session.client, mode);
    return session;
  } catch (error) {
    await session[Symbol.asyncDispose]();
    throw error;
  }
}

async function untilLost(session: Session, signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const either = AbortSignal.any([session.lost, signal]);
  if (either.aborted) return;
  either.addEventListener("abort", () => {
    resolve();
  });
  await promise;
}

/** Takes the session up again for as long as it is lost. @returns null where it was told to end */
async function rejoin(options: ModeGuardOptions, signal: AbortSignal): Promise<Session | null> {
  const { clock, random, log, mode } = options;
  for (let pauseMs = RETRY_MS; !signal.aborted; pauseMs = Math.min(2 * pauseMs, RETRY_MS_MAX)) {
    try {
      return await openJoined(options);
    } catch (error) {
      log.warn("buckets.mode.not_joined", { mode, error });
    }
    await clock.sleep(pauseMs / 2 + random.int(pauseMs / 2 + 1), signal).catch(() => {});
  }
  return null;
}

/**
 * Joins the masters that save buckets in a mode, and stays with them until it is disposed of; a session that is lost is
 * taken up again. Meanwhile nothing is saved that should not be: each move looks at the mode by itself.
 * @throws FulaError FULA_BUCKET_MODE where others serve in another mode; FULA_LEASE_POOLER, FULA_DATABASE_UNREACHABLE,
 *   FULA_DATABASE_LOGIN
 */
export async function startModeGuard(options: ModeGuardOptions): Promise<AsyncDisposable> {
  const { log, mode } = options;
  const end = new AbortController();
  let session: Session | null = await openJoined(options);
  log.info("buckets.mode.joined", { mode });
  const stay = async (): Promise<void> => {
    while (session !== null) {
      await untilLost(session, end.signal);
      await session[Symbol.asyncDispose]();
      if (end.signal.aborted) return;
      log.warn("buckets.mode.session_lost", { mode });
      session = await rejoin(options, end.signal);
      if (session !== null) log.info("buckets.mode.joined", { mode });
    }
  };
  const staying = stay();
  return {
    [Symbol.asyncDispose]: async () => {
      end.abort();
      await staying;
    },
  };
}
