import { FulaError, messageOf } from "../kernel/errors.ts";
import type { LedgerBox, LedgerEpochRecord } from "../membership/ledger-records.ts";
import type { RunStep } from "./join-step.ts";
import type { LeaveBox } from "./leave-box.ts";
import type { LeaveStepId } from "./leave-journal.ts";
import { readKnownEpochs } from "./ledger-epoch-file.ts";
import { canHaveEpochs, openLedgerStore } from "./ledger-store.ts";
import { ownPostgres } from "./own-postgres.ts";
import { already, left, todo } from "./plan.ts";
import { removeStandby } from "./standby-remove.ts";

/** What the control plane says of the ledger's servers to a box that wants to go. */
export interface LeavingServers {
  readonly epoch: LedgerEpochRecord | null;
  readonly own: LedgerBox | null;
  /** Other boxes that have a copy. */
  readonly others: readonly string[];
}

/** Whether the ledger may have more than one server, as far as this box can tell without asking. */
export async function mayHaveServers({ loaded }: Pick<LeaveBox, "loaded">): Promise<boolean> {
  if (!canHaveEpochs(loaded)) return false;
  return ownPostgres(loaded.config)?.role === "standby" || (await readKnownEpochs(loaded.paths.stateDir)) !== null;
}

/** @throws FulaError FULA_CONTROL_PLANE_UNREACHABLE: what cannot be read is no all-clear */
export async function readServers({ loaded, context }: Pick<LeaveBox, "loaded" | "context">): Promise<LeavingServers> {
  const { name } = loaded.config.node;
  await using store = await openLedgerStore(loaded, { ...context, readOnly: true });
  const [{ value: epoch }, { value: own }, boxes] = [
    await store.get("epoch"),
    await store.get("box", name),
    await store.list("box"),
  ];
  const others = boxes.filter(({ value }) => value.node !== name && value.state !== "leaving").map(({ node }) => node);
  return { epoch, own, others };
}

/**
 * Looks whether others copy the ledger from this box.
 * @throws FulaError FULA_STANDBY_NEEDED; FULA_CONTROL_PLANE_UNREACHABLE
 */
export async function guardPrimary(box: Pick<LeaveBox, "loaded" | "context">): Promise<void> {
  if (!(await mayHaveServers(box))) return;
  const { epoch, others } = await readServers(box);
  const { name } = box.loaded.config.node;
  const [first] = others;
  if (epoch?.primary !== name || first === undefined) return;
  throw new FulaError(
    "FULA_STANDBY_NEEDED",
    `${name} has the ledger's primary, and ${others.join(", ")} ${others.length === 1 ? "copies" : "copy"} it. Nothing was changed.`,
    {
      hint: `hand the ledger over first: fula-master switchover --to ${first}; or add --force, and all of them stand still.`,
      details: { standbys: others },
    },
  );
}

/** Step: nobody waits for this box's copy of the ledger any more. */
export function standbyStep(box: LeaveBox): RunStep<LeaveStepId> {
  const { loaded, context, options } = box;
  const { name } = loaded.config.node;
  return {
    id: "standby",
    title: "Standby",
    assess: async () => {
      try {
        const { own, epoch } = await readServers(box);
        if (epoch?.primary === name) return left("this box has the ledger's primary, and --force was given");
        const isCopy = own !== null || ownPostgres(loaded.config)?.role === "standby";
        return isCopy
          ? todo("commits would wait for it in vain", [`take the standby of ${name} out, and stop its server`])
          : already(`${name} has no standby`);
      } catch (error) {
        if (options.force !== true) throw error;
        return left(
          `the control plane does not answer (${messageOf(error)}); on another master: fula-master standby remove ${name}`,
        );
      }
    },
    apply: async () => {
      const force = options.force === true;
      const report = await removeStandby(context, { node: null, force, dryRun: false, confirm: async () => {} });
      return report.outcome === "already" ? "it was out already" : "nobody waits for it any more";
    },
  };
}
