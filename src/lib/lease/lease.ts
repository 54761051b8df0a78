import type { Clock } from "../kernel/clock.ts";
import { FulaError, isFulaError, messageOf } from "../kernel/errors.ts";
import type { Log } from "../kernel/log.ts";
import type { Random } from "../kernel/random.ts";
import { describeSession, findLockHolder } from "../postgres/advisory-lock.ts";
import type { Fence } from "../postgres/fence.ts";
import { poolerError } from "../postgres/own-session.ts";
import type { ConnectionTarget } from "../postgres/pool.ts";
import type { Session } from "../postgres/session.ts";
import type { TransactionClient } from "../postgres/transaction.ts";
import { isForeignSession, LEASE_LOCK_KEY } from "./lease-record.ts";
import { endDeadHolder, giveBack, type LeaseLook, renewLease, tryLock } from "./lease-row.ts";
import { leaseTimes, type LeaseTimes, openLeaseSession } from "./lease-session.ts";
import { takeEpoch } from "./lease-take.ts";

/** How this master stands to the lease. */
export interface LeaseState {
  readonly held: boolean;
  /** Ours where we hold it, else that of the holder last seen; null before the first look, and without a lease. */
  readonly epoch: bigint | null;
  /** Node name of the holder last seen; null = nobody, or software that keeps no epoch. */
  readonly holder: string | null;
  /** When we took it, by this machine's clock, in milliseconds since 1970; null where we do not hold it. */
  readonly sinceMs: number | null;
}

/** What a lease needs. */
export interface LeaseOptions {
  readonly connection: ConnectionTarget;
  /** Name of this master. */
  readonly node: string;
  /** A holder that does not renew for so long, in milliseconds, loses the lease to a standby. */
  readonly ttlMs: number;
  /** False: nobody is kept out. Every master works, without a fence, as long as its session stands. */
  readonly exclusive: boolean;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** Binds further things to the lease's session whenever there is a new one; a session that it rejects for is not used. */
  readonly onSession?: (client: TransactionClient) => Promise<void>;
  /**
   * What the holder does; started at each taking. `signal` aborts before anybody else can hold the lease: it must then end
   * soon. What it still writes afterwards, its fence refuses.
   */
  readonly whileHeld: (fence: Fence | null, signal: AbortSignal) => Promise<void>;
  readonly onChange?: (state: LeaseState) => void;
}

/** The right to run the cron family, held or waited for. */
export interface Lease extends AsyncDisposable {
  state(): LeaseState;
  /** Tells the work to end, waits for it, then gives the lease back, so that a standby takes it at once. */
  release(): Promise<void>;
}

/** How long the work may take to end before the lease goes on without it: its fence refuses what comes later. */
const WORK_END_MS = 10_000;
/** How long giving the lease back may take: a server that is gone gives no answer. */
const GIVE_BACK_MS = 2_000;
/** Pause before a session that was lost again and again is opened anew, at most. */
const REOPEN_DELAY_MAX_MS = 2_000;
/** Pause until the lock of a session that was just ended is tried. */
const ENDED_POLL_MS = 20;

class LeaseKeeper implements Lease {
  readonly #options: LeaseOptions;
  readonly #times: LeaseTimes;
  readonly #end = new AbortController();
  readonly #running: Promise<void>;
  #state: LeaseState = { held: false, epoch: null, holder: null, sinceMs: null };
  /** What was last logged of a standby's view and of a trouble, so that each is said once. */
  #toldHolder = "";
  #toldTrouble = "";
  #failures = 0;

  constructor(options: LeaseOptions, times: LeaseTimes, first: Session) {
    this.#options = options;
    this.#times = times;
    this.#running = this.#run(first);
  }

  state(): LeaseState {
    return this.#state;
  }

  async release(): Promise<void> {
    this.#end.abort();
    await this.#running;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.release();
  }

  get #ended(): boolean {
    return this.#end.signal.aborted;
  }

  async #run(first: Session): Promise<void> {
    let session: Session | null = first;
    while (!this.#ended) {
      try {
        session ??= await openSessionOf(this.#options, this.#times);
        await this.#useSession(session);
      } catch (error) {
        this.#tellTrouble(error);
      }
      await session?.[Symbol.asyncDispose]();
      session = null;
      await this.#sleep(this.#reopenDelayMs(), this.#end.signal);
    }
    await session?.[Symbol.asyncDispose]();
  }

  /** Longer than a standby's pause from the first time on: who lost the lease is not to win it back before others try. */
  #reopenDelayMs(): number {
    const delayMs = Math.min(REOPEN_DELAY_MAX_MS, this.#times.pollMs * 2 ** Math.min(this.#failures + 1, 10));
    this.#failures += 1;
    return delayMs / 2 + this.#options.random.int(Math.ceil(delayMs / 2));
  }

  /** Stands by and leads on one session, until the end. @throws what makes the session useless */
  async #useSession(session: Session): Promise<void> {
    const wake = AbortSignal.any([this.#end.signal, session.lost]);
    while (!this.#ended) {
      const sentMs = this.#options.clock.monotonicMs();
      if (!this.#options.exclusive) {
        await this.#hold(session, null, sentMs);
        return;
      }
      const look = await tryLock(session);
      if (look.pid !== session.pid) throw poolerError(this.#options.connection);
      this.#wentWell();
      if (look.isLocked) {
        await this.#lead(session);
        return;
      }
      const isFreed = await this.#standBy(session, look);
      await this.#sleep(isFreed ? ENDED_POLL_MS : this.#times.pollMs, wake);
      session.lost.throwIfAborted();
    }
  }

  /** @returns whether a holder that does not renew was put out just now */
  async #standBy(session: Session, look: LeaseLook): Promise<boolean> {
    const { log } = this.#options;
    const { holder, epoch, isExpired } = look;
    this.#change({ held: false, epoch, holder, sinceMs: null });
    if (!isExpired && holder !== null) {
      this.#tellHolder(`${holder} ${epoch}`, { holder, epoch: epoch.toString() });
      return false;
    }
    const other = await findLockHolder(session.client, LEASE_LOCK_KEY);
    if (other === null) return false;
    if (isForeignSession(other)) {
      this.#change({ held: false, epoch, holder: null, sinceMs: null });
      const who = describeSession(other);
      this.#tellHolder(who, { holder: null, session: who, why: "it is of software that keeps no epoch" });
      return false;
    }
    if (!(await endDeadHolder(session, epoch, this.#times.ttlMs))) return false;
    log.warn("lease.holder_ended", { holder, epoch: epoch.toString(), session: describeSession(other) });
    return true;
  }

  async #lead(session: Session): Promise<void> {
    const { node, log } = this.#options;
    const { fence, sentMs } = await takeEpoch(session, {
      ...this.#options,
      times: this.#times,
      signal: this.#end.signal,
    });
    this.#toldHolder = "";
    log.info("acquired cron lease", { holder: node, epoch: fence.epoch.toString() });
    await this.#hold(session, fence, sentMs);
    await this.#atMost(GIVE_BACK_MS, giveBack(session, fence), () => {
      // The session ends next, and with it the lock.
      log.warn("lease.not_given_back", { waitedMs: GIVE_BACK_MS });
    });
    log.info("lease.released", { epoch: fence.epoch.toString() });
  }

  /** Runs the work until the end. @throws what ended the lease before that; the work has ended then, or was given up */
  async #hold(session: Session, fence: Fence | null, sentMs: number): Promise<void> {
    const { clock, node, whileHeld } = this.#options;
    const held = new AbortController();
    const failed = new AbortController();
    this.#change({ held: true, epoch: fence?.epoch ?? null, holder: node, sinceMs: clock.nowMs() });
    const work = whileHeld(fence, held.signal).catch((error: unknown) => {
      failed.abort(error);
    });
    try {
      await this.#renewUntilEnd(session, { fence, sentMs, failed: failed.signal });
      held.abort(new FulaError("FULA_INTERRUPTED", `${node} gives the cron lease back.`));
    } catch (cause) {
      const error = new FulaError("FULA_LEASE_LOST", `${node} lost the cron lease: ${messageOf(cause)}.`, { cause });
      held.abort(error);
      throw error;
    } finally {
      this.#change({ held: false, epoch: fence?.epoch ?? null, holder: null, sinceMs: null });
      await this.#settled(work);
    }
  }

  async #renewUntilEnd(
    session: Session,
    hold: { readonly fence: Fence | null; readonly sentMs: number; readonly failed: AbortSignal },
  ): Promise<void> {
    const { clock } = this.#options;
    const { renewMs, heldMs } = this.#times;
    const wake = AbortSignal.any([this.#end.signal, session.lost, hold.failed]);
    let renewedMs = hold.sentMs;
    while (!this.#ended) {
      await this.#sleep(renewMs, wake);
      if (this.#ended) return;
      wake.throwIfAborted();
      const sentMs = clock.monotonicMs();
      const leftMs = renewedMs + heldMs - sentMs;
      await this.#renewWithin(session, hold.fence, leftMs);
      this.#wentWell();
      renewedMs = sentMs;
    }
  }

  /** @throws where the answer does not come in time, or is that the lease is somebody else's */
  async #renewWithin(session: Session, fence: Fence | null, leftMs: number): Promise<void> {
    const { clock } = this.#options;
    const done = new AbortController();
    const late = clock.sleep(Math.max(0, leftMs), AbortSignal.any([done.signal, this.#end.signal])).then(
      () => "late" as const,
      () => "ended" as const,
    );
    try {
      const answer = await Promise.race([late, leftMs > 0 ? this.#renew(session, fence) : late]);
      if (answer === "late") throw new Error("it was not renewed in time");
      if (answer === false) throw new Error("another session has it");
    } finally {
      done.abort();
    }
  }

  async #renew(session: Session, fence: Fence | null): Promise<boolean> {
    if (fence !== null) return await renewLease(session, fence, this.#times.ttlMs);
    const { rows } = await session.query<{ pid: number }>({
      name: "lease_session_alive",
      text: "select pg_backend_pid() as pid",
      values: [],
    });
    if (rows[0]?.pid !== session.pid) throw poolerError(this.#options.connection);
    return true;
  }

  async #settled(work: Promise<void>): Promise<void> {
    await this.#atMost(WORK_END_MS, work, () => {
      this.#options.log.warn("lease.work_not_ended", { waitedMs: WORK_END_MS });
    });
  }

  async #atMost(ms: number, waitedFor: Promise<void>, onLate: () => void): Promise<void> {
    const done = new AbortController();
    const late = this.#options.clock.sleep(ms, done.signal).then(onLate, () => {});
    try {
      await Promise.race([waitedFor, late]);
    } finally {
      done.abort();
    }
  }

  #change(state: LeaseState): void {
    const before = this.#state;
    this.#state = state;
    if (before.held !== state.held || before.epoch !== state.epoch || before.holder !== state.holder) {
      this.#options.onChange?.(state);
    }
  }

  #wentWell(): void {
    this.#failures = 0;
    this.#toldTrouble = "";
  }

  #tellHolder(key: string, fields: Readonly<Record<string, unknown>>): void {
    if (this.#toldHolder === key) return;
    this.#toldHolder = key;
    this.#options.log.info("standby (lease held by another master)", fields);
  }

  #tellTrouble(error: unknown): void {
    const message = messageOf(error);
    if (this.#ended || this.#toldTrouble === message) return;
    this.#toldTrouble = message;
    // Whoever is refused needs a person; a session that was lost is opened again.
    if (isFulaError(error) && error.kind !== "unavailable") this.#options.log.error("lease.refused", { error });
    else if (isFulaError(error, "FULA_LEASE_LOST")) this.#options.log.warn("lease.lost", { error });
    else this.#options.log.warn("lease.session_lost", { error });
  }

  async #sleep(ms: number, signal: AbortSignal): Promise<void> {
    await this.#options.clock.sleep(ms, signal).catch(() => {});
  }
}

async function openSessionOf(options: LeaseOptions, times: LeaseTimes): Promise<Session> {
  const session = await openLeaseSession(options.connection, options.node, times, options.clock);
  try {
    await options.onSession?.(session.client);
    return session;
  } catch (error) {
    await session[Symbol.asyncDispose]();
    throw error;
  }
}

/**
 * Takes part in the lease: holds it, or stands by and takes it as soon as its holder lets go, dies or no longer renews.
 * The lock is bound to a session of its own, outside any pool; a session that is lost is opened again.
 * @throws FulaError FULA_LEASE_POOLER, FULA_DATABASE_UNREACHABLE, FULA_DATABASE_LOGIN, and what `onSession` rejects with
 */
export async function startLease(options: LeaseOptions): Promise<Lease> {
  const times = leaseTimes(options.ttlMs);
  return new LeaseKeeper(options, times, await openSessionOf(options, times));
}
