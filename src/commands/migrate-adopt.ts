import { defineCommand } from "../lib/terminal/command.ts";
import { type DatabaseOptions, LOCK_OPTION, migrateOptions, URL_OPTION } from "./migrate-options.ts";

interface AdoptCommandOptions extends DatabaseOptions {
  /** False with `--no-backup`. */
  readonly backup?: boolean;
  readonly dryRun?: boolean;
  readonly yes?: boolean;
}

/** `migrate adopt`: takes over the database of an existing pinning service. */
export const migrateAdoptCommand = defineCommand<AdoptCommandOptions>({
  name: "adopt",
  summary: "take over an existing pinning service's database",
  description:
    "Finds out how far a pinning service's database is that has no record of its migrations, takes a pg_dump to " +
    "<base-dir>/backups, records what is in effect and applies the rest. Refuses a database of another shape.",
  examples: [
    {
      command: "fula-master migrate adopt --dry-run",
      explains: "what is in effect, what would be applied, what is in the way",
    },
    { command: "fula-master migrate adopt --yes", explains: "back up, record and apply without asking" },
    {
      command: "fula-master migrate adopt --postgres-url postgresql://pinning_user@10.0.0.5/pinning_service",
      explains: "adopt a database before this box is configured for it; the password is taken from PGPASSWORD",
    },
  ],
  options: [
    { flags: "--no-backup", description: "take no pg_dump first; you have a backup of your own" },
    LOCK_OPTION,
    URL_OPTION,
  ],
  changes: true,
  asks: true,
  requires: "operator",
  run: async (context, { backup: wantsBackup, dryRun, yes, lockWait, postgresUrl }) => {
    const { adopt, planAdopt } = await import("../lib/postgres/adopt.ts");
    const { adoptText } = await import("../lib/postgres/migration-text.ts");
    const { backupOptions, withMigrationDatabase } = await import("../lib/stack/migration-database.ts");
    const { out, env } = context;
    return await withMigrationDatabase(context, postgresUrl, async (pool, loaded) => {
      const backup = wantsBackup === false ? null : backupOptions(loaded, env);
      const options = { ...(await migrateOptions(context, lockWait)), backup };
      const plan = await planAdopt(pool, options);
      if (dryRun === true) {
        out.result(plan, () => adoptText(plan));
        return plan.blockers.length === 0 ? 0 : 1;
      }
      if (!plan.alreadyOurs) {
        out.note(adoptText(plan));
        await out.confirm("Adopt this database?", yes === true);
      }
      const report = await adopt(pool, options);
      out.result(report, () => adoptText(report));
      return 0;
    });
  },
});
