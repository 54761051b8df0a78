import type { LoadedConfig } from "../config/load.ts";
import type { Clock } from "../kernel/clock.ts";
import { daemonState, startDaemon, stopDaemon } from "./daemon.ts";
import { applyStack } from "./docker-stack-apply.ts";
import { hasOldSettings } from "./join-steps-services.ts";
import { hasContainers } from "./stack-values.ts";

/** What was done so that changed secrets are worked with; `--json` keeps these fields. */
export interface PutToUse {
  /** True where this box has containers of its own: they were brought to the secrets as they are. */
  readonly containers: boolean;
  /** `none`: it does not run; whoever starts it later starts it with the new secrets. */
  readonly serve: "restarted" | "current" | "none";
  /** What is left to the operator, a sentence each. */
  readonly byHand: readonly string[];
}

/**
 * Has everything on this box work with the secrets of its files. Changes nothing that does so already.
 * @param changed names of what was changed in `.env` by this run
 * @throws what `applyStack` and `startDaemon` throw
 */
export async function putToUse(
  loaded: LoadedConfig,
  changed: readonly string[],
  context: {
    readonly clock: Clock;
    readonly signal: AbortSignal;
    readonly env: Readonly<Record<string, string | undefined>>;
  },
  report: (text: string) => void,
): Promise<PutToUse> {
  const { clock, signal, env } = context;
  const containers = hasContainers(loaded.config);
  if (containers) {
    report("bringing the containers to the new secrets");
    await applyStack(loaded, context, report);
  }
  const state = await daemonState(loaded, signal);
  const isOld = state.status === "running" && (await hasOldSettings(loaded.paths));
  if (isOld) {
    report(`restarting serve (process ${state.pid})`);
    await stopDaemon(loaded, { clock, env, signal });
    await startDaemon(loaded, { clock, env, signal });
  }
  const isAdopted = loaded.config.cluster.mode === "rest" && changed.includes("CLUSTER_SECRET");
  return {
    containers,
    serve: isOld ? "restarted" : state.status === "running" ? "current" : "none",
    byHand: isAdopted
      ? ["put the new CLUSTER_SECRET into the service.json (cluster.secret) of the IPFS Cluster peer, and restart it"]
      : [],
  };
}
