import { type DoctorCheckName, type DoctorReport } from "./doctor.ts";
import { doctorRun } from "./doctor-run.ts";
import type { StandbyContext } from "./standby-box.ts";

/**
 * What a master that was away has to have again beside its server of the ledger: its services on the new primary, the queue
 * of pins, which is in the ledger, its peer of the pinset and of the control plane, and its snapshots, on exactly the
 * masters that the settings give them to.
 */
const OWN_STATE = [
  "containers",
  "serve",
  "ledger",
  "standbys",
  "pinning",
  "control-plane",
  "membership",
  "nats-servers",
  "nats-replicas",
  "kubo",
  "cluster",
  "cluster-peers",
  "trust",
  "snapshot",
  "schedules",
] as const satisfies readonly DoctorCheckName[];

/** Looks whether this box is a whole master again; changes nothing. @throws FulaError what `doctorRun` throws */
export async function checkOwnState(context: StandbyContext, scheduleRoot: string): Promise<DoctorReport> {
  return await doctorRun(context, { only: [...OWN_STATE], skip: [], scheduleRoot });
}
