import { defineCommand } from "../lib/terminal/command.ts";

interface WaiveOptions {
  readonly reason?: string;
  readonly operator?: string;
  readonly dryRun?: boolean;
  readonly yes?: boolean;
}

/** `fula-master billing waive`: hours that nobody pays for. */
export const billingWaiveCommand = defineCommand<WaiveOptions>({
  name: "waive",
  summary: "decide that nobody pays for some hours",
  description:
    "Writes down that nobody pays for the hours from one to another, both of them meant. All of them or none: exits 3 where " +
    "one of them runs or is billed. It cannot be taken back.",
  examples: [
    {
      command: 'fula-master billing waive 2026-06-12T14 2026-06-12T20 --reason "outage of June 12"',
      explains: "seven hours",
    },
  ],
  arguments: [
    { name: "from", description: "the first hour, such as 2026-06-12T14 (UTC)", required: true },
    { name: "to", description: "the last one, itself included", required: true },
  ],
  options: [
    { flags: "--reason <text>", description: "why; it stands in the hour's record" },
    { flags: "--operator <name>", description: "who decides (default: the user that runs the command, and the node)" },
  ],
  changes: true,
  asks: true,
  requires: "operator",
  run: async (context, { reason, operator, dryRun = false, yes = false }, [from = "", to = ""]) => {
    const { runWaive } = await import("../lib/stack/billing-hours-run.ts");
    const { hoursText } = await import("../lib/stack/billing-hours-text.ts");
    const options = { from, to, reason, operator };
    if (!dryRun) {
      const plan = await runWaive(context, { ...options, dryRun: true });
      context.out.note(hoursText(plan, "waived"));
      await context.out.confirm("Waive these hours?", yes);
    }
    const report = await runWaive(context, { ...options, dryRun });
    context.out.result(report, () => hoursText(report, "waived"));
  },
});
