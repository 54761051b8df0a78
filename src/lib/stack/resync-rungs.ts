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

/**
 * The same work, which stops where a rung is not allowed.
 * @param stop ends the session: else the engine would go on with a rung that is dearer still
 */
export function withAllowed(
  io: CatchUpIO & RebuildIO,
  allowed: ReadonlySet<Allowable>,
  stop: (error: unknown) => void,
): CatchUpIO & RebuildIO {
  const guard = <T>(rung: Rung, work: () => Promise<T>): Promise<T> => {
    try {
      assertAllowed(rung, allowed);
    } catch (error) {
      stop(error);
      return Promise.reject(error);
    }
    return work();
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
