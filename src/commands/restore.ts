import { defineCommand } from "../lib/terminal/command.ts";
import { printableLine } from "../lib/terminal/printable.ts";

interface RestoreOptions {
  readonly only?: readonly string[];
  readonly limit?: string;
  readonly concurrency: string;
  readonly wait: string;
  readonly overwrite?: boolean;
  readonly anyCluster?: boolean;
  readonly dryRun?: boolean;
  readonly yes?: boolean;
}

const PHASES = {
  verify: "Verifying the snapshot",
  compare: "Comparing with what is pinned",
  pin: "Pinning",
  check: "Reading everything again",
} as const;

/** `fula-master restore`: bring lost pins back. */
export const restoreCommand = defineCommand<RestoreOptions>({
  name: "restore",
  summary: "bring pins back from a snapshot",
  description:
    "Verifies a snapshot, compares it with what is pinned, and pins what is missing, with every option. Pins that have " +
    "other options than in the snapshot are listed, and changed only with --overwrite; pins that are not in the snapshot " +
    "are never touched. Then reads everything again, and exits 1 with a list where a pin is still missing or its content " +
    "is not held. A restore that was killed is finished by running it again.",
  examples: [
    { command: "fula-master restore --dry-run", explains: "what the newest good snapshot would bring back" },
    { command: "fula-master restore", explains: "bring back what is missing" },
    {
      command: "fula-master restore --overwrite",
      explains: "also set options of existing pins back; asks before it does",
    },
    { command: "fula-master restore pinset-20261120T030000Z", explains: "from this snapshot" },
    {
      command: "fula-master restore --only bafybei... lost.txt",
      explains: "only these CIDs, and those that a file lists",
    },
  ],
  arguments: [
    { name: "file", description: "a snapshot's name or any of its files (default: the newest that verifies)" },
  ],
  options: [
    { flags: "--only <cid...>", description: "only these CIDs; a file lists one a line" },
    { flags: "--limit <count>", description: "pin at most that many, the first in order of their CIDs" },
    { flags: "--concurrency <count>", description: "pins written at the same time", default: "32" },
    {
      flags: "--wait <duration>",
      description: "how long peers may take to fetch content before it counts as missing",
      default: "1m",
    },
    { flags: "--overwrite", description: "change pins that have other options than in the snapshot" },
    { flags: "--any-cluster", description: "take a snapshot of another cluster too" },
  ],
  changes: true,
  asks: true,
  requires: "operator",
  emergency: true,
  run: async (context, options, [file]) => {
    const { keepYoungGenerationSmall } = await import("../lib/kernel/heap.ts");
    const { loadConfig } = await import("../lib/config/load.ts");
    const { readOnlyList } = await import("../lib/pinset/only-list.ts");
    const { parseRestoreNumbers, runRestore } = await import("../lib/stack/restore-run.ts");
    const { changeLines, changeQuestion, restoreLines } = await import("../lib/stack/restore-text.ts");
    const { out, clock, signal, cwd } = context;
    keepYoungGenerationSmall();
    const numbers = parseRestoreNumbers(options);
    const only = await readOnlyList(options.only, cwd);
    const loaded = await loadConfig(context);
    let phase: keyof typeof PHASES = "verify";
    let progress = out.progress(PHASES[phase], "pins", () => clock.monotonicMs());
    const dryRun = options.dryRun === true;
    try {
      const report = await runRestore(
        loaded,
        {
          ...numbers,
          file: file ?? null,
          only,
          overwrite: options.overwrite === true,
          anyCluster: options.anyCluster === true,
          dryRun,
        },
        {
          clock,
          signal,
          cwd,
          onProgress: (now, done, total) => {
            if (now !== phase) {
              progress.end();
              phase = now;
              progress = out.progress(PHASES[phase], "pins", () => clock.monotonicMs());
            }
            progress.update(done, total);
          },
          approve: async (plan, { warnings }) => {
            progress.end();
            for (const warning of warnings) out.warn(warning);
            if (options.overwrite !== true || plan.counts.differs === 0) return;
            for (const line of changeLines(plan)) out.note(printableLine(line));
            await out.confirm(changeQuestion(plan), options.yes === true);
          },
        },
      );
      progress.end();
      if (dryRun) for (const warning of report.warnings) out.warn(warning);
      out.result(report, () => restoreLines(report).map(printableLine).join("\n"));
      return report.ok || dryRun ? 0 : 1;
    } finally {
      progress.end();
    }
  },
});
