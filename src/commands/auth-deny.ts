import type { DenialActReport } from "../lib/stack/denial-run.ts";
import { defineCommand } from "../lib/terminal/command.ts";
import {
  DENIAL_OPTIONS,
  type DenialCommandOptions,
  denialContextOf,
  denialOptionsOf,
  denialText,
} from "./auth-target.ts";

function deniedText({ dryRun, kind, subject, changed, denial }: DenialActReport): string {
  const stands = denial?.state === "denied";
  if (dryRun && !stands) return `Would deny the ${kind} ${subject}.`;
  if (denial === null) return "";
  if (!changed) return `Already so: ${denialText(denial)} is denied (by ${denial.deniedBy}: ${denial.reason}).`;
  const done = `Denied ${denialText(denial)}. Masters refuse it within 5 seconds, storage nodes within 15.`;
  if (denial.kind === "digest") {
    return `${done}\nSo are the session tokens that were made with it. Access keys that were made with it stay good: see key list.`;
  }
  const isAhead = denial.issuedBefore !== null && denial.issuedBefore > denial.deniedAt;
  return isAhead ? `${done}\nUntil then no new one is good either; only logins of the web UI are at once.` : done;
}

/** `fula-master auth deny`: refuses from now on what a good signature would open. */
export const authDenyCommand = defineCommand<DenialCommandOptions & { readonly before?: string }>({
  name: "deny",
  summary: "revoke a credential, or all of a wallet or a user",
  description:
    "Puts a credential on the list of what is refused although its signature is good; or everything that a wallet or a " +
    "user was given before a time: five minutes from now, because a token may be dated by a clock that is so much ahead; " +
    "--before names another time. What is issued later is good again. Every master of the federation reads the list every " +
    "two seconds. Writes one row to the ledger, and one to the audit log.",
  examples: [
    {
      command: 'fula-master auth deny --wallet 0x52908400098527886E0F7030069857D2E4169EE7 --reason "phone was stolen"',
      explains: "whatever that wallet signed until now; it may sign in again after five minutes",
    },
    {
      command: 'fula-master auth deny --token-file - --reason "posted in a chat"',
      explains: "one token, pasted, of whatever kind; the others of its user stay good",
    },
    {
      command:
        "fula-master auth deny --user alice@example.com --before 2026-06-12T14:30:00Z --reason test --dry-run --json",
      explains: "kind, subject, changed, and denial as it stands",
    },
  ],
  options: [
    ...DENIAL_OPTIONS,
    {
      flags: "--before <time>",
      description: "of a wallet or user, what was issued before it, in UTC (default: in 5 minutes)",
    },
  ],
  changes: true,
  requires: "operator",
  run: async (context, options) => {
    const { runDeny } = await import("../lib/stack/denial-run.ts");
    const given = { ...denialOptionsOf(options), before: options.before };
    const report = await runDeny(denialContextOf(context), given);
    context.out.result(report, () => deniedText(report));
  },
});
