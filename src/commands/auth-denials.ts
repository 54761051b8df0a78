import { InvalidArgumentError } from "commander";
import { defineCommand } from "../lib/terminal/command.ts";

const LIMIT_MAX = 10_000;

function parseLimit(text: string): number {
  const limit = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  if (limit >= 1 && limit <= LIMIT_MAX) return limit;
  throw new InvalidArgumentError(`It must be a whole number from 1 to ${LIMIT_MAX}.`);
}

/** `fula-master auth denials`: what is refused although its signature is good. */
export const authDenialsCommand = defineCommand<{ readonly all?: boolean; readonly limit: number }>({
  name: "denials",
  summary: "list what is denied",
  description: "Lists credentials, wallets and users that are denied, the newest first. Reads only.",
  examples: [
    { command: "fula-master auth denials", explains: "what is refused, since when, and why" },
    {
      command: "fula-master auth denials --all --json",
      explains:
        "denials, each with kind, subject, state, issuedBefore, expiresAt, reason, deniedBy, deniedAt, liftedAt",
    },
  ],
  options: [
    { flags: "--all", description: "also what was lifted or has expired" },
    { flags: "--limit <count>", description: "denials at most", default: 100, parse: parseLimit },
  ],
  run: async (context, { all = false, limit }) => {
    const { runDenials } = await import("../lib/stack/denial-run.ts");
    const report = await runDenials(context, { isAll: all, limit });
    context.out.result(report, () => {
      if (report.denials.length === 0) return "Nothing is denied.";
      return context.out.table(
        [
          { title: "KIND" },
          { title: "SUBJECT", cut: "middle" },
          { title: "STATE" },
          { title: "ISSUED BEFORE (UTC)" },
          { title: "BY" },
          { title: "WHY", cut: "end" },
        ],
        report.denials.map((denial) => [
          denial.kind,
          denial.subject,
          denial.state,
          denial.issuedBefore?.slice(0, 19).replace("T", " ") ?? "-",
          denial.deniedBy,
          denial.reason,
        ]),
      );
    });
  },
});
