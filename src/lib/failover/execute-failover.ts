import { FulaError, isFulaError, messageOf } from "../kernel/errors.ts";
import type { LedgerEpoch } from "../membership/ledger-records.ts";
import type { FailoverCheck, FailoverPorts } from "./failover-ports.ts";
import type { FailoverRunKeeper, KnownRun } from "./failover-run.ts";
import { type FailoverScene, Hints, Notes, readEpoch } from "./failover-scene.ts";
import { decideStep, endedEpoch, type FailoverAction, type FailoverTransition } from "./failover-states.ts";
import { FAILOVER_STEPS, type FailoverStep, type Found } from "./failover-steps.ts";

/** One step that was taken; `--json` keeps these fields. */
export interface TakenStep {
  readonly rule: number;
  readonly action: FailoverAction;
  readonly title: string;
  readonly seen: string;
  readonly durationMs: number;
}

/** What a run came to; `--json` keeps these fields. */
export interface FailoverReport {
  readonly run: KnownRun;
  readonly outcome: "done" | "aborted";
  readonly epoch: LedgerEpoch;
  readonly primary: string;
  readonly address: string | null;
  /** Steps of this process, in their order; those that an earlier one took are in its journal. */
  readonly steps: readonly TakenStep[];
  /** What was tried on the new master; empty where an earlier process did. */
  readonly checks: readonly FailoverCheck[];
  /** Null where an earlier process chose. */
  readonly loss: { readonly lossless: boolean; readonly knownBytes: string; readonly why: string } | null;
  /** From the raising of the epoch to a write of the new one, in milliseconds; null where they were not both seen here. */
  readonly raisedToWrittenMs: number | null;
}

/** How a run is shown while it goes on. */
export type ShowStep = (title: string, rule: number) => void;

/** What one process does of a run. */
export interface RunOptions {
  readonly wish: "go-on" | "abort";
  readonly signal: AbortSignal;
  readonly onStep: ShowStep;
  readonly report: (text: string) => void;
}

/** What takes long, such as the replay of much log, is asked for less and less often. */
const POLL_MIN_MS = 20;
const POLL_MAX_MS = 500;

/** Waits, but no longer than until somebody writes a record. */
async function pause({ ports: { clock }, signal, hints }: FailoverScene, ms: number): Promise<void> {
  const done = new AbortController();
  try {
    await Promise.race([hints.next(), clock.sleep(ms, AbortSignal.any([signal, done.signal]))]);
  } finally {
    done.abort();
  }
}

/** Looks until the step's end is seen, while this box does its own part of it. */
async function waitUntilSo(scene: FailoverScene, step: FailoverStep): Promise<Found> {
  const { ports, signal, keeper } = scene;
  const deadlineMs = ports.clock.monotonicMs() + step.patienceMs;
  for (let pauseMs = POLL_MIN_MS; ; pauseMs = Math.min(POLL_MAX_MS, pauseMs * 1.1)) {
    await ports.actHere(signal);
    scene.epoch = await readEpoch(ports.store);
    const found = await step.look(scene);
    if (found.isSo || found.isHopeless === true || ports.clock.monotonicMs() >= deadlineMs) return found;
    await pause(scene, pauseMs);
    await keeper.assertHeld();
  }
}

function unverified(
  { because, action }: FailoverTransition,
  step: FailoverStep,
  found: Found,
  scene: FailoverScene,
): FulaError {
  const { kind } = scene.keeper.run;
  return new FulaError(step.code, `The ${kind} stops at “${step.title}”: ${found.seen}.`, {
    hint: step.safe(scene),
    details: { run: scene.keeper.run.id, action, because },
  });
}

async function takeStep(scene: FailoverScene, transition: FailoverTransition): Promise<TakenStep> {
  const { ports, keeper } = scene;
  const { rule, action, from, to, because } = transition;
  const step = FAILOVER_STEPS[action];
  const startMs = ports.clock.monotonicMs();
  await keeper.assertHeld();
  scene.notes.append("step.started", { run: keeper.run.id, rule, action, from, because });
  let found = await step.look(scene);
  if (!found.isSo && step.act !== null) {
    await step.act(scene);
    found = await step.look(scene);
  }
  if (!found.isSo && step.patienceMs > 0) found = await waitUntilSo(scene, step);
  const durationMs = Math.round(ports.clock.monotonicMs() - startMs);
  if (!found.isSo) {
    scene.notes.append("step.unverified", { run: keeper.run.id, rule, action, seen: found.seen, durationMs });
    throw unverified(transition, step, found, scene);
  }
  if (to === "aborted") await keeper.change({ step: to, state: to });
  else if (keeper.run.step !== to) keeper.note({ step: to });
  scene.notes.append("step.verified", { run: keeper.run.id, rule, action, to, seen: found.seen, durationMs });
  return { rule, action, title: step.title, seen: found.seen, durationMs };
}

function reportOf(
  scene: FailoverScene,
  outcome: FailoverReport["outcome"],
  steps: readonly TakenStep[],
): FailoverReport {
  const { keeper, epoch, choice, raisedMs, writtenMs, checks } = scene;
  const { number, uuid, primary, address } = epoch.value;
  return {
    run: keeper.run,
    outcome,
    epoch: { number, uuid },
    primary,
    address,
    steps,
    checks,
    loss:
      choice === null
        ? null
        : { lossless: choice.lossless, knownBytes: choice.knownLossBytes.toString(), why: choice.why },
    raisedToWrittenMs: raisedMs === null || writtenMs === null ? null : Math.round(writtenMs - raisedMs),
  };
}

/** Writes down that a run goes no further for now, so that whoever looks sees it, and that it can be gone on with. */
async function noteStop({ keeper, notes, epoch }: FailoverScene, error: unknown): Promise<void> {
  const code = isFulaError(error) ? error.code : "BUG";
  notes.append("run.stopped", { run: keeper.run.id, code, message: messageOf(error) });
  // What ended the run is what is thrown: disk and control plane may be what failed.
  await notes.written().catch(() => {});
  // One that was refused before it did anything is no run that somebody has to go on with.
  const isUntouched = keeper.run.step === "begun" && endedEpoch(epoch.value)?.uuid === keeper.run.replaces.uuid;
  const state = isUntouched ? "aborted" : "stopped";
  // Where nobody answers, the next process finds that out by itself.
  if (code === "FULA_CONTROL_PLANE_UNREACHABLE") return;
  if (keeper.run.state === "running") await keeper.change({ state }).catch(() => {});
}

/** For an abort that nobody can take back any more. @param why it is, a clause */
export function tooLate(why: string): FulaError {
  return new FulaError("FULA_FAILOVER_TOO_LATE", `It is too late to abort: ${why}.`, {
    hint: "run the same command without abort: it completes. Afterwards fula-master switchover moves the primary back without loss.",
  });
}

async function takeSteps(scene: FailoverScene, { wish, onStep }: RunOptions): Promise<FailoverReport> {
  const { keeper } = scene;
  const steps: TakenStep[] = [];
  for (;;) {
    scene.signal.throwIfAborted();
    scene.notes.assertWritten();
    // Each step leaves the epoch as it last saw it, and changes it from that alone.
    const decision = decideStep({ run: keeper.run, epoch: scene.epoch.value, wish });
    switch (decision.kind) {
      case "over":
        if (keeper.run.state !== decision.state) await keeper.change({ step: decision.state, state: decision.state });
        return reportOf(scene, decision.state, steps);
      case "overtaken":
        await keeper.change({ state: "aborted" });
        throw new FulaError(
          "FULA_FAILOVER_OVERTAKEN",
          `The ${keeper.run.kind} has lost its meaning: ${decision.why}.`,
          {
            hint: "fula-master failover status shows how the ledger stands; begin a new one if it is still wanted.",
          },
        );
      case "too-late":
        throw tooLate(decision.why);
      case "step":
        onStep(FAILOVER_STEPS[decision.transition.action].title, decision.transition.rule);
        steps.push(await takeStep(scene, decision.transition));
    }
  }
}

/**
 * Goes on with a run from wherever it stands to its end, or gives the old primary its right back. Killed anywhere, the next
 * process goes on at the first step whose end is not written down.
 * @throws FulaError FULA_FAILOVER_REFUSED, FULA_FAILOVER_STOPPED, FULA_FENCE_UNPROVEN where a step's end is not seen;
 *   FULA_FAILOVER_OVERTAKEN, FULA_FAILOVER_TOO_LATE, FULA_FAILOVER_NO_STANDBY, FULA_CONTROL_PLANE_UNREACHABLE
 */
export async function executeRun(
  ports: FailoverPorts,
  keeper: FailoverRunKeeper,
  options: RunOptions,
): Promise<FailoverReport> {
  const hints = new Hints();
  await using _ = ports.store.listen(() => {
    hints.give();
  });
  const scene: FailoverScene = {
    ports,
    hints,
    keeper,
    notes: new Notes(ports.journal),
    signal: AbortSignal.any([options.signal, keeper.held]),
    report: options.report,
    epoch: await readEpoch(ports.store),
    fenceHook: null,
    flipHook: null,
    checks: [],
    revoked: null,
    sealed: null,
    choice: null,
    unfit: null,
    raisedMs: null,
    writtenMs: null,
  };
  const { id, kind, from, step } = keeper.run;
  scene.notes.append("run.started", { run: id, kind, from, wish: options.wish, state: step });
  try {
    const report = await takeSteps(scene, options);
    scene.notes.append("run.ended", { run: id, outcome: report.outcome });
    await scene.notes.written();
    return report;
  } catch (error) {
    await noteStop(scene, error);
    throw error;
  }
}
