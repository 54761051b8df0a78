import { defineCommand } from "../lib/terminal/command.ts";

interface BackfillOptions {
  readonly from?: string;
  readonly to?: string;
  readonly dryRun?: boolean;
}

/** `fula-master billing backfill`: hours that were left out as too long ago. */
export const billingBackfillCommand = defineCommand<BackfillOptions>({
  name: "backfill",
  summary: "bill hours that were left out as too long ago",
  description:
    "Bills the hours that were left out because more than billing.catchUpHours were missed, each by what was stored at its " +
    "end, at the price of the settings. A dry run says what each would come to. May run beside serve, and again where it " +
    "was cut off: nobody is charged twice.",
  examples: [
    { command: "fula-master billing backfill --dry-run", explains: "which hours, how many accounts, how much" },
    { command: "fula-master billing backfill", explains: "bill all of them" },
    {
      command: "fula-master billing backfill --from 2026-06-12T14 --to 2026-06-13T02",
      explains: "these alone, both of them meant",
    },
  ],
  options: [
    { flags: "--from <hour>", description: "the first hour, such as 2026-06-12T14 (UTC)" },
    { flags: "--to <hour>", description: "the last one, itself included" },
  ],
  changes: true,
  requires: "operator",
  run: async (context, { from, to, dryRun = false }) => {
    const { runBackfill } = await import("../lib/stack/billing-hours-run.ts");
    const { hoursText } = await import("../lib/stack/billing-hours-text.ts");
    const report = await runBackfill(context, { from, to, dryRun });
    context.out.result(report, () => hoursText(report, "billed"));
  },
});
