import type { LoadedConfig } from "../config/load.ts";
import type { Clock } from "../kernel/clock.ts";
import { applyProject } from "../runtime/compose-apply.ts";
import { planProject } from "../runtime/compose-plan.ts";
import { connectDocker } from "../runtime/docker.ts";
import { readStack, staleFiles, writeStackFiles } from "./docker-stack.ts";

/** What changing the containers needs beside the settings. */
export interface StackContext {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

/**
 * Brings files and containers of this box to what its settings say, and waits until the containers are healthy.
 * @throws FulaError FULA_DOCKER_FOREIGN, and what `applyProject` throws
 */
export async function applyStack(
  loaded: LoadedConfig,
  { env, clock, signal }: StackContext,
  report: (text: string) => void,
): Promise<void> {
  const stack = await readStack(loaded);
  await writeStackFiles(await staleFiles(stack));
  const docker = await connectDocker(env);
  const { project, profiles, heldBack } = stack;
  await applyProject(docker, await planProject(docker, project, { profiles, heldBack, signal }), {
    clock,
    signal,
    report,
  });
}
