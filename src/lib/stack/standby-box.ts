import { type LoadedConfig, loadConfig } from "../config/load.ts";
import type { PathsContext } from "../config/paths.ts";
import type { Clock } from "../kernel/clock.ts";
import type { Log } from "../kernel/log.ts";
import type { Random } from "../kernel/random.ts";
import type { LedgerBox, LedgerEpochRecord, LedgerStore, Versioned } from "../membership/ledger-records.ts";
import { openPatientLedgerStore } from "./ledger-store.ts";

/** What the commands about standbys are given. */
export interface StandbyContext extends PathsContext {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly signal: AbortSignal;
  /** Opens the records of the control plane; tests hand in others. Default: those of this box's control plane. */
  readonly openStore?: (loaded: LoadedConfig) => Promise<LedgerStore>;
  /** Told in a sentence what of the control plane is being waited for. */
  readonly onWait?: (sentence: string) => void;
}

/** A box with a server, and the revision of its record. */
export interface RecordedBox {
  readonly revision: number;
  readonly value: LedgerBox;
}

/** The settings of this box, and the records of the control plane, open. */
export interface StandbyBox extends AsyncDisposable {
  readonly context: StandbyContext;
  readonly loaded: LoadedConfig;
  readonly store: LedgerStore;
  readonly name: string;
  /** Reads the settings as the files have them by now. */
  readonly reload: () => Promise<LoadedConfig>;
}

/** @throws FulaError FULA_LEDGER_ALONE, FULA_CONTROL_PLANE_UNREACHABLE, FULA_NOT_JOINED, FULA_CONFIG_* */
export async function openStandbyBox(context: StandbyContext): Promise<StandbyBox> {
  const loaded = await loadConfig(context);
  const open = context.openStore ?? (async (from) => await openPatientLedgerStore(from, context));
  const store = await open(loaded);
  return {
    context,
    loaded,
    store,
    name: loaded.config.node.name,
    reload: async () => await loadConfig(context),
    [Symbol.asyncDispose]: async () => {
      await store.close();
    },
  };
}

/** This box's own record; revision 0 and null where there is none. */
export async function ownRecord({ store, name }: StandbyBox): Promise<Versioned<LedgerBox>> {
  return await store.get("box", name);
}

/** The epoch that is open; null where there is none yet, or it is being changed. */
export async function openEpoch({ store }: Pick<StandbyBox, "store">): Promise<LedgerEpochRecord | null> {
  const { value } = await store.get("epoch");
  return value?.phase === "open" ? value : null;
}
