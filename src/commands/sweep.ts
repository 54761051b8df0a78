import { defineCommand } from "../lib/terminal/command.ts";
import { printableLine } from "../lib/terminal/printable.ts";

interface SweepOptions {
  readonly strict?: boolean;
  readonly deep?: boolean;
  readonly acceptEmpty?: boolean;
  readonly grace: string;
  readonly wait: string;
  readonly ledger?: boolean;
  readonly repairLedger?: boolean;
  readonly forgetPeer?: readonly string[];
  readonly replMin?: string;
  readonly installCron?: boolean;
  readonly dryRun?: boolean;
}

/** `fula-master sweep`: where every pin really stands. */
export const sweepCommand = defineCommand<SweepOptions>({
  name: "sweep",
  summary: "find pins that too few peers hold, and have them repaired",
  description:
    "Looks where every pin really stands, by each pin's own replication factor, has repaired what is held by too few, and " +
    "looks at those again. Names peers that cannot be counted on, and compares the pinset with what the ledger wants " +
    "pinned. Writes one line to the alert log for each thing that is wrong until it is well again, gives new lines to " +
    "sweep.alertCommand (exit 1 where that does not take them), and writes state/sweep-last.json. Exits 4 where anything " +
    "could not be read: that is never an all-clear.",
  examples: [
    { command: "fula-master sweep", explains: "check and repair, as the schedule does" },
    { command: "fula-master sweep --strict", explains: "exit 1 if anything is still wrong afterwards" },
    { command: "fula-master sweep --deep", explains: "also read every block and check it against its hash" },
    {
      command: "fula-master sweep --repair-ledger",
      explains: "pin again, too, what the ledger wants pinned and no snapshot could bring back",
    },
    { command: "fula-master sweep --install-cron", explains: "run it on the schedule of sweep.schedule" },
  ],
  options: [
    { flags: "--strict", description: "exit 1 if pins, peers or ledger are not as they should be after the repair" },
    { flags: "--deep", description: "read and re-hash every block instead of looking whether it is there" },
    {
      flags: "--repl-min <count>",
      description: "peers that must hold a pin that names no minimum (setting sweep.replMin)",
    },
    {
      flags: "--grace <duration>",
      description: "how long a pin may be on its way before it counts as below",
      default: "1h",
    },
    {
      flags: "--wait <duration>",
      description: "how long peers may take to fetch what the repair told them to",
      default: "1m",
    },
    { flags: "--no-ledger", description: "leave out what the ledger wants pinned" },
    {
      flags: "--repair-ledger",
      description: "pin what the ledger wants pinned and the pinset lost, with the default number of copies",
    },
    { flags: "--forget-peer <id...>", description: "these peers were taken out of the cluster on purpose" },
    { flags: "--accept-empty", description: "the pinset is empty now and that is meant" },
    { flags: "--install-cron", description: "install the schedule instead of sweeping" },
  ],
  changes: true,
  run: async (context, options) => {
    const { keepYoungGenerationSmall } = await import("../lib/kernel/heap.ts");
    const { loadConfig } = await import("../lib/config/load.ts");
    const { FulaError } = await import("../lib/kernel/errors.ts");
    const { parseSweepDuration, runSweep } = await import("../lib/stack/sweep-run.ts");
    const { sweepLines } = await import("../lib/stack/sweep-text.ts");
    const { out, clock, signal } = context;
    keepYoungGenerationSmall();
    const replMin = { flag: "--repl-min", value: options.replMin };
    const loaded = await loadConfig(context, { "sweep.replMin": replMin });
    const dryRun = options.dryRun === true;
    if (options.installCron === true) {
      const { installSchedule } = await import("../lib/stack/schedules.ts");
      const { scheduleText } = await import("../lib/stack/schedule-text.ts");
      const report = await installSchedule("sweep", loaded, { dryRun, clock });
      out.result(report, () => scheduleText(report, dryRun));
      return 0;
    }
    if (options.ledger === false && options.repairLedger === true) {
      throw new FulaError("FULA_USAGE", "--no-ledger and --repair-ledger contradict each other.", {
        hint: "fula-master sweep --help",
      });
    }
    const progress = out.progress("Sweep", "pins", () => clock.monotonicMs());
    try {
      const report = await runSweep(
        loaded,
        {
          deep: options.deep === true,
          acceptEmpty: options.acceptEmpty === true,
          graceMs: parseSweepDuration("--grace", options.grace),
          waitMs: parseSweepDuration("--wait", options.wait),
          ledger: options.ledger !== false,
          repairLedger: options.repairLedger === true,
          forgetPeers: options.forgetPeer ?? [],
          dryRun,
        },
        { clock, signal, onProgress: (_phase, done, total) => progress.update(done, total) },
      );
      progress.end();
      out.result(report, () => sweepLines(report, loaded.config.sweep.alertLog).map(printableLine).join("\n"));
      if (report.alertCommand !== null && report.alertCommand.error !== null) return 1;
      return options.strict === true && report.outcome !== "ok" ? 1 : 0;
    } finally {
      progress.end();
    }
  },
});
