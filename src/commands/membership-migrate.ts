import { InvalidArgumentError } from "commander";
import { formatCount } from "../lib/kernel/units.ts";
import type { MigrateReport } from "../lib/stack/membership-migrate.ts";
import { defineCommand } from "../lib/terminal/command.ts";
import { countsText } from "./membership-export.ts";

interface MigrateCommandOptions {
  readonly db?: string;
  readonly natsUrl?: string;
  readonly replicas?: number;
  readonly ca?: string;
  readonly nkeyFile?: string;
  readonly backup: boolean;
  readonly overwrite?: boolean;
  readonly dryRun?: boolean;
}

function parseReplicas(text: string): number {
  if (/^[1-5]$/.test(text)) return Number(text);
  throw new InvalidArgumentError("It must be 1 to 5.");
}

function nextLines({ dryRun, switched, settings }: MigrateReport): readonly string[] {
  const words = settings.map(({ key, value }) => `${key} ${value}`);
  if (switched) {
    return [
      `Changed ${words.join(", ")}. The file answers nobody any more.`,
      "Restart serve: fula-master stop; fula-master start",
    ];
  }
  if (dryRun) return [];
  return ["To use it on a box:", ...words.map((word) => `  fula-master config set ${word}`)];
}

function migratedText(report: MigrateReport): string {
  const { dryRun, db, servers, backup, records, losses } = report;
  return [
    ...(backup === null ? [] : [`Backup: ${backup}`]),
    `${dryRun ? "Would copy" : "Copied"} ${countsText(records)} from ${db} to ${servers}${dryRun ? "" : ": both are the same"}.`,
    ...(losses.count === 0
      ? []
      : [
          `${dryRun ? "Would take" : "Took"} away or set back there ${formatCount(losses.count, "record")}:`,
          ...losses.first.map((line) => `  ${line}`),
        ]),
    ...nextLines(report),
  ].join("\n");
}

/** `fula-master membership migrate-to-kv`: from a file to servers. */
export const membershipMigrateCommand = defineCommand<MigrateCommandOptions>({
  name: "migrate-to-kv",
  summary: "move the control plane from a file to NATS servers",
  description:
    "Copies the control plane of an SQLite file to the KV buckets of NATS servers: pools with their epochs, members, every " +
    "sealed key of every epoch, operators with their status. Makes a backup first and opens it; reads everything again " +
    "afterwards and fails where the two differ. Nobody can write to the file meanwhile. Where it is this box's own, its " +
    "settings are changed and the file answers nobody any more. Killed anywhere, it can be run again. Refused where the " +
    "servers have a state that is no earlier one of the file's. The way back is membership export and import --db.",
  examples: [
    {
      command: "fula-master membership migrate-to-kv --nats-url nats://127.0.0.1:4222 --dry-run",
      explains: "what would be copied, and what the servers would lose by it",
    },
    {
      command:
        "fula-master membership migrate-to-kv --nats-url tls://nats.example.org:4222 --ca ca.pem --nkey-file user.nk --replicas 3",
      explains: "to servers of your own",
    },
    {
      command: "fula-master membership migrate-to-kv --json",
      explains: "dryRun, db, servers, backup, records, losses, switched and settings",
    },
  ],
  options: [
    { flags: "--db <file>", description: "the SQLite control plane (default: that of this box)" },
    {
      flags: "--nats-url <url>",
      description: "the servers, with commas between them (default: those of the settings)",
    },
    { flags: "--replicas <count>", description: "servers that hold each record, 1 to 5", parse: parseReplicas },
    { flags: "--ca <file>", description: "certificates that the servers' own are checked with" },
    { flags: "--nkey-file <file>", description: "seed of the NKey to log in with" },
    { flags: "--no-backup", description: "make no backup first" },
    { flags: "--overwrite", description: "also where something is taken away or set back on the servers" },
  ],
  changes: true,
  requires: "admin",
  run: async (context, options) => {
    const { migrateToKv } = await import("../lib/stack/membership-migrate.ts");
    const { out, clock } = context;
    const { db, natsUrl, replicas, ca, nkeyFile, backup, overwrite = false, dryRun = false } = options;
    const progress = out.progress("Copying", "records", () => clock.monotonicMs());
    try {
      const report = await migrateToKv(context, {
        db: db ?? null,
        natsUrl: natsUrl ?? null,
        replicas: replicas ?? null,
        caFile: ca ?? null,
        nkeyFile: nkeyFile ?? null,
        backup,
        overwrite,
        dryRun,
        onWait: (sentence) => out.note(sentence),
        onProgress: (done, total) => progress.update(done, total),
      });
      progress.end();
      out.result(report, () => migratedText(report));
    } finally {
      progress.end();
    }
  },
});
