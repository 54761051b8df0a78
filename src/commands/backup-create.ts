import { type CommandContext, defineCommand } from "../lib/terminal/command.ts";
import { backupProgress } from "./backup-progress.ts";

interface CreateOptions {
  readonly test?: boolean;
  readonly prune?: boolean;
  readonly installCron?: boolean;
  readonly ifActive?: boolean;
  readonly dryRun?: boolean;
}

async function installCron({ clock, out, ...context }: CommandContext, dryRun: boolean): Promise<void> {
  const { loadConfig } = await import("../lib/config/load.ts");
  const { installSchedule } = await import("../lib/stack/schedules.ts");
  const { scheduleText } = await import("../lib/stack/schedule-text.ts");
  const report = await installSchedule("backup", await loadConfig(context), { dryRun, clock });
  out.result(report, () => scheduleText(report, dryRun));
}

/** `fula-master backup create`: take one. */
export const backupCreateCommand = defineCommand<CreateOptions>({
  name: "create",
  summary: "take a signed base backup of the ledger's server",
  description:
    "Copies the server of the ledger that this box carries while it goes on, primary or standby, checks every file against " +
    "what PostgreSQL says it sent, signs it, restores it beside the server for a test, and then removes old ones by " +
    "backup.keep. A run that is cut short leaves nothing that is taken for a backup.",
  examples: [
    { command: "fula-master backup create", explains: "take one, as the schedule does" },
    {
      command: "fula-master backup create --no-test",
      explains: "do not restore it for a test: backup verify --deep does",
    },
    { command: "fula-master backup create --install-cron", explains: "take one on the schedule of backup.schedule" },
  ],
  options: [
    { flags: "--no-test", description: "do not restore it for a test" },
    { flags: "--no-prune", description: "keep the old ones" },
    {
      flags: "--if-active",
      description: "do nothing where another box has the ledger's primary; the schedule says so",
    },
    { flags: "--install-cron", description: "take one on the schedule of backup.schedule, by systemd or cron" },
  ],
  changes: true,
  run: async (context, { test, prune, installCron: install, ifActive, dryRun = false }) => {
    if (install === true) {
      await installCron(context, dryRun);
      return 0;
    }
    const { loadConfig } = await import("../lib/config/load.ts");
    const { silentLog } = await import("../lib/kernel/log.ts");
    const { whyNoBackups } = await import("../lib/stack/backup-place.ts");
    const { createBackup, proposeBackup } = await import("../lib/stack/backup-run.ts");
    const { createPlanText, createText } = await import("../lib/stack/backup-text.ts");
    const { out } = context;
    const loaded = await loadConfig(context);
    const deps = { ...context, log: silentLog };
    const because = ifActive === true ? await whyNoBackups(loaded) : null;
    if (because !== null) {
      out.result({ ok: true, skipped: because }, () => `Nothing to do here: ${because}.`);
      return 0;
    }
    if (dryRun) {
      const plan = await proposeBackup(loaded, deps);
      out.result(plan, () => createPlanText(plan));
      return 0;
    }
    const progress = backupProgress(context);
    try {
      const options = { test: test !== false, prune: prune !== false };
      const report = await createBackup(loaded, options, deps, progress.update);
      progress.end();
      out.result(report, () => createText(report));
      return report.ok ? 0 : 1;
    } finally {
      progress.end();
    }
  },
});
