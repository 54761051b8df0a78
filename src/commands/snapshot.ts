import { type CommandContext, defineCommand } from "../lib/terminal/command.ts";

interface SnapshotOptions {
  readonly acceptShrink?: boolean;
  readonly acceptClock?: boolean;
  readonly installCron?: boolean;
  readonly prune?: boolean;
  readonly dryRun?: boolean;
}

async function installCron({ clock, out, ...context }: CommandContext, dryRun: boolean): Promise<void> {
  const { loadConfig } = await import("../lib/config/load.ts");
  const { installSchedule } = await import("../lib/stack/schedules.ts");
  const { scheduleText } = await import("../lib/stack/schedule-text.ts");
  const report = await installSchedule("snapshot", await loadConfig(context), { dryRun, clock });
  out.result(report, () => scheduleText(report, dryRun));
}

async function take(context: CommandContext, options: SnapshotOptions): Promise<void> {
  const { keepYoungGenerationSmall } = await import("../lib/kernel/heap.ts");
  const { loadConfig } = await import("../lib/config/load.ts");
  const { proposeSnapshot, runSnapshot } = await import("../lib/stack/snapshot-run.ts");
  const { snapshotPlanText, snapshotText } = await import("../lib/stack/snapshot-text.ts");
  const { out, clock, signal } = context;
  keepYoungGenerationSmall();
  const loaded = await loadConfig(context);
  const chosen = {
    acceptShrink: options.acceptShrink === true,
    acceptClock: options.acceptClock === true,
    prune: options.prune !== false,
  };
  const progress = out.progress("Snapshot", "pins", () => clock.monotonicMs());
  const deps = { clock, signal, onProgress: progress.update.bind(progress) };
  try {
    if (options.dryRun === true) {
      const plan = await proposeSnapshot(loaded, chosen, deps);
      progress.end();
      for (const warning of plan.warnings) out.warn(warning);
      out.result(plan, () => snapshotPlanText(plan));
      return;
    }
    const report = await runSnapshot(loaded, chosen, deps);
    progress.end();
    for (const warning of report.warnings) out.warn(warning);
    out.result(report, () => snapshotText(report));
  } finally {
    progress.end();
  }
}

const snapshotListCommand = defineCommand({
  name: "list",
  aliases: ["ls"],
  summary: "list the snapshots of this box",
  description:
    "Lists the snapshots, newest first, with their age, number of pins, size, whether signatures and manifest are good, " +
    "and why prune keeps them. Reads only; fula-master verify reads the records too.",
  examples: [
    { command: "fula-master snapshot list", explains: "what there is, and what prune would remove" },
    { command: "fula-master snapshot list --json", explains: "the same for programs, with every problem in full" },
  ],
  run: async (context) => {
    const { loadConfig } = await import("../lib/config/load.ts");
    const { listRun } = await import("../lib/stack/snapshot-run.ts");
    const { LIST_COLUMNS, listRow } = await import("../lib/stack/snapshot-text.ts");
    const { renderTable } = await import("../lib/terminal/table.ts");
    const { out } = context;
    const snapshots = await listRun(await loadConfig(context), context);
    const layout = { width: out.stdout.columns ?? null, styleTitle: (text: string) => out.style.bold(text) };
    out.result({ snapshots }, () =>
      snapshots.length === 0 ? "There is no snapshot yet." : renderTable(LIST_COLUMNS, snapshots.map(listRow), layout),
    );
  },
});

const snapshotPruneCommand = defineCommand<{ readonly dryRun?: boolean }>({
  name: "prune",
  summary: "remove old snapshots by snapshot.keep",
  description:
    "Removes the snapshots that snapshot.keep does not keep: it keeps the newest ones and one for each of the last days, " +
    "weeks and months. The last good one always stays, and so does everything that is damaged or that this box did not write.",
  examples: [
    { command: "fula-master snapshot prune --dry-run", explains: "say what would go and why the rest stays" },
    { command: "fula-master snapshot prune", explains: "remove it; every snapshot does so by itself, too" },
  ],
  changes: true,
  run: async (context, { dryRun = false }) => {
    const { loadConfig } = await import("../lib/config/load.ts");
    const { pruneRun } = await import("../lib/stack/snapshot-run.ts");
    const { pruneText } = await import("../lib/stack/snapshot-text.ts");
    const report = await pruneRun(await loadConfig(context), dryRun, context);
    context.out.result({ dryRun, ...report }, () => pruneText(report, dryRun));
  },
});

/** `fula-master snapshot`: a signed copy of the whole pinset. */
export const snapshotCommand = defineCommand<SnapshotOptions>({
  name: "snapshot",
  summary: "take a signed snapshot of the pinset",
  description:
    "Writes every pin with all its options into a sorted, compressed, signed file under snapshots/, reads it back, and then " +
    "removes old snapshots by snapshot.keep. Refuses (exit 3) an empty pinset, and one that shrank by more than " +
    "snapshot.maxShrinkPercent since the last good snapshot.",
  examples: [
    { command: "fula-master snapshot", explains: "take one, as the schedule does" },
    { command: "fula-master snapshot --dry-run", explains: "count the pins and say whether a guard would refuse" },
    { command: "fula-master snapshot --accept-shrink", explains: "the pins were removed on purpose" },
    { command: "fula-master snapshot --install-cron", explains: "take one on the schedule of snapshot.schedule" },
  ],
  options: [
    { flags: "--accept-shrink", description: "the pinset is meant to be empty, or that much smaller" },
    { flags: "--accept-clock", description: "the clock was ahead when the last snapshot was taken, and is right now" },
    { flags: "--no-prune", description: "keep every old snapshot this time" },
    { flags: "--install-cron", description: "install the schedule instead of taking a snapshot" },
  ],
  changes: true,
  subcommands: [snapshotListCommand, snapshotPruneCommand],
  run: async (context, options) => {
    if (options.installCron === true) await installCron(context, options.dryRun === true);
    else await take(context, options);
  },
});
