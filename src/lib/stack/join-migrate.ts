import { isFulaError } from "../kernel/errors.ts";
import { adopt, type AdoptOptions, planAdopt } from "../postgres/adopt.ts";
import type { MigrateOptions } from "../postgres/migration-lock.ts";
import { migrateUp, type UpReport } from "../postgres/migrator.ts";
import type { Pool } from "../postgres/pool.ts";
import type { JoinBox } from "./join-box.ts";
import type { Report } from "./join-step.ts";
import { containerBackupOptions } from "./docker-dump.ts";
import { lookAtSchema, type SchemaLook } from "./schema-look.ts";

/** How a migration's own events are shown. */
export function migrationReport(report: Report): NonNullable<MigrateOptions["report"]> {
  return (event) => {
    if (event.event === "migration.started") report(event.id);
    if (event.event === "lock.waiting") report(`waiting for ${event.holder}`);
    if (event.event === "index.building") report(`${event.index}: ${event.phase}`);
    if (event.event === "backup.started") report(`backup to ${event.path}`);
  };
}

/** The database of the older installers in our own container is taken over; anybody else's is the operator's to hand over. */
function mayAdopt(box: JoinBox): boolean {
  return box.wanted.config.postgres.mode === "docker";
}

async function adoptOptions(box: JoinBox, options: MigrateOptions): Promise<AdoptOptions> {
  return { ...options, backup: await containerBackupOptions(box.wanted, box.context.env) };
}

/**
 * What has to be done to the ledger's tables, one line each.
 * @throws FulaError FULA_ADOPT_NEEDED for the database of an existing pinning service in a server that is not ours
 */
export async function lookAtLedger(box: JoinBox, pool: Pool): Promise<SchemaLook> {
  try {
    return await lookAtSchema(pool);
  } catch (error) {
    if (!mayAdopt(box) || !isFulaError(error, "FULA_ADOPT_NEEDED")) throw error;
    const { clock, signal, log } = box.context;
    const { applied, adopted, version } = await planAdopt(pool, { clock, signal, log, backup: null });
    return {
      version,
      toDo: [
        "take a dump of the database that is adopted, and read it back",
        `note the ${adopted.length} migrations that are in effect`,
        `apply ${applied.length} migrations`,
      ],
    };
  }
}

function upText({ applied, mended, version }: Pick<UpReport, "applied" | "mended" | "version">): string {
  const indexes = mended.length === 0 ? "" : `, ${mended.length} indexes built again`;
  return `${applied.length} applied${indexes}, now at ${version ?? "none"}`;
}

/**
 * Applies what is missing. A database that is adopted is dumped before anything in it is touched.
 * @throws FulaError what `migrateUp` and `adopt` throw
 */
export async function bringUpToDate(box: JoinBox, pool: Pool, options: MigrateOptions): Promise<string> {
  try {
    return upText(await migrateUp(pool, options));
  } catch (error) {
    if (!mayAdopt(box) || !isFulaError(error, "FULA_ADOPT_NEEDED")) throw error;
    const report = await adopt(pool, await adoptOptions(box, options));
    return `${report.adopted.length} found in effect, ${upText(report)}; dump before it: ${report.backup?.path ?? "none"}`;
  }
}
