import { exists } from "../kernel/files.ts";
import { clusterPlace } from "../runtime/postgres-cluster.ts";
import { openPassage } from "../runtime/postgres-access.ts";
import { ensureServerFiles, serverFiles } from "../runtime/postgres-files.ts";
import { ensurePostgresUser, planPostgresUser } from "../runtime/postgres-user.ts";
import { applyStack } from "./docker-stack-apply.ts";
import { planStack, readStack } from "./docker-stack.ts";
import type { StandbyBox } from "./standby-box.ts";

/** Whether this box has what a server's data are put into: directories, or a container. */
export async function hasGround({ context, loaded, reload }: StandbyBox, mayStart: boolean): Promise<boolean> {
  const now = await reload();
  // What an earlier standby left is nobody's until the settings say that this box carries one again.
  if (now.config.standby.server === "none" && !mayStart) return false;
  if (loaded.config.runtime === "docker") {
    const { services } = await planStack(await readStack(now), context.env);
    return services.some(({ service, current }) => service.name === "postgres" && current !== null);
  }
  const { root } = clusterPlace(loaded.paths.stateDir);
  return (await exists(serverFiles(root).serverConf)) && (await exists(serverFiles(root).nodeConf));
}

/** Makes it. A container is made and not started: there is nothing in it yet that a server could be started on. */
export async function ensureGround({ context, reload }: StandbyBox, report: (text: string) => void): Promise<void> {
  const loaded = await reload();
  const { config, paths } = loaded;
  if (config.runtime === "docker") {
    await applyStack(loaded, context, report);
    return;
  }
  const place = clusterPlace(paths.stateDir);
  const plan = await planPostgresUser({ runAs: config.postgres.runAs ?? undefined, dataDir: place.dataDir });
  const { user } = await ensurePostgresUser(plan);
  await openPassage([paths.baseDir, paths.stateDir, place.root], user);
  await ensureServerFiles(place.root, user, config.postgres.listen);
}
