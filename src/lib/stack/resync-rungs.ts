import { FulaError } from "../kernel/errors.ts";
import type { CatchUpIO, RebuildIO } from "../recovery/adapters.ts";
import type { Rung } from "../recovery/types.ts";

/** What an operator may allow beside streaming, which changes nothing that is there. */
export const ALLOWABLE = ["truncate", "rewind", "rebuild"] as const;
export type Allowable = (typeof ALLOWABLE)[number];

const NEEDS: Readonly<Partial<Record<Rung, Allowable>>> = {
  truncate_only: "truncate",
  rewind: "rewind",
  snapshot_tail: "rebuild",
  full_base: "rebuild",
};

/** Reads `truncate,rewind`. @throws FulaError FULA_USAGE */
export function parseAllowed(text: string | undefined): ReadonlySet<Allowable> {
  if (text === undefined) return new Set(ALLOWABLE);
  const words = text.split(",").filter((word) => word !== "");
  const allowed = ALLOWABLE.filter((one) => words.includes(one));
  const unknown = words.find((word) => !ALLOWABLE.some((one) => one === word));
  if (unknown === undefined && words.length > 0) return new Set(allowed);
  throw new FulaError("FULA_USAGE", `--allow takes ${ALLOWABLE.join(", ")}, and not "${unknown ?? text}".`, {
    hint: "fula-master resync --allow truncate,rewind",
  });
}

/** @throws FulaError FULA_RESYNC_REFUSED where the rung is one that was not allowed */
export function assertAllowed(rung: Rung, allowed: ReadonlySet<Allowable>): void {
  const needed = NEEDS[rung];
  if (needed === undefined || allowed.has(needed)) return;
  throw new FulaError("FULA_RESYNC_REFUSED", `What is left is "${rung}", which --allow does not name.`, {
    hint: `fula-master resync --allow ${[...allowed, needed].join(",")}`,
  });
}

/** Whether a rung changes or replaces what is there. */
export function replacesData(rung: Rung): boolean {
  return NEEDS[rung] !== undefined;
}

/** What stands before each rung that replaces data. */
export interface RungGuard {
  readonly allowed: ReadonlySet<Allowable>;
  /** Asked where the operator has to say that it is meant; throws where it is not. */
  readonly ask: (rung: Rung) => Promise<void>;
  /** Ends the session: else the engine would go on with a rung that is dearer still. */
  readonly stop: (error: unknown) => void;
}

/** The same work, which stops where a rung is not allowed, or not meant. */
export function withAllowed(io: CatchUpIO & RebuildIO, { allowed, ask, stop }: RungGuard): CatchUpIO & RebuildIO {
  const guard = async <T>(rung: Rung, work: () => Promise<T>): Promise<T> => {
    try {
      assertAllowed(rung, allowed);
      await ask(rung);
    } catch (error) {
      stop(error);
      throw error;
    }
    return await work();
  };
  return {
    streamWal: (start, end, signal) => io.streamWal(start, end, signal),
    truncate: async (lsn, signal) => {
      await guard("truncate_only", async () => {
        await io.truncate(lsn, signal);
      });
    },
    rewind: async (lsn, signal) => await guard("rewind", async () => await io.rewind(lsn, signal)),
    transferSnapshot: async (lsn, signal) =>
      await guard("snapshot_tail", async () => await io.transferSnapshot(lsn, signal)),
    transferFullBase: async (lsn, signal) =>
      await guard("full_base", async () => await io.transferFullBase(lsn, signal)),
  };
}
