import { defineCommand } from "../lib/terminal/command.ts";

/** `fula-master billing status`: who bills, how far it is, what needs a person. */
export const billingStatusCommand = defineCommand({
  name: "status",
  summary: "who bills, how far it is, and what needs a person",
  description:
    "Tells which master bills, which hours are billed, wait or were left out, whether deposits are looked for, and which " +
    "alerts stand, each with what to do. Exits 1 where money is at stake: nobody bills, hours wait, an alert stands, a " +
    "chain stopped; 4 where the ledger could not be read. Reads only.",
  examples: [
    { command: "fula-master billing status", explains: "exit code 0 = billing is well" },
    { command: "fula-master billing status --json", explains: "state, problems, leader, hours, alerts, chains" },
  ],
  run: async (context) => {
    const { runBillingStatus } = await import("../lib/stack/billing-run.ts");
    const { renderBillingStatus } = await import("../lib/stack/billing-status-text.ts");
    const { out } = context;
    const report = await runBillingStatus(context);
    const style = { good: out.style.green, attention: out.style.yellow, bad: out.style.red };
    out.result(report, () => renderBillingStatus(report, style));
    return report.state === "bad" ? 1 : 0;
  },
});
