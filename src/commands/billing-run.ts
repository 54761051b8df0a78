import { defineCommand } from "../lib/terminal/command.ts";

/** `fula-master billing run`: one look for unbilled hours, now. */
export const billingRunCommand = defineCommand<{ readonly dryRun?: boolean }>({
  name: "run",
  summary: "bill the hours that wait, now",
  description:
    "Bills every hour that is over and not billed, in order: beside serve of this box where that holds the cron lease, " +
    "else under a lease that it takes and gives back. Exits 3 where another master holds it, and says which, or " +
    "where fees have no keys; 1 where something is left.",
  examples: [
    { command: "fula-master billing run --dry-run", explains: "which hours wait" },
    { command: "fula-master billing run", explains: "bill them" },
  ],
  changes: true,
  run: async (context, { dryRun = false }) => {
    const { runBillingLook } = await import("../lib/stack/billing-hours-run.ts");
    const { hoursText } = await import("../lib/stack/billing-hours-text.ts");
    const report = await runBillingLook(context, dryRun);
    context.out.result(report, () => hoursText(report, "billed"));
    return report.waitingFor === null ? 0 : 1;
  },
});
