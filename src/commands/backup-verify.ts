import { defineCommand } from "../lib/terminal/command.ts";
import { backupProgress } from "./backup-progress.ts";

interface VerifyOptions {
  readonly deep?: boolean;
  readonly all?: boolean;
}

/** `fula-master backup verify`: whether one can be relied upon. */
export const backupVerifyCommand = defineCommand<VerifyOptions>({
  name: "verify",
  summary: "check a base backup to its last byte",
  description:
    "Reads all of a base backup, the newest by default: that its record is signed by a key that is trusted here, its archive " +
    "is the one that was signed, and every file in it is the one that PostgreSQL sent. With --deep it is restored beside " +
    "the server besides, recovered by PostgreSQL, read table by table and taken away again. Exits 1 where anything is wrong.",
  examples: [
    { command: "fula-master backup verify", explains: "the newest" },
    { command: "fula-master backup verify --deep", explains: "restore it for a test, too" },
    { command: "fula-master backup verify --all --json", explains: "each of them, for programs" },
  ],
  arguments: [{ name: "backup", description: "name of a base backup (default: the newest)" }],
  options: [
    { flags: "--deep", description: "restore it for a test" },
    { flags: "--all", description: "each of them" },
  ],
  run: async (context, { deep, all }, [name]) => {
    const { loadConfig } = await import("../lib/config/load.ts");
    const { silentLog } = await import("../lib/kernel/log.ts");
    const { verifyRun } = await import("../lib/stack/backup-run.ts");
    const { verifyText } = await import("../lib/stack/backup-text.ts");
    const { out } = context;
    const loaded = await loadConfig(context);
    const progress = backupProgress(context);
    try {
      const wanted = all === true ? "all" : (name ?? null);
      const deps = { ...context, log: silentLog };
      const backups = await verifyRun(loaded, wanted, deep === true, deps, progress.update);
      progress.end();
      const ok = backups.every((each) => each.ok);
      out.result({ ok, backups }, () => verifyText(backups));
      return ok ? 0 : 1;
    } finally {
      progress.end();
    }
  },
});
