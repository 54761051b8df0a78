import { readFile } from "node:fs/promises";
import { resolve } from "node:path";
import { loadConfig } from "../config/load.ts";
import { FulaError, messageOf } from "../kernel/errors.ts";
import { exists } from "../kernel/files.ts";
import { type ExportDocument, parseExport } from "../membership/export-document.ts";
import {
  countRecords,
  type Differences,
  lossesByImport,
  otherState,
  type RecordCounts,
  writeWholeState,
} from "../membership/migrate.ts";
import { openSqliteStore } from "../membership/sqlite/sqlite-store.ts";
import type { MembershipStore } from "../membership/store.ts";
import { controlPlaneAddress } from "./control-plane.ts";
import { type MembershipContext, withMembership } from "./membership-run.ts";

/** What `membership import` is given. */
export interface ImportOptions {
  readonly file: string;
  /** An SQLite control plane to write to instead of the one that the settings name; made where there is none. */
  readonly db: string | null;
  readonly overwrite: boolean;
  readonly dryRun: boolean;
  /** Asked where something would be taken away or set back; throws where that is not meant. */
  readonly confirm: (losses: Differences) => Promise<void>;
  readonly onProgress: (done: number, total: number) => void;
}

/** What `membership import` did; `--json` keeps these fields. */
export interface ImportReport {
  readonly dryRun: boolean;
  readonly file: string;
  /** Where it was written to. */
  readonly store: string;
  readonly exportedAt: string;
  readonly exportedBy: string;
  readonly sha256: string;
  readonly records: RecordCounts;
  /** What was there and was taken away or set back, or would be. */
  readonly losses: Differences;
}

const NO_LOSSES: Differences = { count: 0, first: [] };

async function readDocument(path: string): Promise<ExportDocument> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (cause) {
    throw new FulaError("FULA_USAGE", `Cannot read ${path}: ${messageOf(cause)}.`, {
      hint: "name a file that fula-master membership export has written.",
      cause,
    });
  }
  return parseExport(text, path);
}

async function writeTo(
  store: MembershipStore,
  { snapshot }: ExportDocument,
  { overwrite, dryRun, confirm, onProgress }: ImportOptions,
): Promise<Differences> {
  const present = await store.exportSnapshot();
  const losses = lossesByImport(present, snapshot);
  if (losses.count > 0 && !overwrite) throw otherState(losses);
  if (dryRun) return losses;
  if (losses.count > 0) await confirm(losses);
  return await writeWholeState(snapshot, store, { overwrite, onProgress, over: present });
}

async function importIntoFile(
  context: MembershipContext,
  path: string,
  { document, options }: { readonly document: ExportDocument; readonly options: ImportOptions },
): Promise<Differences> {
  if (options.dryRun && !(await exists(path))) return NO_LOSSES;
  const { config } = await loadConfig(context);
  const { timeout: timeoutMs } = config.controlPlane;
  await using store = await openSqliteStore(path, { clock: context.clock, timeoutMs, create: true });
  return await writeTo(store, document, options);
}

async function importIntoOwn(
  context: MembershipContext,
  { document, options }: { readonly document: ExportDocument; readonly options: ImportOptions },
): Promise<{ readonly store: string; readonly losses: Differences }> {
  return await withMembership(context, async (store, loaded) => {
    return { store: controlPlaneAddress(loaded), losses: await writeTo(store, document, options) };
  });
}

/**
 * Writes an exported state over the control plane of this box, or into an SQLite file, and compares afterwards.
 * @throws FulaError FULA_USAGE, FULA_MEMBERSHIP_INVALID, FULA_STATE_NEWER, FULA_MEMBERSHIP_OTHER_STATE,
 *   FULA_MEMBERSHIP_DIFFERS, FULA_NOT_AUTHORIZED, and what opening the control plane and `confirm` throw
 */
export async function importMembership(context: MembershipContext, options: ImportOptions): Promise<ImportReport> {
  const file = resolve(context.cwd, options.file);
  const document = await readDocument(file);
  const db = options.db === null ? null : resolve(context.cwd, options.db);
  const { store, losses } =
    db === null
      ? await importIntoOwn(context, { document, options })
      : { store: db, losses: await importIntoFile(context, db, { document, options }) };
  const { exportedAt, exportedBy, sha256, snapshot } = document;
  const { dryRun } = options;
  return { dryRun, file, store, exportedAt, exportedBy, sha256, records: countRecords(snapshot), losses };
}
