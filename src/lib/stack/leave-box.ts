import { type LoadedConfig, loadConfig } from "../config/load.ts";
import type { PathsContext } from "../config/paths.ts";
import type { Clock } from "../kernel/clock.ts";
import { FulaError } from "../kernel/errors.ts";
import type { Log } from "../kernel/log.ts";
import type { Random } from "../kernel/random.ts";
import { type Installation, readInstallation } from "./installation.ts";
import { findLastLeave, type LastLeave } from "./leave-journal.ts";
import { hasContainers } from "./stack-values.ts";

/** What `leave` is given by its command. */
export interface LeaveContext extends PathsContext {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly signal: AbortSignal;
}

/** The options of `leave`, as the command line gives them. */
export interface LeaveOptions {
  /** False takes no last snapshot. */
  readonly snapshot?: boolean;
  readonly purge?: boolean;
  readonly force?: boolean;
  readonly scheduleRoot?: string;
  readonly dryRun?: boolean;
  readonly yes?: boolean;
}

/** The box as a run of `leave` finds it. */
export interface LeaveBox {
  readonly context: LeaveContext;
  readonly options: LeaveOptions;
  readonly loaded: LoadedConfig;
  /** Null where a purge that was stopped has taken it away already. */
  readonly installation: Installation | null;
  /** The last run, finished or not; null where there was none since the last join. */
  readonly last: LastLeave | null;
  /** Compose project of its containers; null where it has none. */
  readonly project: string | null;
  /** Name that is typed before a purge: the Compose project, or the node where there are no containers of ours. */
  readonly name: string;
}

/** A run of `leave` that was stopped before its end; null for none. */
export function unfinishedLeave({ last }: LeaveBox): LastLeave | null {
  return last !== null && last.finishedAt === null ? last : null;
}

/**
 * Reads what there is to leave. Writes nothing.
 * @throws FulaError FULA_NOT_JOINED, FULA_CONFIG_*, FULA_STATE_NEWER, FULA_BASE_DIR_FOREIGN
 */
export async function readLeaveBox(context: LeaveContext, options: LeaveOptions): Promise<LeaveBox> {
  const loaded = await loadConfig(context);
  const { paths, config } = loaded;
  const installation = await readInstallation(paths.stateDir);
  const last = await findLastLeave(paths.journalDir);
  const purgeWasStopped = last?.purge === true && last.finishedAt === null;
  if (installation === null && !purgeWasStopped) {
    throw new FulaError("FULA_NOT_JOINED", `There is nothing to leave: ${paths.baseDir} holds no master.`, {
      hint: "give --base-dir if it lives elsewhere.",
      details: { baseDir: paths.baseDir },
    });
  }
  if (purgeWasStopped && last.stoppedAt === "purge" && options.purge !== true) {
    throw new FulaError(
      "FULA_USAGE",
      `The purge of ${last.startedAt} stopped half-way; there is no box to keep any more.`,
      {
        hint: "fula-master leave --purge finishes it.",
        details: { journal: last.path },
      },
    );
  }
  // Where a purge was stopped half-way, the settings may be gone already.
  const project = hasContainers(config) ? config.docker.project : purgeWasStopped ? last.project : null;
  const name = last?.name || (project ?? config.node.name);
  return { context, options, loaded, installation, last, project, name };
}
