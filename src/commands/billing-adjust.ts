import { InvalidArgumentError } from "commander";
import type { AdjustReport } from "../lib/stack/credit-run.ts";
import { defineCommand } from "../lib/terminal/command.ts";

interface AdjustCommandOptions {
  readonly reason?: string;
  readonly operator?: string;
  readonly key?: string;
  readonly dryRun?: boolean;
  readonly yes?: boolean;
}

function parseKey(text: string): string {
  if (/^[\x21-\x7e]{1,200}$/.test(text)) return text;
  throw new InvalidArgumentError("It must be 1 to 200 printable characters without blanks.");
}

function adjustedText(report: AdjustReport): string {
  const { userId, amount, balance, balanceBefore, isSuspended } = report;
  const state = isSuspended ? "; the account is suspended" : "";
  if (!report.applied && report.entryId !== null) {
    return `Already so: entry ${report.entryId} did it under this key. The balance of ${userId} is ${balance} FULA${state}.`;
  }
  if (report.dryRun) {
    return `Would change the balance of ${userId} by ${amount} FULA, from ${balanceBefore} to ${balance}${isSuspended ? "; the account would be suspended" : ""}.`;
  }
  return `Changed the balance of ${userId} by ${amount} FULA, to ${balance} (entry ${report.entryId})${state}.`;
}

/** `fula-master billing adjust`: sets a balance right by hand. */
export const billingAdjustCommand = defineCommand<AdjustCommandOptions>({
  name: "adjust",
  summary: "give or take FULA, with a reason",
  description:
    "Corrects the balance of an account: an amount above zero gives, one below zero takes, which is asked about. The ledger " +
    "keeps the reason and who did it. No referral bonus comes of it. A balance that falls below zero suspends the account, " +
    "one that is lifted above zero frees it. What is run again with the same --key counts once; without --key one is " +
    "drawn, and told before anything is written.",
  examples: [
    {
      command: 'fula-master billing adjust alice@example.com 12.5 --reason "ticket 118: paid by bank transfer"',
      explains: "gives 12.5 FULA",
    },
    {
      command: 'fula-master billing adjust alice@example.com -3 --reason "ticket 120: credited twice" --key ticket-120',
      explains: "takes 3 FULA, once, however often it is run",
    },
    {
      command: "fula-master billing adjust alice@example.com 1 --reason test --dry-run --json",
      explains: "userId, amount, balanceBefore, balance, isSuspended, applied, entryId, key, reference",
    },
  ],
  arguments: [
    { name: "user", description: "an e-mail address or a user id", required: true },
    { name: "amount", description: "FULA, such as 12.5 or -0.000001", required: true },
  ],
  options: [
    { flags: "--reason <text>", description: "why; written into the ledger (needed)" },
    { flags: "--operator <name>", description: "who decided it (default: who runs the command, and this box)" },
    {
      flags: "--key <key>",
      description: "counts once however often it is sent (default: a random one)",
      parse: parseKey,
    },
  ],
  changes: true,
  asks: true,
  requires: "operator",
  run: async (context, { reason, operator, key, dryRun = false, yes = false }, [user = "", amount = ""]) => {
    const { runAdjust } = await import("../lib/stack/credit-run.ts");
    const { out } = context;
    const report = await runAdjust(context, {
      user,
      amount,
      reason,
      operator,
      key,
      dryRun,
      confirm: async (userId, taken) => await out.confirm(`Take ${taken.slice(1)} FULA from ${userId}?`, yes),
      onKey: (drawn) => {
        if (key === undefined) out.note(`If this run is cut off, repeat it with --key ${drawn}`);
      },
    });
    out.result(report, () => adjustedText(report));
  },
});
