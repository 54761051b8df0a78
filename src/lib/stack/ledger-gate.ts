import type { LoadedConfig } from "../config/load.ts";
import type { Clock } from "../kernel/clock.ts";
import { FulaError, isFulaError, messageOf } from "../kernel/errors.ts";
import type { Log } from "../kernel/log.ts";
import type { Random } from "../kernel/random.ts";
import type { LedgerEpochRecord, LedgerStore } from "../membership/ledger-records.ts";
import { readDaemonFile } from "./daemon-file.ts";
import { assertNotRolledBack, type KnownEpochs, noteEpoch, readKnownEpochs } from "./ledger-epoch-file.ts";
import { canHaveEpochs, openLedgerStore } from "./ledger-store.ts";

/** What asking the control plane needs. */
export interface GateDeps {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly signal: AbortSignal;
  /** Opens the records of the control plane; tests hand in others. */
  readonly openStore?: (loaded: LoadedConfig) => Promise<LedgerStore>;
}

async function askEpoch(loaded: LoadedConfig, deps: GateDeps): Promise<LedgerEpochRecord | null> {
  const open = deps.openStore ?? (async (from) => await openLedgerStore(from, { ...deps, readOnly: true }));
  await using store = await open(loaded);
  return (await store.confirm("epoch")).value;
}

function fenced(node: string, why: string, cause?: unknown): FulaError {
  return new FulaError("FULA_LEDGER_FENCED", `The server of the ledger on ${node} stays down: ${why}.`, {
    hint: "fula-master failover status shows who has the primary; a box that lost it comes back with fula-master resync.",
    cause,
  });
}

/**
 * Lets a server of this box be started, or used, as the ledger's primary: from the ledger's second server on only where the
 * quorum of the control plane says at this moment that the primary is here; freely before.
 * @param isStaying asks also where this box has never heard of an epoch: it may be back from a copy of its disk that is older
 *   than that; nobody's answer is a yes then, because a ledger of one server does not rest on the control plane
 * @throws FulaError FULA_LEDGER_FENCED, also where nobody answers; FULA_EPOCH_ROLLED_BACK
 */
export async function assertMayServe(loaded: LoadedConfig, deps: GateDeps, isStaying: boolean): Promise<void> {
  const { config, paths } = loaded;
  const { name } = config.node;
  const known = await readKnownEpochs(paths.stateDir);
  if (known === null && (!isStaying || !canHaveEpochs(loaded))) return;
  const record = await askEpoch(loaded, deps).catch((error: unknown) => {
    if (known === null) return null;
    throw fenced(name, `the control plane does not say whether it may run (${messageOf(error)})`, error);
  });
  assertNotRolledBack(known, record);
  if (record === null) return;
  await noteEpoch(paths.stateDir, record);
  if (record.phase !== "open") throw fenced(name, `epoch ${record.number} of the ledger is ${record.phase}`);
  if (record.primary === name) return;
  throw fenced(name, `${record.primary} has the primary of epoch ${record.number}`);
}

/**
 * What this box knows of the ledger's epochs, for whoever opens the ledger. Where no `serve` keeps it fresh, the control plane
 * is asked; where that does not answer, what is known is gone by: a server that it is no more acknowledges nothing.
 * @throws FulaError FULA_EPOCH_ROLLED_BACK
 */
export async function currentEpochs(loaded: LoadedConfig, deps: GateDeps): Promise<KnownEpochs | null> {
  const { paths } = loaded;
  const known = await readKnownEpochs(paths.stateDir);
  if (!canHaveEpochs(loaded) || (await readDaemonFile(paths.servePidFile)).status === "running") return known;
  // A box that has never heard of an epoch, and has the only server, does not depend on the control plane.
  if (known === null && loaded.config.postgres.mode !== "external") return null;
  try {
    const record = await askEpoch(loaded, deps);
    assertNotRolledBack(known, record);
    return record === null ? null : await noteEpoch(paths.stateDir, record);
  } catch (error) {
    if (isFulaError(error, "FULA_EPOCH_ROLLED_BACK")) throw error;
    deps.log.debug("ledger.epoch_not_asked", { message: messageOf(error) });
    return known;
  }
}
