import type { LoadedConfig } from "../config/load.ts";
import { FulaError } from "../kernel/errors.ts";
import type { LedgerStore } from "../membership/ledger-records.ts";
import { patientLedgerStore } from "../membership/patient-ledger-store.ts";
import { type ControlPlaneDeps, natsStoreArguments, requireMaster } from "./control-plane.ts";

/** Servers of the control plane that lost their leader have another one within 4 to 9 seconds each time they try. */
const ELECTIONS_MS = 60_000;

/** Whether the ledger of this box can have more than one server: one box with a file for a control plane is alone. */
export function canHaveEpochs({ config }: Pick<LoadedConfig, "config">): boolean {
  return config.node.role === "master" && config.controlPlane.mode !== "sqlite";
}

/** How long whoever changes the primary waits for the control plane, in milliseconds. */
export function electionPatienceMs({ config }: Pick<LoadedConfig, "config">): number {
  return Math.min(config.controlPlane.bootstrapTimeout, ELECTIONS_MS);
}

/**
 * As `openLedgerStore`, for commands: an election is waited for, while opening and in everything that is done with the
 * records; `onWait` is told.
 * @throws what `openLedgerStore` throws
 */
export async function openPatientLedgerStore(loaded: LoadedConfig, deps: ControlPlaneDeps): Promise<LedgerStore> {
  const { clock, signal, onWait } = deps;
  const withinMs = electionPatienceMs(loaded);
  const store = await openStore(loaded, deps, withinMs);
  return patientLedgerStore(store, { clock, signal, withinMs, ...(onWait && { onWait }) });
}

/**
 * Opens what the control plane knows of the ledger's servers.
 * @throws FulaError FULA_LEDGER_ALONE where the control plane is a file; FULA_NOT_JOINED on a storage node,
 *   FULA_CONTROL_PLANE_UNREACHABLE, FULA_CONTROL_PLANE_UNFIT, FULA_CONFIG_READ
 */
export async function openLedgerStore(loaded: LoadedConfig, deps: ControlPlaneDeps): Promise<LedgerStore> {
  return await openStore(loaded, deps, null);
}

/** @param withinMs how long servers that have yet to find one another are waited for; null: as the settings say */
async function openStore(loaded: LoadedConfig, deps: ControlPlaneDeps, withinMs: number | null): Promise<LedgerStore> {
  requireMaster(loaded);
  if (!canHaveEpochs(loaded)) {
    throw new FulaError(
      "FULA_LEDGER_ALONE",
      `The control plane is a file of this box (${loaded.paths.controlPlaneFile}): the ledger has no second server.`,
      { hint: "fula-master membership migrate-to-kv moves it to NATS servers, which can tell two servers apart." },
    );
  }
  const { openKvLedgerStore } = await import("../membership/kv/ledger-store.ts");
  const [target, kvDeps] = await natsStoreArguments(loaded, deps);
  return await openKvLedgerStore(withinMs === null ? target : { ...target, bootstrapTimeoutMs: withinMs }, kvDeps);
}
