import { join } from "node:path";
import { loadConfig } from "../config/load.ts";
import { changeSetting } from "../config/change.ts";
import type { SettingKey } from "../config/schema.ts";
import { formatUtc } from "../kernel/clock.ts";
import { ensureDir } from "../kernel/files.ts";
import { acquireLock } from "../kernel/lock.ts";
import { takeBackup } from "../postgres/backup.ts";
import { applyProject } from "../runtime/compose-apply.ts";
import { planProject } from "../runtime/compose-plan.ts";
import { containerBackupOptions } from "./docker-dump.ts";
import { readStack, staleFiles, writeStackFiles } from "./docker-stack.ts";
import { withLedger } from "./ledger.ts";
import { joinLockFile, type ShowTasks } from "./step-run.ts";
import type { UpgradeItem, UpgradeProposal } from "./upgrade-plan.ts";

/** What an upgrade has done. */
export interface UpgradeOutcome {
  /** Services that run on another image now. */
  readonly upgraded: readonly string[];
  /** The dump that was taken before PostgreSQL's container was replaced; null where it was not. */
  readonly dump: string | null;
}

/** True where every container runs on the image that the settings name. */
export function isUpToDate({ items }: UpgradeProposal): boolean {
  return items.every(({ isDue }) => !isDue);
}

async function dumpLedger({ context, loaded }: UpgradeProposal): Promise<string> {
  const { clock, random, log, signal, env } = context;
  const { dir, tools } = await containerBackupOptions(loaded, env);
  if (tools === undefined) throw new Error("A container's tools are always known");
  const stamp = formatUtc(clock.nowMs()).replaceAll(/[-:]/g, "");
  const path = join(dir, `pre-upgrade-${stamp}.dump`);
  const backup = await withLedger(
    loaded,
    { clock, random, log, signal, part: "upgrade" },
    async (pool) => await takeBackup(pool, path, tools, signal),
  );
  return backup.path;
}

/** Brings the files that containers are made from to what the settings say by now. */
async function writeFiles({ context, loaded, stack }: UpgradeProposal, isCompose: boolean): Promise<void> {
  // Before an update the settings with the new image count, after it those that were written.
  const settings = isCompose ? await loadConfig(context) : loaded;
  const stale = await staleFiles(await readStack(settings));
  await writeStackFiles(stale.filter(({ path }) => (path === stack.project.file) === isCompose));
}

/** Replaces one container; an image that was named for it becomes the settings' own once it is healthy. */
async function upgradeOne(
  proposal: UpgradeProposal,
  { service }: UpgradeItem,
  report: (text: string) => void,
): Promise<void> {
  const { context, docker, stack, images } = proposal;
  const { clock, signal } = context;
  await writeFiles(proposal, false);
  const options = { profiles: stack.profiles, freshImages: [service], signal };
  const plan = await planProject(docker, stack.project, options);
  const own = plan.services.filter((each) => each.service.name === service);
  await applyProject(docker, { ...plan, services: own }, { clock, signal, report });
  const image = images.get(service);
  if (image !== undefined) {
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the plan looked it up among the settings
    await changeSetting(context, `docker.images.${service}` as SettingKey, image, { dryRun: false });
  }
  await writeFiles(proposal, true);
}

/**
 * Replaces the containers that are due, one after the other, each only by one that becomes healthy; PostgreSQL's after
 * a dump was taken. The first that does not become healthy ends it: its predecessor runs on, and what came before stays.
 * @throws FulaError FULA_LOCKED, FULA_BACKUP_FAILED, FULA_CONTAINER_UNHEALTHY, and what `applyProject` throws
 */
export async function applyUpgrade(proposal: UpgradeProposal, show: ShowTasks): Promise<UpgradeOutcome> {
  const { context, items, loaded } = proposal;
  await ensureDir(loaded.paths.locksDir);
  using _ = await acquireLock(joinLockFile(loaded.paths.locksDir), "upgrade", context.clock);
  const due = items.filter(({ isDue }) => isDue);
  let dump: string | null = null;
  await show(
    due.map((item) => ({
      title: `${item.service}: ${item.to.image}`,
      skip: async () => await Promise.resolve(null),
      run: async (report) => {
        if (item.service === "postgres") {
          report("dumping the ledger");
          dump = await dumpLedger(proposal);
        }
        await upgradeOne(proposal, item, report);
        return "healthy";
      },
    })),
  );
  return { upgraded: due.map(({ service }) => service), dump };
}
