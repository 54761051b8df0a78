import { defineCommand } from "../lib/terminal/command.ts";
import { ALLOW_MISSING, ledgerContext, readAllowedMissing, talkOf } from "./failover-talk.ts";

/** `fula-master switchover`: a planned change of the primary. */
export const switchoverCommand = defineCommand<{
  readonly to?: string;
  readonly allowMissing?: string;
  readonly dryRun?: boolean;
  readonly yes?: boolean;
}>({
  name: "switchover",
  summary: "move the ledger to another master, planned and without loss",
  description:
    "The primary stops in order and hands its whole log to the standby, which is promoted; the old primary comes back as a " +
    "standby by itself. Writes wait for a second or two, and none is lost. Then what must work is tried, and " +
    "failover.flipCommand is run. Journaled; stopped or killed anywhere, the same command goes on, and fula-master failover " +
    "abort gives the old primary its right back as long as nobody was promoted.",
  examples: [
    { command: "fula-master switchover --to fula-2 --dry-run", explains: "every check and step" },
    { command: "fula-master switchover --to fula-2", explains: "asks for <old master>@<epoch> first" },
  ],
  options: [
    {
      flags: "--to <node>",
      description: "the master whose standby becomes the primary (default: the only synchronous one)",
    },
    ALLOW_MISSING,
  ],
  changes: true,
  asks: true,
  requires: "operator",
  awaitsElection: true,
  run: async (context, { to, allowMissing, dryRun = false, yes = false }) => {
    const { doFailover, planFailover } = await import("../lib/stack/failover-run.ts");
    const text = await import("../lib/stack/failover-text.ts");
    const { out } = context;
    const given = await ledgerContext(context);
    const allowedMissing = await readAllowedMissing(allowMissing);
    const choice = { kind: "switchover", to: to ?? null, forced: false, allowedLoss: null, allowedMissing } as const;
    if (dryRun) {
      const plan = await planFailover(given, choice);
      out.result(plan, () => text.renderFailoverPlan(plan));
      return plan.isPossible ? 0 : 3;
    }
    const end = await doFailover(given, choice, talkOf(context, yes, text.renderFailoverSteps));
    out.result(end, () => text.renderFailoverReport(end));
    return 0;
  },
});
