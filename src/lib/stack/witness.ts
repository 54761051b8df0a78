import { rm } from "node:fs/promises";
import { join } from "node:path";
import type { LoadedConfig } from "../config/load.ts";
import { updateSettingsFile } from "../config/settings-file.ts";
import type { Clock } from "../kernel/clock.ts";
import { removeService } from "../runtime/compose-remove.ts";
import { connectDocker } from "../runtime/docker.ts";
import { applyStack } from "./docker-stack-apply.ts";
import { composeFileOf, readStack, staleFiles, writeStackFiles } from "./docker-stack.ts";

/** What taking the witness away needs. */
export interface WitnessContext {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** Reads the settings as the files have them by now. */
  readonly load: () => Promise<LoadedConfig>;
}

/**
 * Gives this box's server a second one to elect with, beside the containers that run. The setting goes first: while it
 * stands, whoever was cut off does the rest the next time.
 * @throws FulaError FULA_DOCKER_UNREACHABLE, FULA_DOCKER_FAILED, FULA_PATH_NOT_WRITABLE, FULA_LOCKED
 */
export async function addWitness({ paths }: LoadedConfig, context: WitnessContext): Promise<void> {
  const { clock, signal, load } = context;
  await updateSettingsFile(paths.configFile, { "controlPlane.witness": true }, { clock, signal });
  await applyStack(await load(), context, () => {});
}

/** What lies in `docker/` for the witness alone. */
const FILES = ["docker/nats-witness.conf", "docker/nats/witness-routes.conf"];

/**
 * Takes the first master's second server away, with all that it has: it must be no member any more, and hold nothing.
 * The setting goes last: while it stands, whoever was cut off does the rest the next time, and a server that came back
 * meanwhile is taken out of the others' group again.
 * @throws FulaError FULA_DOCKER_UNREACHABLE, FULA_DOCKER_FAILED, FULA_PATH_NOT_WRITABLE, FULA_LOCKED
 */
export async function removeWitness({ config, paths }: LoadedConfig, context: WitnessContext): Promise<void> {
  const { env, clock, signal, load } = context;
  const { project } = config.docker;
  const volume = `${project}_nats-witness-data`;
  const own = { file: composeFileOf(paths.baseDir), services: ["nats-witness"], volumes: [volume] };
  await removeService(await connectDocker(env), project, { service: "nats-witness", volume }, { signal, own });
  await updateSettingsFile(paths.configFile, { "controlPlane.witness": false }, { clock, signal });
  await writeStackFiles(await staleFiles(await readStack(await load())));
  for (const name of FILES) await rm(join(paths.baseDir, name), { force: true });
}
