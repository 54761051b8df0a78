import type { JoinRun, JoinStep } from "./join-step.ts";
import { directoriesStep, secretsStep, settingsStep, signingKeyStep } from "./join-steps-files.ts";
import { schedulesStep } from "./join-steps-schedules.ts";
import { serveStep, snapshotStep } from "./join-steps-services.ts";
import { migrationsStep, postgresStep, storesStep } from "./join-steps-stores.ts";

/** The steps of a run in the order in which they are taken; what the options leave out is not among them. */
export function joinSteps(run: JoinRun): readonly JoinStep[] {
  const { options } = run.box;
  return [
    directoriesStep(run),
    settingsStep(run),
    secretsStep(run),
    signingKeyStep(run),
    postgresStep(run),
    migrationsStep(run),
    storesStep(run),
    // Before serve: a master that takes objects can restore their pins from its first minute on.
    snapshotStep(run),
    ...(options.start === false ? [] : [serveStep(run)]),
    ...(options.schedules === false ? [] : [schedulesStep(run)]),
  ];
}
