import { resolve } from "node:path";
import { SECRET_FILE_MODE, writeFileAtomic } from "../kernel/files.ts";
import { describeExport, type ExportDocument, renderExport } from "../membership/export-document.ts";
import { countRecords, type RecordCounts } from "../membership/migrate.ts";
import type { MembershipSnapshot } from "../membership/records.ts";
import { type MembershipContext, withMembership } from "./membership-run.ts";

/** What `membership export` did; `--json` keeps these fields. */
export interface MembershipExportReport {
  /** Null where the document went to standard output. */
  readonly file: string | null;
  readonly document: ExportDocument;
  readonly records: RecordCounts;
  /** Names of the boxes whose keys open what is sealed in it. */
  readonly openableBy: readonly string[];
}

/** Names of those to whom something is sealed, in order. */
function holdersIn({ members, sealedKeys }: MembershipSnapshot): readonly string[] {
  const holders = new Set(sealedKeys.map(({ member }) => member));
  const names = members.filter(({ endpoint }) => holders.has(endpoint)).map(({ name }) => name);
  return [...new Set(names)].toSorted();
}

/**
 * Writes the whole control plane into a file of which nobody but its owner may read anything.
 * @param output null for standard output: the caller prints the document
 * @throws FulaError FULA_DISK_FULL, FULA_PATH_NOT_WRITABLE, FULA_MEMBERSHIP_RACED where others change it all the while, and
 *   what `withMembership` throws
 */
export async function exportMembership(
  context: MembershipContext,
  output: string | null,
): Promise<MembershipExportReport> {
  return await withMembership(context, async (store, { config }) => {
    const snapshot = await store.exportSnapshot();
    const exportedAt = new Date(context.clock.nowMs()).toISOString();
    const document = describeExport(snapshot, { exportedAt, exportedBy: config.node.name });
    const file = output === null ? null : resolve(context.cwd, output);
    if (file !== null) await writeFileAtomic(file, renderExport(document), { mode: SECRET_FILE_MODE });
    return { file, document, records: countRecords(snapshot), openableBy: holdersIn(snapshot) };
  });
}
