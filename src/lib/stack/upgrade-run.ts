import { join } from "node:path";
import { loadConfig } from "../config/load.ts";
import { changeSetting } from "../config/change.ts";
import { formatUtc } from "../kernel/clock.ts";
import { ensureDir } from "../kernel/files.ts";
import { takeBackup } from "../postgres/backup.ts";
import { applyProject } from "../runtime/compose-apply.ts";
import { planProject } from "../runtime/compose-plan.ts";
import { awaitOwnServer } from "./control-plane-caretaker.ts";
import { containerBackupOptions } from "./docker-dump.ts";
import { readStack, staleFiles, writeStackFiles } from "./docker-stack.ts";
import { withLedger } from "./ledger.ts";
import { ownPostgres } from "./own-postgres.ts";
import { imageName } from "./stack-values.ts";
import { acquireJoinLock, type ShowTasks } from "./step-run.ts";
import type { UpgradeContext, UpgradeItem, UpgradeProposal } from "./upgrade-plan.ts";

/** What an upgrade has done. */
export interface UpgradeOutcome {
  /** Services that run on another image now. */
  readonly upgraded: readonly string[];
  /** The dump that was taken before PostgreSQL's container was replaced; null where it was not. */
  readonly dump: string | null;
}

/**
 * What a run says that replaces nothing: `unknown` where a registry was asked for newer images and did not answer, so
 * that nobody knows whether there are any.
 */
export function outcomeWithoutChange(proposal: UpgradeProposal): "planned" | "unknown" | "current" {
  if (!isUpToDate(proposal)) return "planned";
  return proposal.remarks.length > 0 ? "unknown" : "current";
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

/**
 * Makes an image that was named for a service its setting. It comes before the container, so that a run which is cut off
 * is gone on with by the next one, and no `join` brings the old image back.
 * @returns what puts the setting back as it was
 */
async function nameImage(context: UpgradeContext, service: string, image: string): Promise<() => Promise<void>> {
  const key = `docker.images.${service}`;
  const { changes } = await changeSetting(context, key, image, { dryRun: false });
  return async () => {
    for (const { from } of changes) {
      await changeSetting(context, key, typeof from === "string" ? from : null, { dryRun: false });
    }
  };
}

/** Replaces one container; where that fails, the settings name its predecessor's image as before. */
async function upgradeOne(
  proposal: UpgradeProposal,
  { service }: UpgradeItem,
  report: (text: string) => void,
): Promise<void> {
  const { context, docker, stack, images } = proposal;
  const { clock, signal } = context;
  await writeFiles(proposal, false);
  const { project, profiles, heldBack } = stack;
  const plan = await planProject(docker, project, { profiles, heldBack, freshImages: [service], signal });
  const own = plan.services.filter((each) => each.service.name === service);
  const named = imageName(service);
  const image = images.get(named);
  const forget = image === undefined ? null : await nameImage(context, named, image);
  try {
    await applyProject(docker, { ...plan, services: own }, { clock, signal, report });
  } catch (error) {
    // Why the container was not replaced is what the operator must hear of.
    await forget?.().catch(() => {});
    throw error;
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
  using _ = await acquireJoinLock(loaded.paths.locksDir, "upgrade", context);
  const due = items.filter(({ isDue }) => isDue);
  let dump: string | null = null;
  await show(
    due.map((item) => ({
      title: `${item.service}: ${item.to.image}`,
      skip: async () => await Promise.resolve(null),
      run: async (report) => {
        // A standby has nothing that its primary has not.
        if (item.service === "postgres" && ownPostgres(loaded.config)?.role === "own") {
          report("dumping the ledger");
          dump = await dumpLedger(proposal);
        }
        await upgradeOne(proposal, item, report);
        if (item.service === "nats" || item.service === "nats-witness") {
          report("waiting for it to have everything");
          await awaitOwnServer(loaded, item.service, context);
        }
        return "healthy";
      },
    })),
  );
  return { upgraded: due.map(({ service }) => service), dump };
}
