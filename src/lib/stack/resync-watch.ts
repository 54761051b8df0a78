import { FulaError, messageOf } from "../kernel/errors.ts";
import { type Epoch, formatEpoch } from "../recovery/epoch.ts";
import type { LedgerEpochRecord } from "../membership/ledger-records.ts";
import type { ResyncScene } from "./resync-scene.ts";
import type { StandbyBox } from "./standby-box.ts";

/** Looked at besides what the control plane hints at, which may get lost. */
const LOOK_MS = 1_000;

/** Aborts when the work is to stop. */
export interface EpochWatch extends AsyncDisposable {
  readonly signal: AbortSignal;
}

function supersededBy(value: LedgerEpochRecord | null, name: string, epoch: Epoch): FulaError {
  const now = value === null ? "it names none any more" : `epoch ${value.number}, ${value.phase}`;
  return new FulaError(
    "FULA_RESYNC_SUPERSEDED",
    `The ledger's primary is being changed (${now}) while ${name} was brought back under ${formatEpoch(epoch)}.`,
    {
      hint: "nothing is held any more; run the command again when fula-master failover status says that it is done.",
    },
  );
}

function isStill(value: LedgerEpochRecord | null, epoch: Epoch): boolean {
  return value?.uuid === epoch.uuid && value.phase === "open";
}

/**
 * Asks the quorum whether the epoch is still the one: a primary that was superseded behind our back would go on saying that
 * everybody is in sync with it.
 * @throws FulaError FULA_RESYNC_SUPERSEDED, FULA_CONTROL_PLANE_UNREACHABLE
 */
export async function confirmEpoch({ store, name }: StandbyBox, { epoch }: ResyncScene): Promise<void> {
  const { value } = await store.confirm("epoch");
  if (!isStill(value, epoch)) throw supersededBy(value, name, epoch);
}

/**
 * Watches whether the epoch that a resync works under is still the one: a failover in the middle of it makes everything that
 * it does wrong. That the control plane does not answer is no such news.
 */
export function watchEpoch({ store, context, name }: StandbyBox, { epoch }: ResyncScene): EpochWatch {
  const { clock, log } = context;
  const superseded = new AbortController();
  const done = new AbortController();
  const look = async (): Promise<void> => {
    try {
      const { value } = await store.get("epoch");
      if (value === null || isStill(value, epoch)) return;
      superseded.abort(supersededBy(value, name, epoch));
    } catch (error) {
      log.debug("resync.epoch_unknown", { message: messageOf(error) });
    }
  };
  const watch = async (): Promise<void> => {
    while (!done.signal.aborted && !superseded.signal.aborted) {
      await look();
      await clock.sleep(LOOK_MS, done.signal);
    }
  };
  // It ends with `done`, by a rejection that is nobody's.
  const watching = watch().catch(() => {});
  const hints = store.listen(() => {
    void look();
  });
  return {
    signal: superseded.signal,
    [Symbol.asyncDispose]: async () => {
      done.abort();
      await hints[Symbol.asyncDispose]();
      await watching;
    },
  };
}
