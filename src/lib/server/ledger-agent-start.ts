import { type LoadedConfig, loadConfig } from "../config/load.ts";
import { holdBackPostgres } from "../stack/hold-back.ts";
import { canHaveEpochs, openLedgerStore } from "../stack/ledger-store.ts";
import { openOwnServer } from "../stack/own-server.ts";
import { LedgerAgent } from "./ledger-agent.ts";
import type { ServerDeps } from "./running-server.ts";
import { keepStandbys, type StandbysSeen } from "./sync-keeper.ts";

/**
 * Starts what does for this box what the ledger's epoch asks of it; null where the ledger can have no second server.
 * @param onSeen told of the standbys after each look at them
 */
export function startLedgerAgent(
  loaded: LoadedConfig,
  { clock, random, log }: ServerDeps,
  onSeen: (seen: StandbysSeen) => void = () => {},
): LedgerAgent | null {
  if (!canHaveEpochs(loaded)) return null;
  const { baseDir, configFile } = loaded.paths;
  const globals = { baseDir, config: configFile };
  const deps = { clock, random, log };
  return new LedgerAgent(loaded, {
    ...deps,
    load: async () => await loadConfig({ globals, env: process.env, cwd: process.cwd() }),
    openStore: async (now, signal) => await openLedgerStore(now, { ...deps, signal }),
    openServer: async (now) => await openOwnServer(now, { ...deps, env: process.env, part: "serve" }),
    holdBack: async (now) => {
      await holdBackPostgres(now, process.env);
    },
    keep: (parts) => keepStandbys(parts, { clock, log, onSeen }),
  });
}
