import { readConfig } from "../config/load.ts";
import type { PathsContext } from "../config/paths.ts";
import { errorOf } from "../config/problems.ts";
import type { Clock } from "../kernel/clock.ts";
import { FulaError } from "../kernel/errors.ts";
import type { Random } from "../kernel/random.ts";
import { boxChecks, type DoctorBox, serveChecks } from "./doctor-box.ts";
import { controlPlaneChecks } from "./doctor-control-plane.ts";
import { dockerChecks } from "./doctor-docker.ts";
import { exposureCheck } from "./doctor-exposure.ts";
import { ledgerChecks } from "./doctor-ledger.ts";
import { backupChecks } from "./doctor-backup.ts";
import { standbyChecks } from "./doctor-standby.ts";
import { recordsChecks } from "./doctor-records.ts";
import { roundTrip } from "./doctor-round-trip.ts";
import { type DoctorCheck, type DoctorChoice, type DoctorReport, fine, runDoctor } from "./doctor.ts";
import { ingestCheck } from "./doctor-ingest.ts";
import { writerChecks } from "./doctor-writer.ts";
import { type Installation, readInstallation } from "./installation.ts";
import { openBlocks, openPinCluster } from "./pinset.ts";

/** What doctor is given by its command. */
export interface DoctorContext extends PathsContext {
  readonly clock: Clock;
  readonly random: Random;
  readonly signal: AbortSignal;
}

/** What an operator may choose. */
export interface DoctorOptions extends DoctorChoice {
  /** Root of the file system that timers are looked for in. */
  readonly scheduleRoot: string;
}

/** A cluster of several peers takes a while to agree. */
const ROUND_TRIP_LIMIT_MS = 60_000;

function roundTripCheck({ loaded, clock, random }: DoctorBox): DoctorCheck {
  return {
    name: "round-trip",
    limitMs: ROUND_TRIP_LIMIT_MS,
    run: async (signal) => {
      const blocks = await openBlocks(loaded);
      await using pins = await openPinCluster(loaded, { clock, blocks });
      return fine(await roundTrip({ blocks, pins, clock, random }, signal));
    },
  };
}

function masterChecks(
  box: DoctorBox,
  installation: Installation,
  context: DoctorContext,
  scheduleRoot: string,
): readonly DoctorCheck[] {
  const { env, cwd } = context;
  return [
    ...serveChecks(box),
    ...ledgerChecks(box),
    ...standbyChecks(box, context),
    ...backupChecks(box),
    ...controlPlaneChecks(box, context),
    roundTripCheck(box),
    ...recordsChecks({ box, installation, env, cwd, scheduleRoot }),
  ];
}

/** What is not looked at before the settings are right: it would be another box. */
function withoutSettings(check: DoctorCheck): DoctorCheck {
  return { ...check, run: async () => ({ state: "skipped", message: "not looked at before the settings are right" }) };
}

/**
 * Looks at everything on this box, all at once, and changes nothing that stays.
 * @throws FulaError FULA_USAGE for names that no check has, FULA_NOT_JOINED, FULA_STATE_NEWER, FULA_BASE_DIR_FOREIGN
 */
export async function doctorRun(context: DoctorContext, options: DoctorOptions): Promise<DoctorReport> {
  const { clock, random, signal } = context;
  const loaded = await readConfig(context);
  const { baseDir, stateDir } = loaded.paths;
  const installation = await readInstallation(stateDir);
  if (installation === null) {
    throw new FulaError("FULA_NOT_JOINED", `There is nothing to look at: ${baseDir} holds no master.`, {
      hint: "fula-master join sets one up; or give --base-dir if it lives elsewhere.",
    });
  }
  const box: DoctorBox = { loaded, clock, random, signal };
  const own = boxChecks(box);
  const rest = [
    exposureCheck(loaded),
    ...dockerChecks(box, context.env),
    ...writerChecks(box, context.env),
    ...ingestCheck(loaded),
    ...(loaded.config.node.role === "master" ? masterChecks(box, installation, context, options.scheduleRoot) : []),
  ];
  const isReadable = errorOf(loaded.problems) === null;
  const checks = [...own, ...(isReadable ? rest : rest.map(withoutSettings))];
  return await runDoctor(checks, options, { baseDir, clock, signal });
}
