import { hasToken } from "./join-entry.ts";
import { controlPlaneKeysStep, controlPlaneServersStep } from "./join-steps-control-plane.ts";
import { composeStep, containersStep, imagesStep } from "./join-steps-docker.ts";
import { directoriesStep, secretsStep, settingsStep, signingKeyStep } from "./join-steps-files.ts";
import { tokenStep, trustStep } from "./join-steps-federation.ts";
import { controlPlaneStep } from "./join-steps-membership.ts";
import { schedulesStep } from "./join-steps-schedules.ts";
import { serveStep, snapshotStep } from "./join-steps-services.ts";
import { migrationsStep, postgresStep, storesStep } from "./join-steps-stores.ts";
import { verifyStep } from "./join-steps-verify.ts";
import { hasContainers, stackServices } from "./stack-values.ts";
import type { JoinRun, JoinStep } from "./join-step.ts";

/**
 * The steps of a run in the order in which they are taken; what the options leave out, and what has no place where the
 * services of this box run, is not among them.
 */
export function joinSteps(run: JoinRun): readonly JoinStep[] {
  const { options, wanted } = run.box;
  const { cluster, postgres } = wanted.config;
  const isShared = postgres.mode === "external" || cluster.mode !== "local";
  const hasServers = stackServices(wanted.config).includes("nats");
  return [
    directoriesStep(run),
    ...(hasToken(options, run.box.context.env) ? [tokenStep(run)] : []),
    settingsStep(run),
    secretsStep(run),
    signingKeyStep(run),
    ...(hasServers ? [controlPlaneKeysStep(run)] : []),
    ...(hasContainers(wanted.config) ? [imagesStep(run), composeStep(run), containersStep(run)] : []),
    postgresStep(run),
    migrationsStep(run),
    storesStep(run),
    controlPlaneStep(run),
    ...(isShared ? [trustStep(run)] : []),
    ...(isShared && hasServers ? [controlPlaneServersStep(run)] : []),
    ...(cluster.mode === "local" ? [] : [verifyStep(run)]),
    // Before serve: a master that takes objects can restore their pins from its first minute on.
    snapshotStep(run),
    ...(options.start === false ? [] : [serveStep(run)]),
    ...(options.schedules === false ? [] : [schedulesStep(run)]),
  ];
}
