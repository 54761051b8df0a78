import { defineCommand } from "../lib/terminal/command.ts";

interface KeepOptions {
  readonly because: string;
  readonly dryRun?: boolean;
}

const ARGUMENTS = [{ name: "backup", description: "name of a base backup", required: true }] as const;

/** `fula-master backup keep`: never removed by itself. */
export const backupKeepCommand = defineCommand<KeepOptions>({
  name: "keep",
  summary: "keep a base backup whatever backup.keep says",
  description: "Marks a base backup so that prune never removes it, nor the archived WAL since, until backup unkeep.",
  examples: [
    {
      command: "fula-master backup keep base-20261122T023000Z-3f9a1c20 --because 'before the migration'",
      explains: "it stays",
    },
  ],
  arguments: ARGUMENTS,
  options: [{ flags: "--because <reason>", description: "shown in backup list", default: "kept by an operator" }],
  changes: true,
  run: async (context, { because, dryRun = false }, [name = ""]) => {
    const { loadConfig } = await import("../lib/config/load.ts");
    const { silentLog } = await import("../lib/kernel/log.ts");
    const { keepRun } = await import("../lib/stack/backup-run.ts");
    const loaded = await loadConfig(context);
    const backup = await keepRun(loaded, name, because, dryRun, { ...context, log: silentLog });
    context.out.result({ dryRun, backup }, () => `${name} ${dryRun ? "would stay" : "stays"}: ${because}`);
  },
});

/** `fula-master backup unkeep`: the policy decides again. */
export const backupUnkeepCommand = defineCommand<{ readonly dryRun?: boolean }>({
  name: "unkeep",
  summary: "let backup.keep decide about a base backup again",
  description: "Takes back what backup keep said; the next prune may remove the base backup.",
  examples: [{ command: "fula-master backup unkeep base-20261122T023000Z-3f9a1c20", explains: "it may go" }],
  arguments: ARGUMENTS,
  changes: true,
  run: async (context, { dryRun = false }, [name = ""]) => {
    const { loadConfig } = await import("../lib/config/load.ts");
    const { silentLog } = await import("../lib/kernel/log.ts");
    const { unkeepRun } = await import("../lib/stack/backup-run.ts");
    const backup = await unkeepRun(await loadConfig(context), name, dryRun, { ...context, log: silentLog });
    context.out.result({ dryRun, backup }, () => `${name} ${dryRun ? "would be" : "is"} no longer kept.`);
  },
});
