import { loadConfig, type LoadedConfig } from "../config/load.ts";
import type { Clock } from "../kernel/clock.ts";
import type { Log } from "../kernel/log.ts";
import type { Pool } from "../postgres/pool.ts";
import { careForServers, hasOwnServers } from "../stack/control-plane-caretaker.ts";
import { narrateCare } from "./care-narrator.ts";
import { repeat } from "./repeat.ts";

/** How often a master looks after its servers of the control plane. */
const CARE_INTERVAL_MS = 15_000;

/** Looks after this box's servers of the control plane until it is disposed of. */
export interface ServerCare extends AsyncDisposable {
  /** The settings as they are by now: who looks after the servers changes some. */
  current(): LoadedConfig;
}

/** Starts it; null where this box runs no servers of the control plane. */
export function keepServersCared(
  loaded: LoadedConfig,
  deps: { readonly pool: Pool; readonly clock: Clock; readonly log: Log },
): ServerCare | null {
  if (!hasOwnServers(loaded)) return null;
  const { pool, clock, log } = deps;
  const { baseDir, configFile } = loaded.paths;
  const end = new AbortController();
  const { tell, fail } = narrateCare(log, {
    cared: "control_plane.cared",
    waits: "control_plane.waits",
    notCared: "control_plane.not_cared",
    waitLevel: "info",
  });
  let current = loaded;
  const load = async (): Promise<LoadedConfig> => {
    const globals = { baseDir, config: configFile };
    current = await loadConfig({ globals, env: process.env, cwd: process.cwd() });
    return current;
  };
  const loop = repeat({ intervalMs: CARE_INTERVAL_MS, clock }, async () => {
    try {
      tell(await careForServers({ env: process.env, clock, signal: end.signal, pool, load }));
      await load();
    } catch (error) {
      if (!end.signal.aborted) fail(error);
    }
  });
  return {
    current: () => current,
    [Symbol.asyncDispose]: async () => {
      end.abort();
      await loop[Symbol.asyncDispose]();
    },
  };
}
