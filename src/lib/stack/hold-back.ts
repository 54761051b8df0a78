import type { LoadedConfig } from "../config/load.ts";
import { connectDocker } from "../runtime/docker.ts";
import { askingEngine } from "../runtime/docker-errors.ts";
import { containerName } from "./stack-values.ts";

/**
 * Has the engine, and whoever restarts containers of this box, leave its PostgreSQL container alone: it was made when the
 * ledger had one server, and would come up by itself after a boot. The container stays as it is otherwise.
 * @returns true where that was not so before
 * @throws FulaError FULA_DOCKER_UNREACHABLE, FULA_DOCKER_FAILED
 */
export async function holdBackPostgres(
  { config }: Pick<LoadedConfig, "config">,
  env: Readonly<Record<string, string | undefined>>,
): Promise<boolean> {
  const name = containerName(config, "postgres");
  const container = (await connectDocker(env)).getContainer(name);
  return await askingEngine(`changing when ${name} is started`, async () => {
    const { HostConfig } = await container.inspect();
    if (HostConfig.RestartPolicy?.Name === "no") return false;
    await container.update({ RestartPolicy: { Name: "no" } });
    return true;
  });
}
