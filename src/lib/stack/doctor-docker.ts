import { connectDocker, detectDockerEngine } from "../runtime/docker.ts";
import { readProjectHealth, type ServiceHealth } from "../runtime/project-health.ts";
import type { DoctorBox } from "./doctor-box.ts";
import { type DoctorCheck, doubtful, failed, fine } from "./doctor.ts";
import { LONG_LOOK_MS } from "./look.ts";
import type { Finding } from "./preflight.ts";
import { judgeDisk } from "./preflight-base-dir.ts";
import { judgeEngine } from "./preflight-docker.ts";
import { hasContainers } from "./stack-values.ts";
import { judgeContainer, readDockerDisk, wantedServices } from "./status-containers.ts";

type Env = Readonly<Record<string, string | undefined>>;

function judgeImage(service: string, found: ServiceHealth, wanted: string): Finding | null {
  if (found.image === wanted) return null;
  return doubtful(
    `${service} runs ${found.image}, and docker.images.${service} is ${wanted}.`,
    "fula-master upgrade brings the container to the image of the settings.",
  );
}

async function checkContainers(
  { loaded, clock }: DoctorBox,
  env: Env,
  signal: AbortSignal,
): Promise<readonly Finding[]> {
  const { project } = loaded.config.docker;
  const found = await readProjectHealth(await connectDocker(env), project, { signal });
  return wantedServices(loaded).flatMap(({ service, image }): readonly Finding[] => {
    const container = found.find((each) => each.service === service);
    if (container === undefined) {
      return [failed(`The project ${project} has no container for ${service}.`, "fula-master join makes it.")];
    }
    const { containerName, health, restarts } = container;
    const problem = judgeContainer(container, clock.nowMs());
    const differs = judgeImage(service, container, image);
    const state =
      problem === null
        ? fine(`${containerName} runs${health === "none" ? "" : `, ${health}`}, ${restarts} restarts`)
        : failed(
            `${containerName} ${problem}.`,
            `docker logs --tail 50 ${containerName}; fula-master join brings it back.`,
          );
    return differs === null ? [state] : [state, differs];
  });
}

/** Checks of the engine and the containers of this box; none where it has no containers. */
export function dockerChecks(box: DoctorBox, env: Env): readonly DoctorCheck[] {
  const { loaded, clock } = box;
  if (!hasContainers(loaded.config)) return [];
  return [
    {
      name: "engine",
      run: async (signal) => judgeEngine(await detectDockerEngine({ env, signal, patienceMs: LONG_LOOK_MS })),
    },
    { name: "containers", run: async (signal) => await checkContainers(box, env, signal) },
    {
      name: "disk",
      run: async (signal) => {
        const { path, freeBytes, totalBytes, problem } = await readDockerDisk(env, {
          clock,
          signal,
          limitMs: LONG_LOOK_MS,
        });
        if (freeBytes === null || totalBytes === null) {
          return failed(
            `Docker's directory could not be looked at: ${problem ?? ""}`,
            "see whether the engine answers.",
          );
        }
        return judgeDisk({ bytesFree: freeBytes, bytesTotal: totalBytes, inodesFree: null }, path);
      },
    },
  ];
}
