import type { ConfigReading } from "../config/load.ts";
import { errorOf } from "../config/problems.ts";
import { type FulaError, isFulaError } from "../kernel/errors.ts";
import { openJournal } from "../kernel/journal.ts";
import { toolVersion } from "../kernel/project.ts";
import { servePids } from "./daemon-file.ts";
import { applyStack } from "./docker-stack-apply.ts";
import { type JoinBox, type JoinContext, loadSaved, readBox, readBoxConfig } from "./join-box.ts";
import { joinChecks } from "./join-checks.ts";
import { readEntry } from "./join-entry.ts";
import { findUnfinishedRun, JOIN_JOURNAL, type UnfinishedRun } from "./join-journal.ts";
import type { JoinOptions } from "./join-options.ts";
import type { JoinRun, JoinStep } from "./join-step.ts";
import { makeBaseDir } from "./join-steps-files.ts";
import { joinSteps } from "./join-steps.ts";
import { type Ledger, openLedger } from "./ledger.ts";
import { isDone, type JoinPlan, type StepId } from "./plan.ts";
import { type CheckResult, parseSkips, preflightError, runPreflight } from "./preflight.ts";
import { acquireJoinLock, planSteps, refuseSecondRun, runSteps, type ShowTasks } from "./step-run.ts";

/** What `join` found out before it changes anything. */
export interface JoinProposal {
  readonly box: JoinBox;
  readonly preflight: readonly CheckResult[];
  readonly plan: JoinPlan;
  /** An earlier run that did not come to its end. */
  readonly resumes: UnfinishedRun | null;
}

/** What a run of `join` did. */
export interface JoinOutcome {
  readonly box: JoinBox;
  /** Steps that changed something in this run. */
  readonly changed: readonly StepId[];
  readonly journal: string;
}

/** The run's own state: what its steps share, and how to let go of it. */
interface OpenRun extends AsyncDisposable {
  readonly run: JoinRun;
}

function openRun(box: JoinBox, mayStart: boolean): OpenRun {
  const { clock, random, log, signal } = box.context;
  let ledger: Promise<Ledger> | null = null;
  const run: JoinRun = {
    box,
    load: async () => await box.reload(),
    ledger: async () => {
      const opening = (ledger ??= box
        .reload()
        .then(
          async (loaded) => await openLedger(loaded, { clock, random, log, signal, part: "join", isJoining: true }),
        ));
      try {
        return (await opening).pool;
      } catch (error) {
        // A step that is taken again asks again.
        if (ledger === opening) ledger = null;
        throw error;
      }
    },
    applyStack: async (report) => {
      await applyStack(await box.reloadSaved(), box.context, report);
    },
    mayStart,
    settingsChanged: false,
  };
  return {
    run,
    [Symbol.asyncDispose]: async () => {
      // A ledger that could not be opened has nothing to close, and its error was thrown where it was asked for.
      const opened = await ledger?.catch(() => null);
      await opened?.close();
    },
  };
}

async function planOf(box: JoinBox, steps: readonly JoinStep[]): Promise<JoinPlan> {
  return {
    baseDir: box.paths.baseDir,
    runtime: box.choice.runtime,
    runtimeReason: box.choice.reason,
    steps: await planSteps(steps, box.context.signal),
  };
}

/** The box, or why it cannot be read; settings that cannot be read are the business of a check. */
async function tryToReadBox(
  context: JoinContext,
  options: JoinOptions,
  reading: ConfigReading,
): Promise<{ readonly box: JoinBox | null; readonly error: FulaError | null }> {
  if (errorOf(reading.problems) !== null) return { box: null, error: null };
  try {
    const entry = await readEntry(context, options, reading, await loadSaved(context));
    return { box: await readBox(context, options, context.random.uuid(), entry), error: null };
  } catch (error) {
    if (isFulaError(error)) return { box: null, error };
    throw error;
  }
}

/**
 * Checks the box and says what `join` would do to it. Writes nothing at all.
 * @throws FulaError of the check that failed, FULA_PREFLIGHT_FAILED where several did, FULA_JOIN_CONFLICT,
 *   FULA_STATE_LOST, FULA_DATABASE_UNREACHABLE, FULA_WRITER_UNFIT, FULA_TOKEN_*, FULA_USAGE
 */
export async function proposeJoin(context: JoinContext, options: JoinOptions): Promise<JoinProposal> {
  const skips = parseSkips(options.skipPreflight ?? []);
  const reading = await readBoxConfig(context, options);
  if (options.dryRun !== true) await refuseSecondRun(reading.paths.locksDir, context);
  const ownPids = await servePids(reading.paths.servePidFile);
  const { box, error } = await tryToReadBox(context, options, reading);
  const preflight = await runPreflight(joinChecks({ context, reading, ownPids, box }), skips);
  const failure = preflightError(preflight) ?? error;
  if (failure !== null) throw failure;
  if (box === null) throw new Error("Settings that cannot be read passed the checks");
  await using open = openRun(box, false);
  const plan = await planOf(box, joinSteps(open.run));
  return { box, preflight, plan, resumes: await findUnfinishedRun(box.paths.journalDir) };
}

/** True where nothing is to be done and no earlier run waits to be finished. */
export function isJoined({ plan, resumes }: JoinProposal): boolean {
  return isDone(plan) && resumes === null;
}

/**
 * Takes every step that the box still needs, one after the other, each written to the journal before and after.
 * Whatever ends the run, the next one goes on from the real state of the box.
 * @throws FulaError FULA_LOCKED where another join runs, FULA_INTERRUPTED, and what the steps throw
 */
export async function applyJoin({ box: proposed }: JoinProposal, show: ShowTasks): Promise<JoinOutcome> {
  const { context, options, paths } = proposed;
  const { clock, signal } = context;
  await makeBaseDir(paths.baseDir);
  using _ = await acquireJoinLock(paths.locksDir, "join", context);
  // Read again now that nobody else writes: what was proposed may have been done meanwhile.
  const box = await readBox(context, options, proposed.clusterId, proposed.entry);
  const unfinished = await findUnfinishedRun(paths.journalDir);
  await using open = openRun(box, true);
  const steps = joinSteps(open.run);
  await using journal = await openJournal(paths.journalDir, JOIN_JOURNAL, clock);
  await journal.append("join.started", {
    version: toolVersion(),
    runtime: box.choice.runtime,
    clusterId: box.clusterId,
    steps: steps.map(({ id }) => id),
    resumes: unfinished?.path ?? null,
  });
  const changed = await runSteps({ command: "join", steps, journal, clock, signal, show });
  await journal.append("join.finished", { changed });
  return { box, changed, journal: journal.path };
}
