import { openJournal } from "../kernel/journal.ts";
import { toolVersion } from "../kernel/project.ts";
import type { Secret } from "../kernel/secret.ts";
import { servePids } from "./daemon-file.ts";
import type { JoinContext } from "./join-box.ts";
import { joinChecks } from "./join-checks.ts";
import { findUnfinishedRun, JOIN_JOURNAL, type UnfinishedRun } from "./join-journal.ts";
import type { JoinStep } from "./join-step.ts";
import { composeStep, containersStep, imagesStep } from "./join-steps-docker.ts";
import { directoriesStep, makeBaseDir, secretsStep, settingsStep } from "./join-steps-files.ts";
import { schedulesStep } from "./join-steps-schedules.ts";
import { serveStep } from "./join-steps-services.ts";
import { isDone, type JoinPlan, type StepId } from "./plan.ts";
import { type CheckName, type CheckResult, parseSkips, preflightError, runPreflight } from "./preflight.ts";
import { acquireJoinLock, planSteps, refuseSecondRun, runSteps, type ShowTasks } from "./step-run.ts";
import { readStorageBox, type StorageBox } from "./storage-box.ts";
import { parseWait, type StorageOptions } from "./storage-options.ts";
import { mastersStep, type StorageRun, verifyStorageStep } from "./storage-steps.ts";
import type { StorageLook } from "./storage-verify.ts";

/** What `join-as-storage-node` found out before it changes anything. */
export interface StorageProposal {
  readonly box: StorageBox;
  readonly preflight: readonly CheckResult[];
  readonly plan: JoinPlan;
  /** An earlier run that did not come to its end. */
  readonly resumes: UnfinishedRun | null;
  /** What was seen of the node, where it stands already. */
  readonly look: StorageLook | null;
}

/** What a run of `join-as-storage-node` did. */
export interface StorageOutcome {
  readonly box: StorageBox;
  readonly changed: readonly StepId[];
  readonly look: StorageLook | null;
  readonly journal: string;
}

/** What `join` looks at and a storage node does not have: a ledger. */
const MASTERS_CHECKS: ReadonlySet<CheckName> = new Set<CheckName>(["postgres"]);

function storageSteps(run: StorageRun): readonly JoinStep[] {
  const { options } = run.box;
  return [
    directoriesStep(run),
    mastersStep(run),
    settingsStep(run),
    secretsStep(run),
    imagesStep(run),
    composeStep(run),
    containersStep(run),
    verifyStorageStep(run),
    ...(options.start === false ? [] : [serveStep(run)]),
    ...(options.schedules === false || options.start === false ? [] : [schedulesStep(run)]),
  ];
}

function openRun(box: StorageBox, mayStart: boolean): StorageRun {
  return { box, mayStart, settingsChanged: false, look: null };
}

async function planOf(box: StorageBox, steps: readonly JoinStep[]): Promise<JoinPlan> {
  return {
    baseDir: box.paths.baseDir,
    runtime: box.choice.runtime,
    runtimeReason: `storage node of ${box.document.masters.map(({ name }) => name).join(", ")}`,
    steps: await planSteps(steps, box.context.signal),
  };
}

/**
 * Checks the box and says what would be done to it. Writes nothing at all.
 * @param tokenText the text of a join token, where one was given
 * @throws FulaError of the check that failed, FULA_PREFLIGHT_FAILED where several did, and what `readStorageBox` throws
 */
export async function proposeStorage(
  context: JoinContext,
  options: StorageOptions,
  tokenText: Secret | null,
): Promise<StorageProposal> {
  parseWait(options.wait);
  const skips = parseSkips(options.skipPreflight ?? []);
  const box = await readStorageBox(context, options, tokenText);
  if (options.dryRun !== true) await refuseSecondRun(box.paths.locksDir, context);
  const ownPids = await servePids(box.paths.servePidFile);
  const checks = joinChecks({ context, reading: box.reading, ownPids, box });
  const preflight = await runPreflight(
    checks.filter(({ name }) => !MASTERS_CHECKS.has(name)),
    skips,
  );
  const failure = preflightError(preflight);
  if (failure !== null) throw failure;
  const run = openRun(box, false);
  const plan = await planOf(box, storageSteps(run));
  return { box, preflight, plan, resumes: await findUnfinishedRun(box.paths.journalDir), look: run.look };
}

/** True where nothing is to be done and no earlier run waits to be finished. */
export function isStorageNode({ plan, resumes }: StorageProposal): boolean {
  return isDone(plan) && resumes === null;
}

/**
 * Takes every step that the box still needs, one after the other, each written to the journal before and after.
 * @throws FulaError FULA_LOCKED where another join runs here, FULA_INTERRUPTED, FULA_STORAGE_UNVERIFIED, and what the
 *   steps throw
 */
export async function applyStorage(
  { box: proposed }: StorageProposal,
  tokenText: Secret | null,
  show: ShowTasks,
): Promise<StorageOutcome> {
  const { context, options, paths } = proposed;
  const { clock, signal } = context;
  await makeBaseDir(paths.baseDir);
  using _ = await acquireJoinLock(paths.locksDir, "join", context);
  // Read again now that nobody else writes: what was proposed may have been done meanwhile.
  const box = await readStorageBox(context, options, tokenText);
  const unfinished = await findUnfinishedRun(paths.journalDir);
  const run = openRun(box, true);
  const steps = storageSteps(run);
  await using journal = await openJournal(paths.journalDir, JOIN_JOURNAL, clock);
  await journal.append("join.started", {
    version: toolVersion(),
    role: "storage",
    clusterId: box.clusterId,
    steps: steps.map(({ id }) => id),
    resumes: unfinished?.path ?? null,
  });
  const changed = await runSteps({ command: "join-as-storage-node", steps, journal, clock, signal, show });
  await journal.append("join.finished", { changed });
  return { box, changed, look: run.look, journal: journal.path };
}
