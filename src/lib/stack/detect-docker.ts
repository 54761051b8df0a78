import type { Config } from "../config/schema.ts";
import { LABELS } from "../runtime/compose-labels.ts";
import { connectDocker } from "../runtime/docker.ts";
import { askingEngine } from "../runtime/docker-errors.ts";
import type { ContainerFact } from "./detect-writer.ts";

/** What a Docker Engine has that decides how a master runs on it. */
export interface DockerFacts {
  /** Every container, running or not. */
  readonly containers: readonly ContainerFact[];
  /** True where the image of the existing gateway is there. */
  readonly hasGatewayImage: boolean;
  /** Where the engine keeps images, containers and volumes. */
  readonly rootDir: string;
  /** Memory of the machine that it runs on. */
  readonly memoryBytes: number;
}

/**
 * Asks the engine for its containers and images. Reads only.
 * @throws FulaError FULA_DOCKER_UNREACHABLE, FULA_DOCKER_FAILED
 */
export async function readDockerFacts(
  env: Readonly<Record<string, string | undefined>>,
  { docker: { images } }: Config,
): Promise<DockerFacts> {
  const docker = await connectDocker(env);
  const [containers, info, found] = await askingEngine("asking what it runs", async () => {
    return await Promise.all([
      docker.listContainers({ all: true }),
      docker.info(),
      docker.listImages({ filters: { reference: [images.gateway] } }),
    ]);
  });
  return {
    containers: containers.map(({ Names, State, Labels }) => ({
      name: (Names[0] ?? "").replace(/^\//, ""),
      isRunning: State === "running",
      project: Labels[LABELS.project] ?? null,
    })),
    hasGatewayImage: found.length > 0,
    rootDir: info.DockerRootDir,
    memoryBytes: info.MemTotal,
  };
}
