import { FulaError, messageOf } from "../kernel/errors.ts";
import { formatEpoch } from "../recovery/epoch.ts";
import type { ResyncScene } from "./resync-scene.ts";
import type { StandbyBox } from "./standby-box.ts";

/** Looked at besides what the control plane hints at, which may get lost. */
const LOOK_MS = 1_000;

/** Aborts when the work is to stop. */
export interface EpochWatch extends AsyncDisposable {
  readonly signal: AbortSignal;
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
      if (value === null || (value.uuid === epoch.uuid && value.phase === "open")) return;
      superseded.abort(
        new FulaError(
          "FULA_RESYNC_SUPERSEDED",
          `The ledger's primary is being changed (epoch ${value.number}, ${value.phase}) while ${name} was brought back under ${formatEpoch(epoch)}.`,
          {
            hint: "nothing is held any more; run the command again when fula-master failover status says that it is done.",
          },
        ),
      );
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
