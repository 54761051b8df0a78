import { basename } from "node:path";
import { FulaError } from "../kernel/errors.ts";
import { formatCount } from "../kernel/units.ts";
import { isOwnRow, listFederationNodes, removeOwnNode } from "../membership/federation-nodes.ts";
import { daemonState, stopDaemon } from "./daemon.ts";
import type { RunStep } from "./join-step.ts";
import { type LeaveBox, unfinishedLeave } from "./leave-box.ts";
import { controlPlaneStep } from "./leave-control-plane.ts";
import { controlPlaneServerStep } from "./leave-control-plane-server.ts";
import { containersStep } from "./leave-docker.ts";
import type { LeaveStepId } from "./leave-journal.ts";
import { findDoomed, removeDoomed } from "./leave-purge.ts";
import { standbyStep } from "./leave-standby.ts";
import { withLedger } from "./ledger.ts";
import { canHaveEpochs } from "./ledger-store.ts";
import { peekLedger } from "./ledger-peek.ts";
import { already, type Assessment, left, todo } from "./plan.ts";
import { ownName } from "./registration.ts";
import { stackServices } from "./stack-values.ts";
import { removeSchedule, type ScheduleReport } from "./schedules.ts";
import { runSnapshot } from "./snapshot-run.ts";
import { runVerify } from "./verify-run.ts";

/** One step of `leave`. */
export type LeaveStep = RunStep<LeaveStepId>;

const KINDS = ["snapshot", "sweep", "backup", "boot"] as const;

async function removeSchedules(
  { loaded, options, context }: LeaveBox,
  dryRun: boolean,
): Promise<readonly ScheduleReport[]> {
  const { clock } = context;
  const rootDir = options.scheduleRoot ?? "/";
  const reports: ScheduleReport[] = [];
  for (const kind of KINDS) reports.push(await removeSchedule(kind, loaded, { dryRun, clock, rootDir }));
  return reports;
}

function schedulesStep(box: LeaveBox): LeaveStep {
  return {
    id: "schedules",
    title: "Schedules",
    assess: async () => {
      const reports = await removeSchedules(box, true);
      const files = reports.flatMap((report) => (report.outcome === "removed" ? report.files : []));
      if (files.length > 0)
        return todo(
          "no timer starts anything any more",
          files.map((file) => `remove ${file}`),
        );
      const kept = reports.flatMap(({ warnings }) => warnings);
      return kept.length > 0 ? left(kept.join("; ")) : already("no timer of ours is installed");
    },
    apply: async () => {
      const reports = await removeSchedules(box, false);
      const removed = reports.filter(({ outcome }) => outcome === "removed").map(({ kind }) => kind);
      return `${removed.join(", ")} removed`;
    },
  };
}

function serveStep({ loaded, context }: LeaveBox): LeaveStep {
  const { clock, env, signal } = context;
  return {
    id: "serve",
    title: "serve",
    assess: async () => {
      const state = await daemonState(loaded, signal);
      if (state.status === "stopped") return already("it does not run");
      return todo("requests in flight are finished, new ones are refused", [`stop serve (process ${state.pid})`]);
    },
    apply: async (report) => {
      report("waiting for requests in flight");
      const { pid, manner } = await stopDaemon(loaded, { clock, env, signal });
      return pid === null ? "it had ended by itself" : `process ${pid} has ${manner ?? "ended"}`;
    },
  };
}

async function takeLastSnapshot({ loaded, context }: LeaveBox, report: (text: string) => void): Promise<string> {
  const { clock, signal, cwd } = context;
  report("taking");
  // Nothing is pruned and nothing accepted: a pinset that looks lost is no good last word.
  const options = { acceptShrink: false, acceptClock: false, prune: false };
  const taken = await runSnapshot(loaded, options, { clock, signal });
  report("verifying");
  const [result] = await runVerify(
    loaded,
    { file: taken.file, all: false, anyCluster: false, maxAgeMs: null },
    { clock, signal, cwd },
  );
  const [problem] = result?.problems ?? [];
  if (problem !== undefined) {
    throw new FulaError(problem.code, `The snapshot that was just taken does not verify: ${problem.message}`, {
      hint: problem.hint ?? "fula-master verify lists what is wrong with it.",
      details: { file: taken.file },
    });
  }
  return `${basename(taken.file)}: ${formatCount(taken.pinCount, "pin")}, signed and verified`;
}

function snapshotStep(box: LeaveBox): LeaveStep {
  const { options, loaded } = box;
  return {
    id: "snapshot",
    title: "Last snapshot",
    assess: async () => {
      if (options.snapshot === false) return await Promise.resolve(left("left out by --no-snapshot"));
      return todo("whoever restores the pins elsewhere begins with it", [
        `take a snapshot into ${loaded.paths.snapshotsDir}`,
        "verify it",
      ]);
    },
    apply: async (report) => await takeLastSnapshot(box, report),
  };
}

async function assessRow({ loaded, options, context }: LeaveBox): Promise<Assessment> {
  const own = await ownName(loaded);
  const { name } = own;
  try {
    const nodes = await peekLedger(loaded, listFederationNodes, context.signal);
    // An embedded server that rests is started for it.
    if (nodes === null || nodes.some((node) => isOwnRow(own, node))) {
      return todo("other masters need not wait for it any more", [`take ${name} out of the ledger's list of masters`]);
    }
    if (nodes.some((node) => node.name === name)) {
      return left(`the ${name} in the ledger's list of masters was written by a box with another key, and stays`);
    }
    return already(`${name} is not in the ledger's list of masters`);
  } catch (error) {
    if (options.force !== true) throw error;
    return left(`the ledger does not answer; on another master: fula-master peers forget ${name}`);
  }
}

function federationStep(box: LeaveBox): LeaveStep {
  const { loaded, context } = box;
  const { clock, random, log, signal } = context;
  const { name } = loaded.config.node;
  return {
    id: "federation",
    title: "Federation",
    assess: async () => await assessRow(box),
    apply: async () => {
      const own = await ownName(loaded);
      const isGone = await withLedger(
        loaded,
        { clock, random, log, signal, part: "leave" },
        async (pool) => await removeOwnNode(pool, own),
      );
      return isGone ? `${name} is no longer in the list` : `${name} was not in the list`;
    },
  };
}

function purgeStep({ loaded }: LeaveBox): LeaveStep {
  return {
    id: "purge",
    title: "Purge",
    assess: async () => {
      const doomed = await findDoomed(loaded);
      if (doomed.length === 0) return already("nothing of it is left");
      return todo(
        "asked for by --purge; it cannot be undone",
        doomed.map(({ path, what }) => `remove ${path} (${what})`),
      );
    },
    apply: async (report) => `${formatCount((await removeDoomed(loaded, report)).length, "path")} removed`,
  };
}

/**
 * What a run that was stopped has done, and cannot be seen on the box any more once a later step was taken: the ledger
 * and the cluster stand still then.
 */
function once(step: LeaveStep, box: LeaveBox): LeaveStep {
  const { last } = box;
  const isDone = last !== null && (last.done.includes(step.id) || last.finishedAt !== null);
  return isDone
    ? { ...step, assess: async () => await Promise.resolve(already(`done by the leave of ${last.startedAt}`)) }
    : step;
}

/** The steps of a run in the order in which they are taken; what this box has none of is not among them. */
export function leaveSteps(box: LeaveBox): readonly LeaveStep[] {
  const { loaded, options, project } = box;
  const { node, postgres, cluster, controlPlane } = loaded.config;
  const purge = options.purge === true ? [purgeStep(box)] : [];
  const containers = project === null ? [] : [containersStep(box, project)];
  // A purge that has begun has taken away what the other steps need.
  if (unfinishedLeave(box)?.stoppedAt === "purge") return [...containers, ...purge];
  if (node.role === "storage") return [schedulesStep(box), serveStep(box), ...containers, ...purge];
  const isFederated = cluster.mode !== "local" || postgres.mode !== "embedded";
  return [
    schedulesStep(box),
    // While serve still runs: it stops for good what it would have to bring back otherwise.
    ...(canHaveEpochs(loaded) ? [once(standbyStep(box), box)] : []),
    serveStep(box),
    once(snapshotStep(box), box),
    // A control plane in a file is this box's alone.
    ...(controlPlane.mode === "sqlite" ? [] : [once(controlPlaneStep(box), box)]),
    ...(isFederated ? [once(federationStep(box), box)] : []),
    // Last of what asks others: this box's programs reach them through it.
    ...(stackServices(loaded.config).includes("nats") ? [once(controlPlaneServerStep(box), box)] : []),
    ...containers,
    ...purge,
  ];
}
