import type { LoadedConfig } from "../config/load.ts";
import type { PathsContext } from "../config/paths.ts";
import { silentLog } from "../kernel/log.ts";
import type { Random } from "../kernel/random.ts";
import { readKnownEpochs } from "./ledger-epoch-file.ts";
import { canHaveEpochs, openLedgerStore } from "./ledger-store.ts";
import type { LookLimits } from "./look.ts";
import { ownPostgres } from "./own-postgres.ts";
import { readStandbyStatus, type StandbyStatus } from "./standby-status.ts";
import { attention, bad, lookAtPart, OK, type Part } from "./status-part.ts";
import type { StandbysPart } from "./status-report.ts";

/** The worst that is wrong with the ledger's servers. */
function judge({ problems }: StandbyStatus): Part {
  const worst = problems.find(({ severity }) => severity === "bad") ?? problems[0];
  if (worst === undefined) return OK;
  const text = `${worst.message}. Try: fula-master standby status`;
  return worst.severity === "bad" ? bad(text) : attention(text);
}

/** Looks at the ledger's servers; null where it has had one alone. */
export async function readStandbysPart(
  loaded: LoadedConfig,
  { random, ...context }: PathsContext & { readonly random: Random },
  limits: LookLimits,
): Promise<StandbysPart | null> {
  if (!canHaveEpochs(loaded)) return null;
  const own = ownPostgres(loaded.config);
  // Nobody has said a word of a second server: what does not answer then is not this part's to tell.
  const isKnown = (await readKnownEpochs(loaded.paths.stateDir)) !== null || own?.role === "standby";
  if (!isKnown) return null;
  const nothing = { epoch: null, primary: null, phase: null, own: null, standbys: [], wouldLoseBytes: null };
  return await lookAtPart<StandbysPart>(limits, nothing, async (signal) => {
    const { clock } = limits;
    await using store = await openLedgerStore(loaded, { clock, random, signal, readOnly: true });
    const deps = { ...context, clock, random, log: silentLog, signal };
    const status = await readStandbyStatus({ context: deps, loaded, store, name: loaded.config.node.name });
    return {
      epoch: status.epoch?.number ?? null,
      primary: status.epoch?.primary ?? null,
      phase: status.epoch?.phase ?? null,
      own: status.own?.role ?? null,
      standbys: status.standbys.map(({ node, state, replication, isSync, lagBytes, lagSeconds }) => ({
        node,
        state,
        replication,
        isSync,
        lagBytes,
        lagSeconds,
      })),
      wouldLoseBytes: status.wouldLoseBytes,
      ...judge(status),
    };
  });
}
