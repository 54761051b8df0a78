import type { DenialActReport } from "../lib/stack/denial-run.ts";
import { defineCommand } from "../lib/terminal/command.ts";
import {
  DENIAL_OPTIONS,
  type DenialCommandOptions,
  denialContextOf,
  denialOptionsOf,
  denialText,
} from "./auth-target.ts";

function liftedText({ dryRun, kind, subject, changed, denial }: DenialActReport): string {
  if (denial === null) return `Nothing is denied for the ${kind} ${subject}.`;
  if (dryRun && denial.liftedAt === null) return `Would let in again ${denialText(denial)}.`;
  if (!changed) return `Already so: lifted by ${denial.liftedBy}.`;
  return `Lifted: ${denialText(denial)} is good again, within 5 seconds on every master.`;
}

/** `fula-master auth lift`: takes a denial back. */
export const authLiftCommand = defineCommand<DenialCommandOptions>({
  name: "lift",
  summary: "take a denial back",
  description:
    "Takes off the list of what is refused what auth deny put there: whoever has the credential is let in again, if it is " +
    "still in force. Writes to the ledger and to the audit log.",
  examples: [
    {
      command: 'fula-master auth lift --user alice@example.com --reason "ticket 140: wrong user"',
      explains: "her sessions, tokens and access keys of before are good again",
    },
    {
      command: "fula-master auth lift --digest 3f2a… --reason test --dry-run --json",
      explains: "kind, subject, changed, and denial as it stands",
    },
  ],
  options: DENIAL_OPTIONS,
  changes: true,
  requires: "operator",
  run: async (context, options) => {
    const { runLift } = await import("../lib/stack/denial-run.ts");
    const report = await runLift(denialContextOf(context), denialOptionsOf(options));
    context.out.result(report, () => liftedText(report));
  },
});
