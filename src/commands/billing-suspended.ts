import { InvalidArgumentError } from "commander";
import { formatBytes } from "../lib/kernel/units.ts";
import { defineCommand } from "../lib/terminal/command.ts";

const LIMIT_MAX = 10_000;

function parseLimit(text: string): number {
  const limit = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  if (limit >= 1 && limit <= LIMIT_MAX) return limit;
  throw new InvalidArgumentError(`It must be a whole number from 1 to ${LIMIT_MAX}.`);
}

/** `fula-master billing suspended`: who may not upload. */
export const billingSuspendedCommand = defineCommand<{ readonly limit: number }>({
  name: "suspended",
  summary: "list the accounts that may not upload",
  description:
    "Lists the accounts that are suspended because their balance fell below zero, those of longest standing first. Reads only.",
  examples: [
    { command: "fula-master billing suspended", explains: "who may not upload, since when, and what is missing" },
    {
      command: "fula-master billing suspended --json",
      explains: "accounts, each with userId, balance, storedBytes and suspendedAt; total",
    },
  ],
  options: [{ flags: "--limit <count>", description: "accounts at most", default: 100, parse: parseLimit }],
  run: async (context, { limit }) => {
    const { runSuspended } = await import("../lib/stack/account-run.ts");
    const report = await runSuspended(context, limit);
    const { accounts, total } = report;
    context.out.result(report, () => {
      if (total === 0) return "No account is suspended.";
      const table = context.out.table(
        [
          { title: "USER" },
          { title: "BALANCE", align: "right" },
          { title: "STORES", align: "right" },
          { title: "SINCE (UTC)" },
        ],
        accounts.map((account) => [
          account.userId,
          account.balance,
          formatBytes(account.storedBytes),
          account.suspendedAt?.slice(0, 16).replace("T", " ") ?? "-",
        ]),
      );
      return accounts.length < total ? `${table}\n${accounts.length} of ${total}; --limit shows more.` : table;
    });
  },
});
