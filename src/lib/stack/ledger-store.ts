import type { LoadedConfig } from "../config/load.ts";
import { FulaError } from "../kernel/errors.ts";
import type { LedgerStore } from "../membership/ledger-records.ts";
import { patientLedgerStore } from "../membership/patient-ledger-store.ts";
import { type ControlPlaneDeps, electionPatienceMs, natsStoreArguments, requireMaster } from "./control-plane.ts";

/** Whether the ledger of this box can have more than one server: one box with a file for a control plane is alone. */
export function canHaveEpochs({ config }: Pick<LoadedConfig, "config">): boolean {
  return config.node.role === "master" && config.controlPlane.mode !== "sqlite";
}

/**
 * As `openLedgerStore`, for commands: an election is waited for, while opening and in everything that is done with the
 * records; `onWait` is told.
 * @throws what `openLedgerStore` throws
 */
export async function openPatientLedgerStore(loaded: LoadedConfig, deps: ControlPlaneDeps): Promise<LedgerStore> {
  const { clock, signal, onWait } = deps;
  const store = await openLedgerStore(loaded, { ...deps, patience: "election" });
  const withinMs = electionPatienceMs(loaded);
  return patientLedgerStore(store, { clock, signal, withinMs, ...(onWait && { onWait }) });
}

/**
 * Opens what the control plane knows of the ledger's servers.
 * @throws FulaError FULA_LEDGER_ALONE where the control plane is a file; FULA_NOT_JOINED on a storage node,
 *   FULA_CONTROL_PLANE_UNREACHABLE, FULA_CONTROL_PLANE_UNFIT, FULA_CONFIG_READ
 */
export async function openLedgerStore(loaded: LoadedConfig, deps: ControlPlaneDeps): Promise<LedgerStore> {
  requireMaster(loaded);
  if (!canHaveEpochs(loaded)) {
    throw new FulaError(
      "FULA_LEDGER_ALONE",
      `The control plane is a file of this box (${loaded.paths.controlPlaneFile}): the ledger has no second server.`,
      { hint: "fula-master membership migrate-to-kv moves it to NATS servers, which can tell two servers apart." },
    );
  }
  const { openKvLedgerStore } = await import("../membership/kv/ledger-store.ts");
  return await openKvLedgerStore(...(await natsStoreArguments(loaded, deps)));
}
