import { silentLog } from "../../../src/lib/kernel/log.ts";
import { collectDeadPins } from "../../../src/lib/recovery/dead-pins.ts";
import { RecoveryEngine } from "../../../src/lib/recovery/engine.ts";
import type { RecoveryPlan } from "../../../src/lib/recovery/plan.ts";
import type { PlanEdge } from "../../../src/lib/recovery/planner.ts";
import { recoverReplica } from "../../../src/lib/recovery/recover.ts";
import { RecoveryLog } from "../../../src/lib/recovery/recovery-log.ts";
import type { Authority } from "../../../src/lib/recovery/sender.ts";
import type { CatchUpBudget, ReplicaId } from "../../../src/lib/recovery/types.ts";
import { seededRandom } from "../seeded-random.ts";
import { type Ground, simIo, simProbe, simStorage } from "./adapters.ts";
import { Environment } from "./environment.ts";
import { checkInvariants, checkLog, checkPlan } from "./invariants.ts";
import { HONEST, type Mutant } from "./mutants.ts";
import { drain, Scheduler } from "./scheduler.ts";
import { Violation } from "./violation.ts";
import { World } from "./world.ts";

const STEPS = 50;
const SESSION_IDS = "session ids";
// Schedules that wait for the event loop together: a turn of it costs as much as what one of them does in it.
const AT_ONCE = 32;
// Far above what a schedule takes that is not stuck.
const SETTLING_STEPS_MAX = 5_000;
const NO_LIMITS: CatchUpBudget = { maxDurationMs: 0, maxEntries: 0n, progressDeadlineMs: 0 };

/** What a schedule came to. */
export interface Outcome {
  readonly violation: Violation | null;
  readonly steps: number;
  /** What happened, line by line; empty unless it was asked for. */
  readonly trace: readonly string[];
  /** Which rungs were carried out to their end, and how often. */
  readonly completed: ReadonlyMap<string, number>;
}

/** Runs the schedule of one seed. `mutant` puts something broken in the place of something sound. */
export async function simulate(
  seed: number,
  options: { readonly mutant?: Mutant; readonly traced?: boolean } = {},
): Promise<Outcome> {
  const simulation = new Simulation(seed, options.mutant ?? HONEST, options.traced ?? false);
  return simulation.run();
}

/** What many schedules came to. */
export interface Outcomes {
  /** The first one that broke, in the order of seeds; nothing is run after its batch. */
  readonly broken: { readonly seed: number; readonly violation: Violation } | null;
  readonly completed: ReadonlyMap<string, number>;
}

/** Runs the schedules of `count` seeds from `firstSeed` on, until one breaks. */
export async function simulateMany(firstSeed: number, count: number, mutant: Mutant = HONEST): Promise<Outcomes> {
  const completed = new Map<string, number>();
  const stackTraceLimit = Error.stackTraceLimit;
  // Thousands of errors are thrown, and nobody reads where.
  Error.stackTraceLimit = 0;
  try {
    for (let done = 0; done < count; done += AT_ONCE) {
      const seeds = Array.from({ length: Math.min(AT_ONCE, count - done) }, (_, index) => firstSeed + done + index);
      const outcomes = await Promise.all(seeds.map((seed) => simulate(seed, { mutant })));
      for (const outcome of outcomes) {
        for (const [rung, times] of outcome.completed) completed.set(rung, (completed.get(rung) ?? 0) + times);
      }
      const broken = outcomes.findIndex(({ violation }) => violation !== null);
      const violation = outcomes[broken]?.violation ?? null;
      if (violation !== null) return { broken: { seed: seeds[broken] ?? 0, violation }, completed };
    }
    return { broken: null, completed };
  } finally {
    Error.stackTraceLimit = stackTraceLimit;
  }
}

class Simulation {
  readonly #mutant: Mutant;
  readonly #ground: Ground;
  readonly #world: World;
  readonly #scheduler: Scheduler;
  readonly #environment: Environment;
  readonly #trace: string[] = [];
  readonly #completed = new Map<string, number>();
  #violation: Violation | null = null;
  #engine: RecoveryEngine;
  #cancels: AbortController[] = [];
  #tasks = 0;

  constructor(seed: number, mutant: Mutant, traced: boolean) {
    const random = seededRandom(seed);
    this.#mutant = mutant;
    this.#world = new World(random);
    const trace = (line: () => string): void => {
      if (traced) this.#trace.push(line());
    };
    this.#scheduler = new Scheduler(random, trace);
    this.#engine = this.#newEngine();
    this.#ground = {
      world: this.#world,
      scheduler: this.#scheduler,
      engine: () => this.#engine,
      report: (violation) => void (this.#violation ??= violation),
      trace,
    };
    this.#environment = new Environment({
      ground: this.#ground,
      start: (task) => this.#start(task),
      onAssigned: ({ sessionsCreated, sessionsSuperseded }, { recoveryTargets }) => {
        if (sessionsCreated.length + sessionsSuperseded.length === 0) return;
        for (const id of recoveryTargets.keys()) this.#start(() => this.#workOn(id));
      },
      crash: () => this.#crash(),
      cancelOne: () => this.#cancels.shift()?.abort(new Error("cancelled by its caller")),
    });
  }

  async run(): Promise<Outcome> {
    const { random, traits } = this.#world;
    this.#scheduler.faultRate = traits.faultRate;
    if (random.int(2) === 0) this.#environment.backup();
    this.#environment.assign(true);
    await drain();
    for (let step = 0; step < STEPS && this.#violation === null; step += 1) {
      if (random.int(1_000) < traits.eventRate) this.#environment.happen();
      else if (this.#scheduler.isIdle) this.#startSomeone();
      await this.#scheduler.step();
      checkInvariants(this.#ground);
    }
    await this.#settle();
    const trace = [...this.#trace, ...this.#engineLog()];
    return { violation: this.#violation, steps: this.#scheduler.steps, trace, completed: this.#completed };
  }

  /** Nothing fails any more: everybody comes back, and nothing is left behind. */
  async #settle(): Promise<void> {
    if (this.#violation !== null) return;
    this.#scheduler.faultRate = 0;
    this.#environment.settle();
    await this.#untilDone();
    for (const id of this.#world.replicas.keys()) this.#start(() => this.#bringBack(id));
    await this.#untilDone();
    this.#start(() => this.#collect());
    await this.#untilDone();
    const { report, world } = this.#ground;
    for (const name of world.pins.keys()) report(new Violation("pin never collected", name));
    for (const id of this.#engine.liveSessions()) report(new Violation("session left hanging", `${id}`));
    checkLog(this.#ground);
  }

  async #untilDone(): Promise<void> {
    await drain();
    for (let step = 0; this.#tasks > 0 && this.#violation === null; step += 1) {
      if (step === SETTLING_STEPS_MAX || this.#scheduler.isIdle) {
        this.#ground.report(new Violation("stuck", `${this.#tasks} tasks wait for nothing`));
      }
      await this.#scheduler.step();
      checkInvariants(this.#ground);
    }
  }

  #startSomeone(): void {
    const { random, replicas } = this.#world;
    const id = [...replicas.keys()][random.int(replicas.size)] ?? "a";
    if (random.int(2) === 0) this.#environment.assign(true);
    else this.#start(() => this.#recover(id));
  }

  #start(task: () => Promise<unknown>): void {
    this.#tasks += 1;
    void this.#carryOut(task);
  }

  async #carryOut(task: () => Promise<unknown>): Promise<void> {
    const engine = this.#engine;
    try {
      await task();
    } catch (error) {
      const detail = error instanceof Error ? (error.stack ?? error.message) : String(error);
      this.#ground.report(new Violation("thrown", detail));
    }
    // Those of an engine that died are counted no more.
    if (engine === this.#engine) this.#tasks -= 1;
  }

  /** Somebody works on an assigned session: plans, and then carries out, gives up, or does nothing more. */
  async #workOn(replicaId: ReplicaId): Promise<void> {
    const engine = this.#engine;
    const { random } = this.#world;
    const authority = engine.authorityOf(replicaId);
    if (!authority.ok) return;
    // Who does not wait is refused while an ended session has the replica in hand.
    if (random.int(3) > 0) await engine.whenFree(replicaId);
    const plan = await this.#plan(engine, authority.value);
    if (plan === null) {
      engine.abandon(authority.value, "no plan");
      return;
    }
    checkPlan(this.#ground, plan);
    if (plan.outcome !== "catchup" && plan.outcome !== "rebuild") return;
    await this.#scheduler.turn();
    // Forgotten: what it holds goes when its session ends.
    if (random.int(8) === 0) return;
    if (random.int(8) === 0) {
      await engine.cancelPlan(plan, "the operator thought better of it");
      return;
    }
    const io = this.#mutant.io(simIo(this.#ground, replicaId), this.#ground, replicaId);
    const cancel = this.#cancel();
    const execution = await (plan.outcome === "rebuild"
      ? engine.executeRebuild(plan, io, cancel)
      : engine.executeCatchUp(plan, io, cancel));
    if (execution.outcome === "in_sync" || execution.outcome === "second_catchup_needed") this.#count(plan.rung);
  }

  async #plan(engine: RecoveryEngine, authority: Authority): Promise<RecoveryPlan | null> {
    const edge = this.#edge(authority.replicaId);
    const isRebuild = engine.sender(authority.replicaId)?.session?.kind === "rebuild";
    const plan = await (isRebuild ? engine.planRebuild(authority, edge) : engine.planRecovery(authority, edge));
    return plan.ok ? plan.value : null;
  }

  /** As `resync` does it. */
  async #recover(replicaId: ReplicaId): Promise<string> {
    const sessions = {
      newSessionIds: async (count: number) => {
        await this.#scheduler.point(SESSION_IDS);
        return Array.from({ length: count }, () => this.#world.newSessionId());
      },
    };
    const io = this.#mutant.io(simIo(this.#ground, replicaId), this.#ground, replicaId);
    const edge = { ...this.#edge(replicaId), io, sessions };
    const engine = this.#engine;
    const recovery = await recoverReplica(engine, replicaId, edge).catch((error: unknown) => {
      // The one thing that is thrown: then no session is left, nor anything that one held.
      if (!(error instanceof Error) || !error.message.endsWith(SESSION_IDS)) throw error;
      return { outcome: "stopped" as const, because: error.message, rungs: [] };
    });
    if (recovery.outcome === "in_sync") for (const rung of recovery.rungs) this.#count(rung);
    return `${recovery.outcome}: ${recovery.because} (${recovery.rungs.join(", ")})`;
  }

  async #bringBack(replicaId: ReplicaId): Promise<void> {
    const said = await this.#recover(replicaId);
    const state = this.#engine.sender(replicaId)?.state;
    if (state !== "in_sync") this.#ground.report(new Violation("never came back", `${replicaId} is ${state}: ${said}`));
  }

  async #collect(): Promise<void> {
    const storage = this.#world.pins;
    await collectDeadPins(
      async () =>
        [...storage.keys()].map((name) => {
          const release = async (): Promise<void> => void storage.delete(name);
          return { name, release, [Symbol.asyncDispose]: release };
        }),
      async () => this.#engine.liveSessions(),
    );
  }

  #edge(replicaId: ReplicaId): PlanEdge {
    const { random, traits } = this.#world;
    const isSettling = this.#scheduler.faultRate === 0;
    const isLimited = !isSettling && random.int(3) === 0;
    const limits = { maxDurationMs: 20 + random.int(100), maxEntries: 5n, progressDeadlineMs: 10 + random.int(20) };
    return {
      storage: this.#mutant.storage(simStorage(this.#ground)),
      probe: this.#mutant.probe(simProbe(this.#ground, replicaId)),
      budget: isLimited ? limits : NO_LIMITS,
      ...(traits.faultRate > 0 && !isSettling ? { cancel: this.#cancel() } : {}),
    };
  }

  #cancel(): AbortSignal {
    const controller = new AbortController();
    this.#cancels.push(controller);
    return controller.signal;
  }

  #count(rung: string): void {
    this.#completed.set(rung, (this.#completed.get(rung) ?? 0) + 1);
  }

  #crash(): void {
    this.#scheduler.kill();
    checkLog(this.#ground);
    this.#tasks = 0;
    this.#cancels = [];
    for (const replica of this.#world.replicas.values()) replica.busy = null;
    for (const pin of this.#world.pins.values()) pin.excused = true;
    this.#engine = this.#newEngine();
    this.#environment.assign(true);
  }

  #newEngine(): RecoveryEngine {
    const clock = { nowMs: () => this.#world.nowMs, monotonicMs: () => this.#world.nowMs };
    return new RecoveryEngine(clock, new RecoveryLog(clock, silentLog));
  }

  #engineLog(): readonly string[] {
    if (this.#trace.length === 0) return [];
    return this.#engine.log
      .events()
      .map(
        ({ at, replicaId, sessionId, event, detail }) => `${at} ${replicaId} ${sessionId ?? "-"} ${event}: ${detail}`,
      );
  }
}
