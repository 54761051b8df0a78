import { FulaError } from "../lib/kernel/errors.ts";
import { defineCommand } from "../lib/terminal/command.ts";
import { backupProgress } from "./backup-progress.ts";

interface RestoreOptions {
  readonly to?: string;
  readonly backup?: string;
  readonly timeline?: string;
  readonly targetDir?: string;
  readonly inPlace?: boolean;
  readonly acceptProblems?: boolean;
  readonly dryRun?: boolean;
  readonly yes?: boolean;
}

function parseTimeline(text: string | undefined): number | null {
  if (text === undefined) return null;
  if (/^[1-9]\d{0,8}$/.test(text)) return Number(text);
  throw new FulaError("FULA_USAGE", `--timeline ${text} is no number of a timeline.`, {
    hint: "fula-master backup list shows those of the base backups.",
  });
}

/** `fula-master backup restore`: the ledger as it was. */
export const backupRestoreCommand = defineCommand<RestoreOptions>({
  name: "restore",
  summary: "restore the ledger to a point in time",
  description:
    "Restores the ledger from a base backup and the archived WAL to a time, a position, or as far as there is WAL, on a " +
    "timeline of its own, and looks at it: every page of every table, and the books as billing verify does. It comes into a " +
    "directory of its own beside what is in use. With --in-place it becomes the data of this box's server, which has to be " +
    "stopped: what came later is gone for everybody, the ledger begins a new epoch, and standbys have to be made anew. What does not " +
    "fit is found before anything is written; what is wrong afterwards is not put in place (exit 1).",
  examples: [
    { command: "fula-master backup restore --to latest --dry-run", explains: "from which backup, and how far" },
    {
      command: "fula-master backup restore --to 2026-11-20T03:00:00Z",
      explains: "beside what is in use, to look at it",
    },
    {
      command: "fula-master backup restore --to 16/B374D848 --in-place",
      explains: "make it the ledger; asks before it does",
    },
  ],
  options: [
    { flags: "--to <target>", description: "latest, a time with its zone, or a position such as 16/B374D848" },
    { flags: "--backup <name>", description: "base backup to begin with (default: the newest that allows the target)" },
    { flags: "--timeline <number>", description: "timeline to follow (default: the newest)" },
    { flags: "--target-dir <dir>", description: "a new directory, where the server is no container" },
    { flags: "--in-place", description: "make it the data of this box's server" },
    { flags: "--accept-problems", description: "put it in place although the look at it found something" },
  ],
  changes: true,
  asks: true,
  requires: "operator",
  emergency: true,
  onlyLooks: ({ inPlace }) => inPlace !== true,
  run: async (context, options) => {
    const { loadConfig } = await import("../lib/config/load.ts");
    const { silentLog } = await import("../lib/kernel/log.ts");
    const { runLedgerRestore } = await import("../lib/stack/backup-restore-run.ts");
    const { ledgerRestoreText, REPLACE_QUESTION } = await import("../lib/stack/backup-text.ts");
    const { out } = context;
    if (options.to === undefined) {
      throw new FulaError("FULA_USAGE", "backup restore needs --to: where the ledger is to be.", {
        hint: "--to latest restores all that there is.",
      });
    }
    const chosen = {
      to: options.to,
      backup: options.backup ?? null,
      timeline: parseTimeline(options.timeline),
      targetDir: options.targetDir ?? null,
      inPlace: options.inPlace === true,
      acceptProblems: options.acceptProblems === true,
    };
    const loaded = await loadConfig(context);
    const deps = { ...context, log: silentLog };
    const progress = backupProgress(context);
    try {
      if (chosen.inPlace && options.dryRun !== true) {
        const plan = await runLedgerRestore(loaded, { ...chosen, dryRun: true }, deps, progress.update);
        out.note(ledgerRestoreText(plan));
        await out.confirm(REPLACE_QUESTION, options.yes === true);
      }
      const dryRun = options.dryRun === true;
      const report = await runLedgerRestore(loaded, { ...chosen, dryRun }, deps, progress.update);
      progress.end();
      out.result(report, () => ledgerRestoreText(report));
      return report.ok ? 0 : 1;
    } finally {
      progress.end();
    }
  },
});
