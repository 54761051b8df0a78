import type { RecordCounts } from "../lib/membership/migrate.ts";
import type { MembershipExportReport } from "../lib/stack/membership-export.ts";
import type { ImportReport } from "../lib/stack/membership-import.ts";
import { formatCount } from "../lib/kernel/units.ts";
import { defineCommand } from "../lib/terminal/command.ts";

/** How many records there are, in words. */
export function countsText({ pools, members, sealedKeys, operators }: RecordCounts): string {
  return [
    formatCount(pools, "pool"),
    formatCount(members, "member"),
    formatCount(sealedKeys, "sealed key"),
    formatCount(operators, "operator"),
  ].join(", ");
}

function exportedText({ file, document, records, openableBy }: MembershipExportReport): string {
  const who =
    openableBy.length === 0 ? "Nothing is sealed in it." : `What is sealed in it opens on: ${openableBy.join(", ")}.`;
  return `Wrote ${file}: ${countsText(records)}\nSHA-256 of the state: ${document.sha256}\n${who}`;
}

/** `fula-master membership export`: the whole control plane in a file. */
export const membershipExportCommand = defineCommand<{ readonly output?: string }>({
  name: "export",
  summary: "write the whole control plane into a file",
  description:
    "Writes pools, members, sealed keys of every epoch and operators as JSON, with a digest that two exports of one state " +
    "share. There is no secret in the clear in it: each sealed key opens on the box of its member alone, with its " +
    "keys/box-x25519.pem. Keep it where you keep backups. Changes nothing.",
  examples: [
    { command: "fula-master membership export --output control-plane.json", explains: "a file of mode 0600" },
    {
      command: "fula-master membership export --output control-plane.json --json",
      explains: "file, document, records and openableBy",
    },
    {
      command: "fula-master membership export | jq -r .sha256",
      explains: "to standard output: equal states, equal digests",
    },
  ],
  options: [{ flags: "--output <file>", description: "write it to this file instead of standard output" }],
  run: async (context, { output }) => {
    const { exportMembership } = await import("../lib/stack/membership-export.ts");
    const { renderExport } = await import("../lib/membership/export-document.ts");
    const report = await exportMembership(context, output ?? null);
    const { file, document } = report;
    context.out.result(file === null ? document : report, () =>
      file === null ? renderExport(document) : exportedText(report),
    );
  },
});

interface ImportCommandOptions {
  readonly db?: string;
  readonly overwrite?: boolean;
  readonly dryRun?: boolean;
  readonly yes?: boolean;
}

function importedText({ dryRun, store, exportedAt, exportedBy, records, losses }: ImportReport): string {
  const done = `${dryRun ? "Would write" : "Wrote"} ${countsText(records)} to ${store}, as ${exportedBy} had them at ${exportedAt}.`;
  const lost =
    losses.count === 0
      ? []
      : [
          `${dryRun ? "Would take" : "Took"} away or set back ${formatCount(losses.count, "record")}:`,
          ...losses.first.map((line) => `  ${line}`),
        ];
  return [done, ...lost, ...(dryRun ? [] : ["It was read again and is the same."])].join("\n");
}

/** `fula-master membership import`: an exported control plane brought back. */
export const membershipImportCommand = defineCommand<ImportCommandOptions>({
  name: "import",
  summary: "bring back a control plane that was exported",
  description:
    "Writes an exported state over the control plane of this box, or with --db into an SQLite file, then reads it again " +
    "and compares. Refused where something would be taken away or set back, such as a later epoch or a revocation, unless " +
    "--overwrite says so, which asks. A run that was cut off is finished by running it again.",
  examples: [
    {
      command: "fula-master membership import control-plane.json --dry-run",
      explains: "what would be written, and lost",
    },
    { command: "fula-master membership import control-plane.json", explains: "into the control plane of this box" },
    {
      command: "fula-master membership import control-plane.json --db /opt/fula-master/state/control-plane.sqlite",
      explains: "the way back from NATS to a file",
    },
    {
      command: "fula-master membership import control-plane.json --dry-run --json",
      explains: "dryRun, file, store, exportedAt, exportedBy, sha256, records and losses",
    },
  ],
  arguments: [{ name: "file", description: "what membership export has written", required: true }],
  options: [
    { flags: "--db <file>", description: "an SQLite control plane to write to; made where there is none" },
    { flags: "--overwrite", description: "also where something is taken away or set back" },
  ],
  changes: true,
  asks: true,
  requires: "admin",
  emergency: true,
  run: async (context, { db, overwrite = false, dryRun = false, yes = false }, [file = ""]) => {
    const { importMembership } = await import("../lib/stack/membership-import.ts");
    const { out, clock } = context;
    const progress = out.progress("Writing", "records", () => clock.monotonicMs());
    try {
      const report = await importMembership(context, {
        file,
        db: db ?? null,
        overwrite,
        dryRun,
        confirm: async ({ count, first }) => {
          for (const line of first) out.note(line);
          await out.confirm(`Take away or set back ${formatCount(count, "record")}?`, yes);
        },
        onProgress: (done, total) => progress.update(done, total),
      });
      progress.end();
      out.result(report, () => importedText(report));
    } finally {
      progress.end();
    }
  },
});
