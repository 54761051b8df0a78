import type { Clock } from "../kernel/clock.ts";
import { FulaError, isFulaError } from "../kernel/errors.ts";
import type { Random } from "../kernel/random.ts";
import type { FailoverRun, LedgerEpoch, LedgerStore, Versioned } from "../membership/ledger-records.ts";
import { swapRecord } from "../membership/ledger-swap.ts";
import { FAILOVER_STATES, type FailoverState, hasReached } from "./failover-states.ts";

/** A run whose record says its state in words that are known. */
export type KnownRun = FailoverRun & { readonly step: FailoverState };

/** What whoever starts or resumes a run wants. */
export interface RunWish {
  readonly kind: FailoverRun["kind"];
  /** This box. */
  readonly node: string;
  /** This process, as messages name it: `fula-2, process 4711`. */
  readonly owner: string;
  readonly operator: string;
  readonly from: string;
  readonly to: string | null;
  readonly replaces: LedgerEpoch;
  readonly forced: boolean;
  readonly allowedLoss: string | null;
}

/** What a run's record is kept with. */
export interface RunDeps {
  readonly store: LedgerStore;
  readonly clock: Clock;
  readonly random: Random;
  readonly signal: AbortSignal;
}

/** What changes of a run while it goes on. */
type RunChange = Partial<Pick<KnownRun, "step" | "state" | "to">>;

const BEAT_MS = 2_000;
/** A run that was not confirmed for so long is confirmed before it goes on: somebody may take it over after `TAKE_OVER_MS`. */
const HELD_MS = 8_000;
const TAKE_OVER_MS = 15_000;
const TAKE_OVER_POLL_MS = 500;
/** A question that took longer met servers that were electing: whoever has the run could not say so meanwhile. */
const ELECTING_MS = 1_000;
const SWAP_PATIENCE_MS = 5_000;

/** The last run's record as it stands; null where there never was one. @throws FulaError FULA_FAILOVER_RUN_UNKNOWN */
export function knownRun(run: FailoverRun | null): KnownRun | null {
  if (run === null) return null;
  const step = FAILOVER_STATES.find((state) => state === run.step);
  if (step !== undefined) return { ...run, step };
  throw new FulaError(
    "FULA_FAILOVER_RUN_UNKNOWN",
    `The ${run.kind} of ${run.startedAt} by ${run.owner} is at “${run.step}”, which this version does not know.`,
    { hint: "run the command on the box that began it: it has a newer version of fula-master." },
  );
}

/** Whether a run can be gone on with: it has not come to its end. */
export function isUnfinished(run: FailoverRun | null): run is FailoverRun {
  return run !== null && (run.state === "running" || run.state === "stopped");
}

function runningElsewhere(run: FailoverRun): FulaError {
  return new FulaError(
    "FULA_FAILOVER_RUNNING",
    `A ${run.kind} from ${run.from} is under way already: ${run.owner} runs it for ${run.operator} since ${run.startedAt}, and is at “${run.step}”.`,
    {
      hint: "fula-master failover status shows how it goes on; one that stands still for 15 s can be taken over from any master.",
      details: { run: run.id, owner: run.owner, operator: run.operator },
    },
  );
}

/** A run that this process has: only it goes on with it, as long as `held` has not aborted. */
export class FailoverRunKeeper implements AsyncDisposable {
  readonly #deps: RunDeps;
  readonly #lost = new AbortController();
  readonly #end = new AbortController();
  readonly #beating: Promise<void>;
  /** One change at a time: each is a swap of the record that the one before it left. */
  #turn: Promise<unknown> = Promise.resolve();
  /** Of writes whose outcome was never heard: what stands there with one of them was written here. */
  readonly #undecided = new Set<string>();
  #run: KnownRun;
  #wanted: RunChange = {};
  #isWritten = true;
  #revision: number;
  #ackedMs: number;

  constructor(deps: RunDeps, run: KnownRun, revision: number, sentMs: number) {
    this.#deps = deps;
    this.#run = run;
    this.#revision = revision;
    this.#ackedMs = sentMs;
    this.#beating = this.#beat();
  }

  /** As it is written down, or is being. */
  get run(): KnownRun {
    return { ...this.#run, ...this.#wanted };
  }

  /** Aborts when somebody else has the run. */
  get held(): AbortSignal {
    return this.#lost.signal;
  }

  /**
   * Makes sure that nobody else has the run: a process that was paused, or did not hear the control plane for long, asks.
   * @throws FulaError FULA_FAILOVER_OVERTAKEN where somebody has, FULA_CONTROL_PLANE_UNREACHABLE where nobody says
   */
  async assertHeld(): Promise<void> {
    this.#lost.signal.throwIfAborted();
    if (this.#deps.clock.monotonicMs() - this.#ackedMs > HELD_MS) await this.change({});
  }

  /** Writes what the run has come to. @throws FulaError FULA_FAILOVER_OVERTAKEN, FULA_CONTROL_PLANE_UNREACHABLE */
  async change(change: RunChange): Promise<void> {
    this.#want(change);
    await this.#inTurn(async () => await this.#swap());
  }

  /**
   * Writes down what the run has come to while it goes on: writes of the ledger wait for it. Whether that came through is
   * found out by the next `change`, without which nothing is done that cannot be done twice.
   */
  note(change: RunChange): void {
    this.#want(change);
    this.#inTurn(async () => {
      if (!this.#isWritten) await this.#swap();
    }).catch(() => {});
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#end.abort();
    await this.#beating;
    await this.#turn;
  }

  #want(change: RunChange): void {
    this.#wanted = { ...this.#wanted, ...change };
    this.#isWritten = false;
  }

  async #inTurn(work: () => Promise<void>): Promise<void> {
    const turn = this.#turn.then(work);
    this.#turn = turn.catch(() => {});
    await turn;
  }

  async #swap(): Promise<void> {
    const { store, clock, random } = this.#deps;
    for (;;) {
      this.#lost.signal.throwIfAborted();
      const sentMs = clock.monotonicMs();
      this.#isWritten = true;
      const value = { ...this.run, beat: this.#run.beat + 1, token: random.uuid(), at: timeOf(clock) };
      this.#undecided.add(value.token);
      const swapped = await swapRecord(
        store,
        { kind: "failover", value, expectedRevision: this.#revision },
        { clock, signal: this.#end.signal, patienceMs: SWAP_PATIENCE_MS },
      );
      const now = swapped.won ? value : knownRun(swapped.now.value);
      if (now === null || !this.#undecided.has(now.token)) {
        this.#lose(`${now?.owner ?? "somebody else"} has taken it over`);
        continue;
      }
      this.#run = now;
      this.#revision = swapped.won ? swapped.revision : swapped.now.revision;
      if (!swapped.won) continue;
      this.#undecided.clear();
      this.#ackedMs = sentMs;
      return;
    }
  }

  async #beat(): Promise<void> {
    const { clock } = this.#deps;
    const wake = AbortSignal.any([this.#end.signal, this.#lost.signal]);
    while (!wake.aborted) {
      try {
        await clock.sleep(BEAT_MS, wake);
        await this.change({});
      } catch (error) {
        // Silence is no loss: `assertHeld` asks where it was long.
        if (!isFulaError(error, "FULA_CONTROL_PLANE_UNREACHABLE")) return;
      }
    }
  }

  #lose(why: string): void {
    if (this.#lost.signal.aborted) return;
    const { kind } = this.#run;
    this.#lost.abort(
      new FulaError("FULA_FAILOVER_OVERTAKEN", `This process goes no further with the ${kind}: ${why}.`, {
        hint: "fula-master failover status shows who has it and how far it has come.",
      }),
    );
  }
}

function timeOf(clock: Clock): string {
  return new Date(clock.nowMs()).toISOString();
}

function firstRecord(wish: RunWish, { clock, random }: RunDeps): KnownRun {
  const at = timeOf(clock);
  return {
    id: random.uuid(),
    kind: wish.kind,
    state: "running",
    owner: wish.owner,
    operator: wish.operator,
    from: wish.from,
    to: wish.to,
    replaces: wish.replaces,
    forced: wish.forced,
    allowedLoss: wish.allowedLoss,
    step: "begun",
    beat: 0,
    token: random.uuid(),
    startedAt: at,
    at,
  };
}

async function win(deps: RunDeps, value: KnownRun, expectedRevision: number): Promise<FailoverRunKeeper> {
  const { store, clock, signal } = deps;
  const sentMs = clock.monotonicMs();
  const swapped = await swapRecord(
    store,
    { kind: "failover", value, expectedRevision },
    { clock, signal, patienceMs: SWAP_PATIENCE_MS },
  );
  if (swapped.won) return new FailoverRunKeeper(deps, value, swapped.revision, sentMs);
  const { value: other } = swapped.now;
  throw runningElsewhere(other ?? value);
}

/** Begins a run. Whoever else begins one at the same time is refused. @throws FulaError FULA_FAILOVER_RUNNING, FULA_CONTROL_PLANE_UNREACHABLE */
export async function beginRun(deps: RunDeps, wish: RunWish, seen: Versioned<FailoverRun>): Promise<FailoverRunKeeper> {
  return await win(deps, firstRecord(wish, deps), seen.revision);
}

/**
 * Takes over a run that has stopped, or whose process is gone: one of this box is known to be gone by the lock that the
 * caller holds; another box's is taken for gone when it does not beat, by this machine's clock.
 * @throws FulaError FULA_FAILOVER_RUNNING where it beats, FULA_CONTROL_PLANE_UNREACHABLE
 */
export async function takeOverRun(
  deps: RunDeps,
  wish: Pick<RunWish, "kind" | "node" | "owner" | "operator" | "to" | "forced" | "allowedLoss">,
  seen: { readonly revision: number; readonly value: KnownRun },
): Promise<FailoverRunKeeper> {
  const { value } = seen;
  const isOfThisBox = value.owner.startsWith(`${wish.node}, `);
  if (value.state === "running" && !isOfThisBox) await waitForSilence(deps, seen);
  const taken: KnownRun = {
    ...value,
    // A switchover whose old primary does not stop in order is gone on with as a failover.
    kind: wish.kind,
    state: "running",
    owner: wish.owner,
    operator: wish.operator,
    to: hasReached(value.step, "chosen") ? value.to : (wish.to ?? value.to),
    forced: wish.forced || value.forced,
    allowedLoss: wish.allowedLoss ?? value.allowedLoss,
    beat: value.beat + 1,
    token: deps.random.uuid(),
    at: timeOf(deps.clock),
  };
  return await win(deps, taken, seen.revision);
}

async function waitForSilence(
  { store, clock, signal }: RunDeps,
  seen: { readonly revision: number; readonly value: KnownRun },
): Promise<void> {
  let sinceMs = clock.monotonicMs();
  while (clock.monotonicMs() < sinceMs + TAKE_OVER_MS) {
    await clock.sleep(TAKE_OVER_POLL_MS, signal);
    const askedMs = clock.monotonicMs();
    const now = await store.get("failover");
    if (now.revision !== seen.revision) throw runningElsewhere(now.value ?? seen.value);
    if (clock.monotonicMs() > askedMs + ELECTING_MS) sinceMs = clock.monotonicMs();
  }
}
