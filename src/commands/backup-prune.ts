import { defineCommand } from "../lib/terminal/command.ts";

/** `fula-master backup prune`: make room. */
export const backupPruneCommand = defineCommand<{ readonly dryRun?: boolean }>({
  name: "prune",
  summary: "remove old base backups by backup.keep",
  description:
    "Removes the base backups that backup.keep does not keep, and the archived WAL before the oldest that stays. The newest " +
    "whose every byte is right always stays, and so do those that an operator keeps, that a recovery is using, and that are " +
    "damaged or not this box's to judge.",
  examples: [
    { command: "fula-master backup prune --dry-run", explains: "say what would go and why the rest stays" },
    { command: "fula-master backup prune", explains: "remove it; backup create does so by itself, too" },
  ],
  changes: true,
  run: async (context, { dryRun = false }) => {
    const { loadConfig } = await import("../lib/config/load.ts");
    const { silentLog } = await import("../lib/kernel/log.ts");
    const { pruneRun } = await import("../lib/stack/backup-run.ts");
    const { backupPruneText } = await import("../lib/stack/backup-text.ts");
    const report = await pruneRun(await loadConfig(context), dryRun, { ...context, log: silentLog });
    context.out.result({ dryRun, ...report }, () => backupPruneText(report, dryRun));
  },
});
