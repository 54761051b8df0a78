import type { UnsuspendReport } from "../lib/stack/account-run.ts";
import { defineCommand } from "../lib/terminal/command.ts";

function unsuspendedText({ dryRun, userId, wasSuspended, balance, willSuspendAgain }: UnsuspendReport): string {
  if (!wasSuspended) return `Already so: ${userId} is not suspended.`;
  const done = `${dryRun ? "Would lift" : "Lifted"} the suspension of ${userId}, whose balance is ${balance} FULA.`;
  return willSuspendAgain
    ? `${done}\nThe next fee suspends the account again: fula-master billing adjust gives it something to pay with.`
    : done;
}

/** `fula-master billing unsuspend`: lets an account upload again by an operator's word. */
export const billingUnsuspendCommand = defineCommand<{
  readonly reason?: string;
  readonly operator?: string;
  readonly dryRun?: boolean;
}>({
  name: "unsuspend",
  summary: "lift the suspension of an account",
  description:
    "Lifts a suspension whatever the balance is, and writes down who did it and why. While the balance is below zero, the next " +
    "fee suspends the account again; a deposit or an adjustment that lifts the balance above zero frees it by itself.",
  examples: [
    {
      command: 'fula-master billing unsuspend alice@example.com --reason "ticket 131: bank transfer is on its way"',
      explains: "until the next fee, or for good where the balance allows it",
    },
    {
      command: "fula-master billing unsuspend alice@example.com --reason test --dry-run --json",
      explains: "userId, wasSuspended, unsuspended, balance and willSuspendAgain",
    },
  ],
  arguments: [{ name: "user", description: "an e-mail address or a user id", required: true }],
  options: [
    { flags: "--reason <text>", description: "why; written down with who did it (needed)" },
    { flags: "--operator <name>", description: "who decided it (default: who runs the command, and this box)" },
  ],
  changes: true,
  requires: "operator",
  run: async (context, { reason, operator, dryRun = false }, [user = ""]) => {
    const { runUnsuspend } = await import("../lib/stack/account-run.ts");
    const report = await runUnsuspend(context, { user, reason, operator, dryRun });
    context.out.result(report, () => unsuspendedText(report));
  },
});
