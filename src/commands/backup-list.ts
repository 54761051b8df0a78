import { defineCommand } from "../lib/terminal/command.ts";

/** `fula-master backup list`: what there is. */
export const backupListCommand = defineCommand({
  name: "list",
  aliases: ["ls"],
  summary: "list the base backups of this box",
  description:
    "Lists the base backups, newest first, with age, size, timeline, the position from which on a restore can stop, whether " +
    "signature and sizes are right and a test restore was made, and why prune keeps them. Reads only; fula-master backup " +
    "verify reads all of their bytes.",
  examples: [
    { command: "fula-master backup list", explains: "what there is, and what prune would remove" },
    {
      command: "fula-master backup list --json",
      explains: "the same for programs, and how far the archived WAL reaches",
    },
  ],
  run: async (context) => {
    const { loadConfig } = await import("../lib/config/load.ts");
    const { silentLog } = await import("../lib/kernel/log.ts");
    const { listRun } = await import("../lib/stack/backup-run.ts");
    const { readBackupFacts } = await import("../lib/stack/backup-facts.ts");
    const { archiveLine, BACKUP_COLUMNS, backupRow } = await import("../lib/stack/backup-text.ts");
    const { renderTable } = await import("../lib/terminal/table.ts");
    const { out } = context;
    const loaded = await loadConfig(context);
    const backups = await listRun(loaded, { ...context, log: silentLog });
    const { archive } = await readBackupFacts(loaded, context.clock);
    const layout = { width: out.stdout.columns ?? null, styleTitle: (text: string) => out.style.bold(text) };
    out.result({ backups, archive }, () =>
      [
        backups.length === 0
          ? "There is no base backup yet: fula-master backup create."
          : renderTable(BACKUP_COLUMNS, backups.map(backupRow), layout),
        archiveLine(archive),
      ].join("\n"),
    );
  },
});
