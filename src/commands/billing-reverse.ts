import type { ReversalPlan } from "../lib/billing/reversals.ts";
import type { ReverseReport } from "../lib/stack/credit-run.ts";
import { defineCommand } from "../lib/terminal/command.ts";

function reversedText(report: ReverseReport): string {
  const { entryId, userId, amount, bonuses, dryRun, reversalEntryId } = report;
  if (!report.applied && reversalEntryId !== null) {
    return `Already so: entry ${reversalEntryId} has taken deposit ${entryId} back.`;
  }
  const lines = [
    `${dryRun ? "Would take" : "Took"} back deposit ${entryId}: ${amount} FULA from ${userId}${dryRun ? "" : `, whose balance is ${report.balance} FULA now (entry ${reversalEntryId})`}.`,
    ...bonuses.map((bonus) => `Level ${bonus.level}: ${bonus.amount} FULA of bonus from ${bonus.userId}.`),
  ];
  return lines.join("\n");
}

function question({ amountUnits, userId, bonuses }: ReversalPlan, format: (units: bigint) => string): string {
  const also = bonuses.length === 0 ? "" : `, and its ${bonuses.length} referral bonus(es)`;
  return `Take the deposit of ${format(amountUnits)} FULA back from ${userId}${also}?`;
}

/** `fula-master billing reverse`: takes a deposit back. */
export const billingReverseCommand = defineCommand<{
  readonly reason?: string;
  readonly operator?: string;
  readonly dryRun?: boolean;
  readonly yes?: boolean;
}>({
  name: "reverse",
  summary: "take a deposit back, with its referral bonuses",
  description:
    "Takes back a deposit that should not have been credited, with every referral bonus that came of it, once. Balances may " +
    "fall below zero; those accounts are suspended. The deposit stays in the ledger, so no scan credits it again. Nothing " +
    "else ever takes a deposit back.",
  examples: [
    {
      command: 'fula-master billing reverse 4711 --reason "the chain dropped the block" --dry-run',
      explains: "what it would take from whom",
    },
    {
      command: 'fula-master billing reverse 8453:0x5c5e…:3 --reason "the chain dropped the block" --yes --json',
      explains: "entryId, reversalEntryId, userId, amount, bonuses, balance, applied",
    },
  ],
  arguments: [
    {
      name: "deposit",
      description: "the id of its entry, or its reference <chain id>:<transaction hash>:<log index>",
      required: true,
    },
  ],
  options: [
    { flags: "--reason <text>", description: "why; written into the ledger (needed)" },
    { flags: "--operator <name>", description: "who decided it (default: who runs the command, and this box)" },
  ],
  changes: true,
  asks: true,
  requires: "operator",
  run: async (context, { reason, operator, dryRun = false, yes = false }, [deposit = ""]) => {
    const { runReverse } = await import("../lib/stack/credit-run.ts");
    const { formatUnits } = await import("../lib/billing/money.ts");
    const { out } = context;
    const report = await runReverse(context, {
      deposit,
      reason,
      operator,
      dryRun,
      confirm: async (plan) => await out.confirm(question(plan, formatUnits), yes),
    });
    out.result(report, () => reversedText(report));
  },
});
