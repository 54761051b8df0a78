import { rm } from "node:fs/promises";
import { FulaError } from "../kernel/errors.ts";
import { openJournal } from "../kernel/journal.ts";
import { toolVersion } from "../kernel/project.ts";
import { formatCount } from "../kernel/units.ts";
import { listFederationNodes } from "../membership/federation-nodes.ts";
import { countLastCopies, type LastCopies } from "./last-copies.ts";
import { type LeaveBox, type LeaveContext, type LeaveOptions, readLeaveBox, unfinishedLeave } from "./leave-box.ts";
import { type LastLeave, LEAVE_JOURNAL, type LeaveStepId } from "./leave-journal.ts";
import { guardPrimary, mayHaveServers, readServers } from "./leave-standby.ts";
import { leaveSteps } from "./leave-steps.ts";
import { peekLedger } from "./ledger-peek.ts";
import { openPinCluster } from "./pinset.ts";
import type { Assessment } from "./plan.ts";
import { proposeSnapshot } from "./snapshot-run.ts";
import { acquireJoinLock, runSteps, type ShowTasks } from "./step-run.ts";

/** One line of the plan; `--json` prints it as it is. */
export interface PlannedLeaveStep extends Assessment {
  readonly id: LeaveStepId;
  readonly title: string;
}

/** What `leave` would do. */
export interface LeavePlan {
  readonly baseDir: string;
  readonly role: "master" | "storage";
  readonly name: string;
  readonly purge: boolean;
  readonly steps: readonly PlannedLeaveStep[];
  /** Null where it was not counted: an earlier run did, or the cluster stands still already. */
  readonly lastCopies: LastCopies | null;
}

/** What `leave` found out before it changes anything. */
export interface LeaveProposal {
  readonly box: LeaveBox;
  readonly plan: LeavePlan;
  /** An earlier run that did not come to its end. */
  readonly resumes: LastLeave | null;
}

/** What a run of `leave` did. */
export interface LeaveOutcome {
  readonly changed: readonly LeaveStepId[];
  /** Null where a purge took it away with the rest. */
  readonly journal: string | null;
}

function lastCopyRefusal({ pins, count, shown, alone }: LastCopies, purge: boolean): FulaError {
  const more = count > shown.length ? `, and ${count - shown.length} more` : "";
  const lost = purge ? "and --purge would destroy them" : "and nobody could read them while it is away";
  return new FulaError(
    "FULA_LEAVE_LAST_COPY",
    `This box holds the last copy of ${count} of ${formatCount(pins, "pin")} (${shown.join(", ")}${more}), ${lost}. Nothing was changed.`,
    {
      hint: alone
        ? "no other box holds anything: back up the base directory, then add --force."
        : "have other peers hold them first (fula-master sweep on another master, or raise their factors); or add --force.",
      details: { pins, lastCopies: count, shown },
    },
  );
}

/**
 * True where an earlier run was allowed what this one is to do: it is not asked again while that is finished. But to
 * leave, keeping the data, is not yet to purge it.
 */
function wasAllowed({ last, options }: LeaveBox): boolean {
  return last !== null && (last.purge || options.purge !== true);
}

/**
 * Looks for pins that nobody else holds.
 * @throws FulaError FULA_LEAVE_LAST_COPY, FULA_CLUSTER_UNREADABLE: what cannot be read is no all-clear
 */
async function guardLastCopies(box: LeaveBox): Promise<LastCopies | null> {
  const { loaded, options, context } = box;
  if (wasAllowed(box) || options.force === true) return null;
  await using cluster = await openPinCluster(loaded, { clock: context.clock });
  const view = loaded.config.node.role === "storage" ? "allocations" : "statuses";
  const found = await countLastCopies(cluster, view, context.signal);
  if (found.count > 0) throw lastCopyRefusal(found, options.purge === true);
  return found;
}

/**
 * Looks whether other masters keep their accounts in this box's database.
 * @throws FulaError FULA_LEAVE_LEDGER, FULA_DATABASE_UNREACHABLE: what cannot be read is no all-clear
 */
async function guardLedger(box: LeaveBox): Promise<void> {
  const { loaded, options, context } = box;
  const { node, postgres } = loaded.config;
  if (node.role === "storage" || wasAllowed(box) || options.force === true) return;
  await guardPrimary(box);
  if (postgres.mode !== "docker") return;
  // Handed over to another box: this one's is a copy by now.
  if ((await mayHaveServers(box)) && (await readServers(box)).epoch?.primary !== node.name) return;
  const nodes = (await peekLedger(loaded, listFederationNodes, context.signal)) ?? [];
  const others = nodes.filter(({ role, name }) => role === "master" && name !== node.name).map(({ name }) => name);
  if (others.length === 0) return;
  throw new FulaError(
    "FULA_LEAVE_LEDGER",
    `The ledger of ${others.join(", ")} is this box's own PostgreSQL, and they would stand still without it. Nothing was changed.`,
    {
      hint: "have them leave first, or move the database to another server (pg_dump, postgres.host); or add --force.",
      details: { masters: others },
    },
  );
}

/** A snapshot that a guard would refuse is better known before serve is stopped. */
async function guardSnapshot({ loaded, options, context, last }: LeaveBox): Promise<void> {
  if (last !== null || options.snapshot === false || loaded.config.node.role === "storage") return;
  const { clock, signal } = context;
  await proposeSnapshot(loaded, { acceptShrink: false, acceptClock: false, prune: false }, { clock, signal });
}

async function planOf(box: LeaveBox, lastCopies: LastCopies | null): Promise<LeavePlan> {
  const steps: PlannedLeaveStep[] = [];
  for (const { id, title, assess } of leaveSteps(box)) {
    box.context.signal.throwIfAborted();
    steps.push({ id, title, ...(await assess()) });
  }
  const { role } = box.loaded.config.node;
  const { baseDir } = box.loaded.paths;
  return { baseDir, role, name: box.name, purge: box.options.purge === true, steps, lastCopies };
}

/**
 * Checks whether this box can be spared, and says what `leave` would do to it. Writes nothing at all.
 * @throws FulaError FULA_NOT_JOINED, FULA_LEAVE_LEDGER, FULA_LEAVE_LAST_COPY, FULA_SNAPSHOT_*, and what reading pinset
 *   and ledger throws
 */
export async function proposeLeave(context: LeaveContext, options: LeaveOptions): Promise<LeaveProposal> {
  const box = await readLeaveBox(context, options);
  await guardLedger(box);
  const lastCopies = await guardLastCopies(box);
  await guardSnapshot(box);
  return { box, plan: await planOf(box, lastCopies), resumes: unfinishedLeave(box) };
}

/** True where nothing is to be done and no earlier run waits to be finished. */
export function isGone({ plan, resumes }: LeaveProposal): boolean {
  return resumes === null && plan.steps.every(({ state }) => state !== "todo");
}

/**
 * Takes every step that is still to be taken, each written to the journal before and after. Whatever ends the run, the
 * next one goes on.
 * @throws FulaError FULA_LOCKED where join or another leave runs, FULA_INTERRUPTED, and what the steps throw
 */
export async function applyLeave({ box: proposed }: LeaveProposal, show: ShowTasks): Promise<LeaveOutcome> {
  const { context, options, loaded } = proposed;
  const { clock, signal } = context;
  const { paths } = loaded;
  // The same lock as join's: they undo one another.
  using _ = await acquireJoinLock(paths.locksDir, "leave", context);
  const box = await readLeaveBox(context, options);
  const resumed = unfinishedLeave(box);
  const steps = leaveSteps(box);
  const purge = options.purge === true;
  await using journal = await openJournal(paths.journalDir, LEAVE_JOURNAL, clock);
  await journal.append("leave.started", {
    version: toolVersion(),
    purge,
    name: box.name,
    project: box.project,
    steps: steps.map(({ id }) => id),
    resumes: resumed?.path ?? null,
  });
  // A third run must know what the first one has done.
  for (const step of resumed?.done ?? []) await journal.append("step.done", { step, already: true });
  const changed = await runSteps<LeaveStepId>({ command: "leave", steps, journal, clock, signal, show });
  await journal.append("leave.finished", { changed });
  if (!purge) return { changed, journal: journal.path };
  await rm(paths.journalDir, { recursive: true, force: true });
  return { changed, journal: null };
}
