import type { LoadedConfig } from "../config/load.ts";
import { FulaError } from "../kernel/errors.ts";
import { formatCount } from "../kernel/units.ts";
import { assertNothingForeign } from "../runtime/compose-foreign.ts";
import { pullImage } from "../runtime/compose-images.ts";
import { isApplied, type ProjectPlan } from "../runtime/compose-plan.ts";
import { connectDocker } from "../runtime/docker.ts";
import { planStack, readStack, shortName, staleFiles, writeStackFiles } from "./docker-stack.ts";
import { applyStack } from "./docker-stack-apply.ts";
import { type MadeOnce, readInstallation } from "./installation.ts";
import type { ContainerRun, JoinStep } from "./join-step.ts";
import { already, todo } from "./plan.ts";

/** The settings that containers are made from: as the files have them once this run has written them. */
async function settingsOf({ box, mayStart }: ContainerRun): Promise<LoadedConfig> {
  return mayStart ? await box.reloadSaved() : box.wanted;
}

async function look(run: ContainerRun): Promise<ProjectPlan> {
  return await planStack(await readStack(await settingsOf(run)), run.box.context.env);
}

/** Step: the images are on this box. */
export function imagesStep(run: ContainerRun): JoinStep {
  return {
    id: "images",
    title: "Images",
    assess: async () => {
      const { services } = await look(run);
      const images = services.map(({ service }) => service.image);
      const missing = services.filter(({ imageId }) => imageId === null).map(({ service }) => service.image);
      if (missing.length === 0) return already(images.join(", "));
      return todo(
        "containers are made from images that the settings name",
        missing.map((image) => `pull ${image}`),
      );
    },
    apply: async (report) => {
      const { signal, env } = run.box.context;
      const docker = await connectDocker(env);
      const missing = (await look(run)).services.filter(({ imageId }) => imageId === null);
      for (const { service } of missing) {
        await pullImage(docker, service.image, { report, signal, service: service.name });
      }
      return missing.map(({ service }) => service.image).join(", ");
    },
  };
}

/** Step: the Compose file, the scripts and the secrets that containers are made from. */
export function composeStep(run: ContainerRun): JoinStep {
  const { baseDir } = run.box.paths;
  return {
    id: "compose",
    title: "Compose file",
    assess: async () => {
      const stack = await readStack(await settingsOf(run));
      const stale = await staleFiles(stack);
      if (stale.length === 0) return already(`${stack.project.file} says what the settings say`);
      return todo(
        "containers are described in a Compose file that any operator can read; secrets are files of their own",
        stale.map((file) => `write ${shortName(file, baseDir)}`),
      );
    },
    apply: async () => {
      const stale = await staleFiles(await readStack(await settingsOf(run)));
      await writeStackFiles(stale);
      return `${formatCount(stale.length, "file")} in ${baseDir}`;
    },
  };
}

function changesOf({ services, networks, volumes }: ProjectPlan): readonly string[] {
  return [
    ...networks.map(({ name }) => `make the network ${name}`),
    ...volumes.map(({ name }) => `make the volume ${name}`),
    ...services
      .filter(({ action }) => action !== "keep")
      .map(({ service, action, why }) => `${action} ${service.containerName} (${service.image}): ${why}`),
  ];
}

/** What each volume holds that is made once and never again. */
const HOLDS: ReadonlyMap<string, MadeOnce> = new Map([
  ["pgdata", "ledger"],
  ["kubo-data", "pinset"],
  ["cluster-data", "pinset"],
]);

/** A volume that is gone was lost: an empty one must not take its place. @throws FulaError FULA_STATE_LOST */
async function assertNothingLost({ box }: ContainerRun, { volumes }: ProjectPlan): Promise<void> {
  const made = (await readInstallation(box.paths.stateDir))?.made ?? [];
  for (const { key, name } of volumes) {
    const what = HOLDS.get(key);
    if (what === undefined || !made.includes(what)) continue;
    throw new FulaError("FULA_STATE_LOST", `The volume ${name} of this master is gone. Nothing was changed.`, {
      hint:
        key === "pgdata"
          ? "bring the volume back from your backup; to begin with an empty ledger on purpose, join in another --base-dir with another --project."
          : "bring the volume back from your backup; or join in another --base-dir with another --project, and fula-master restore brings the pins back.",
      details: { volume: name },
    });
  }
}

/** Step: the containers run and are healthy. */
export function containersStep(run: ContainerRun): JoinStep {
  const { box } = run;
  return {
    id: "containers",
    title: "Containers",
    assess: async () => {
      const plan = await look(run);
      assertNothingForeign(plan.foreign);
      await assertNothingLost(run, plan);
      const names = plan.services.map(({ service }) => service.containerName).join(", ");
      if (isApplied(plan)) return already(`${names} run and are healthy`);
      return todo("the services of this box run in containers, on a network of their own", changesOf(plan));
    },
    apply: async (report) => {
      await applyStack(await box.reloadSaved(), box.context, report);
      const { services } = await look(run);
      return `${services.map(({ service }) => service.name).join(", ")} are healthy`;
    },
  };
}
