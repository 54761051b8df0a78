import { openJournal } from "../kernel/journal.ts";
import { toolVersion } from "../kernel/project.ts";
import type { Assessment } from "./plan.ts";
import { openStandbyBox, type StandbyBox, type StandbyContext } from "./standby-box.ts";
import { checkStandbyFitness } from "./standby-preflight.ts";
import { type StandbyRun, type StandbyStepId, standbySteps } from "./standby-steps.ts";
import { acquireJoinLock, runSteps, type ShowTasks } from "./step-run.ts";

/** One line of the plan; `--json` prints it as it is. */
export interface PlannedStandbyStep extends Assessment {
  readonly id: StandbyStepId;
  readonly title: string;
}

/** What `standby add` would do, or did; `--json` prints it as it is. */
export interface StandbyAddReport {
  readonly outcome: "planned" | "already" | "added";
  readonly node: string;
  readonly kind: "embedded" | "docker";
  readonly steps: readonly PlannedStandbyStep[];
  readonly changed: readonly StandbyStepId[];
  /** Null where nothing was changed. */
  readonly journal: string | null;
}

const JOURNAL = "standby";

async function planOf(run: StandbyRun): Promise<readonly PlannedStandbyStep[]> {
  const planned: PlannedStandbyStep[] = [];
  for (const { id, title, assess } of standbySteps(run)) {
    run.box.context.signal.throwIfAborted();
    planned.push({ id, title, ...(await assess()) });
  }
  return planned;
}

/**
 * Makes this box carry a standby of the ledger: looks first at all that it needs, then takes the steps that are still to be
 * taken, each written to a journal. Whatever ends the run, the next one goes on.
 * @param show shows the steps as they are taken; null = only look, and say what would be done
 * @throws FulaError FULA_STANDBY_UNFIT, FULA_LEDGER_ALONE, FULA_LOCKED, FULA_INTERRUPTED, and what the steps throw
 */
export async function addStandby(context: StandbyContext, show: ShowTasks | null): Promise<StandbyAddReport> {
  await using box = await openStandbyBox(context);
  const fitness = await checkStandbyFitness(box);
  const report = { node: box.name, kind: fitness.kind, changed: [], journal: null };
  const steps = await planOf({ box, fitness, mayStart: false });
  if (steps.every(({ state }) => state !== "todo")) return { ...report, outcome: "already", steps };
  if (show === null) return { ...report, outcome: "planned", steps };
  const { changed, journal } = await apply({ box, fitness, mayStart: true }, box, show);
  return { ...report, outcome: "added", steps, changed, journal };
}

async function apply(
  run: StandbyRun,
  { context, loaded, name }: StandbyBox,
  show: ShowTasks,
): Promise<{ readonly changed: readonly StandbyStepId[]; readonly journal: string }> {
  const { clock, signal } = context;
  const { locksDir, journalDir } = loaded.paths;
  // The same lock as join's: they change the same settings and containers.
  using _ = await acquireJoinLock(locksDir, "standby add", context);
  await using journal = await openJournal(journalDir, JOURNAL, clock);
  const steps = standbySteps(run);
  await journal.append("standby.started", { version: toolVersion(), node: name, steps: steps.map(({ id }) => id) });
  const changed = await runSteps<StandbyStepId>({ command: "standby add", steps, journal, clock, signal, show });
  await journal.append("standby.finished", { changed });
  return { changed, journal: journal.path };
}
