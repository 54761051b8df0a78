import { FulaError } from "../lib/kernel/errors.ts";
import { defineCommand, type OptionSpec } from "../lib/terminal/command.ts";
import { migrateAdoptCommand } from "./migrate-adopt.ts";
import { type DatabaseOptions, LOCK_OPTION, migrateOptions, URL_OPTION } from "./migrate-options.ts";

const TO_OPTION: OptionSpec = { flags: "--to <version>", description: "stop at this migration, such as 018" };

function parseVersion(text: string | undefined): { readonly to?: number } {
  if (text === undefined) return {};
  if (/^\d{1,6}$/.test(text)) return { to: Number(text) };
  throw new FulaError("FULA_USAGE", `--to ${text} is no migration.`, { hint: "name it by its number, such as 018." });
}

const upCommand = defineCommand<DatabaseOptions & { readonly to?: string; readonly dryRun?: boolean }>({
  name: "up",
  summary: "apply what is not in effect yet",
  description:
    "Applies every pending migration in order, one installer at a time, and rebuilds indexes that are not valid. " +
    "Stops at the first that fails; run again, it goes on there. Exits 1 when a dry run finds data in the way.",
  examples: [
    { command: "fula-master migrate up --dry-run", explains: "what would be applied, and what stands in the way" },
    { command: "fula-master migrate up", explains: "apply it" },
    { command: "fula-master migrate up --to 020", explains: "apply only up to 020" },
  ],
  options: [TO_OPTION, LOCK_OPTION, URL_OPTION],
  changes: true,
  requires: "operator",
  emergency: true,
  run: async (context, { to, dryRun, lockWait, postgresUrl }) => {
    const { migrateUp, planMigrations } = await import("../lib/postgres/migrator.ts");
    const { upText } = await import("../lib/postgres/migration-text.ts");
    const { withMigrationDatabase } = await import("../lib/stack/migration-database.ts");
    const options = { ...(await migrateOptions(context, lockWait)), ...parseVersion(to) };
    return await withMigrationDatabase(context, postgresUrl, async (pool) => {
      if (dryRun === true) {
        const plan = await planMigrations(pool, options);
        context.out.result(plan, () => upText(plan));
        return plan.blockers.length === 0 ? 0 : 1;
      }
      const report = await migrateUp(pool, options);
      context.out.result(report, () => upText(report));
      return 0;
    });
  },
});

const downCommand = defineCommand<
  DatabaseOptions & {
    readonly to?: string;
    readonly force?: boolean;
    readonly dryRun?: boolean;
    readonly yes?: boolean;
  }
>({
  name: "down",
  summary: "revert migrations",
  description:
    "Reverts the newest migration, or with --to everything above a version. Refuses where data would be lost, and " +
    "names it, unless --force is given.",
  examples: [
    { command: "fula-master migrate down --dry-run", explains: "what would be reverted, and what would be lost" },
    { command: "fula-master migrate down --to 020", explains: "revert everything above 020" },
  ],
  options: [TO_OPTION, { flags: "--force", description: "go on although data will be lost" }, LOCK_OPTION, URL_OPTION],
  changes: true,
  asks: true,
  requires: "operator",
  emergency: true,
  run: async (context, { to, force, dryRun, yes, lockWait, postgresUrl }) => {
    const { migrateDown, planMigrateDown, refuseLosses } = await import("../lib/postgres/migrator.ts");
    const { downText } = await import("../lib/postgres/migration-text.ts");
    const { withMigrationDatabase } = await import("../lib/stack/migration-database.ts");
    const options = { ...(await migrateOptions(context, lockWait)), ...parseVersion(to), force: force === true };
    await withMigrationDatabase(context, postgresUrl, async (pool) => {
      const plan = await planMigrateDown(pool, options);
      if (dryRun === true || plan.reverted.length === 0) {
        context.out.result(plan, () => downText(plan));
        return;
      }
      if (!options.force) refuseLosses(plan.losses);
      context.out.note(downText(plan));
      await context.out.confirm("Revert these migrations?", yes === true);
      const report = await migrateDown(pool, options);
      context.out.result(report, () => downText(report));
    });
  },
});

const statusCommand = defineCommand<DatabaseOptions>({
  name: "status",
  summary: "show what is in effect",
  description:
    "Compares the database with the migrations of this build. Reads only; exits 1 when it is not up to date.",
  examples: [
    { command: "fula-master migrate status", explains: "each migration, and whether it is in effect" },
    { command: "fula-master migrate status --json | jq .upToDate", explains: "for a script" },
  ],
  options: [URL_OPTION],
  run: async (context, { postgresUrl }) => {
    const { formatVersion } = await import("../lib/postgres/migration-files.ts");
    const { migrationStatus } = await import("../lib/postgres/migration-status.ts");
    const { statusText } = await import("../lib/postgres/migration-text.ts");
    const { withMigrationDatabase } = await import("../lib/stack/migration-database.ts");
    const { out } = context;
    return await withMigrationDatabase(context, postgresUrl, async (pool) => {
      const report = await migrationStatus(pool, await migrateOptions(context));
      const columns = [
        { title: "VERSION" },
        { title: "NAME" },
        { title: "STANDING" },
        { title: "SINCE" },
        { title: "BY" },
      ];
      const rows = report.migrations.map(({ version, name, standing, appliedAt, toolVersion }) => [
        formatVersion(version),
        name,
        standing,
        appliedAt === null ? "" : `${appliedAt.slice(0, 19)}Z`,
        toolVersion ?? "",
      ]);
      out.result(report, () => `${out.table(columns, rows)}\n\n${statusText(report)}`);
      return report.upToDate ? 0 : 1;
    });
  },
});

export const migrateCommand = defineCommand({
  name: "migrate",
  summary: "bring the database's schema up to date, or back",
  description:
    "The numbered changes of the database's schema: what is in effect, apply, revert, and adopt a database that is in use.",
  examples: [
    { command: "fula-master migrate status", explains: "what is in effect and what is pending" },
    { command: "fula-master migrate up", explains: "apply what is pending" },
  ],
  subcommands: [statusCommand, upCommand, downCommand, migrateAdoptCommand],
});
