import { InvalidArgumentError } from "commander";
import type { HistoryReport } from "../lib/stack/account-run.ts";
import { formatBytes, formatCount } from "../lib/kernel/units.ts";
import { type CommandContext, defineCommand } from "../lib/terminal/command.ts";

interface HistoryCommandOptions {
  readonly page: number;
  readonly limit: number;
  readonly cursor?: string;
}

function parseCount(text: string): number {
  if (/^\d{1,6}$/.test(text)) return Number(text);
  throw new InvalidArgumentError("It must be a whole number.");
}

function accountText({ account }: HistoryReport): string {
  const { balance, storedBytes, freeTierBytes, monthlyBurn, isSuspended, suspendedAt } = account;
  const state = isSuspended
    ? `suspended${suspendedAt === null ? "" : ` since ${suspendedAt.slice(0, 16)}Z`}`
    : "active";
  return `Balance ${balance} FULA, ${state}; stores ${formatBytes(storedBytes)} (${formatBytes(freeTierBytes)} are free), which costs ${monthlyBurn} FULA a month.`;
}

function historyText(report: HistoryReport, out: CommandContext["out"]): string {
  const { entries, page, limit, total, nextCursor } = report;
  if (entries.length === 0) return `${accountText(report)}\nNo entries${total === 0 ? "" : " on this page"}.`;
  const table = out.table(
    [
      { title: "ENTRY" },
      { title: "TIME (UTC)" },
      { title: "TYPE" },
      { title: "AMOUNT", align: "right" },
      { title: "BALANCE", align: "right" },
      { title: "REFERENCE", cut: "middle" },
      { title: "WHY", cut: "end" },
    ],
    entries.map((entry) => [
      entry.id,
      entry.createdAt?.slice(0, 19).replace("T", " ") ?? "-",
      entry.type ?? "-",
      entry.amount,
      entry.balanceAfter,
      entry.reference ?? "-",
      entry.reason === null ? "" : `${entry.operator}: ${entry.reason}`,
    ]),
  );
  const more = nextCursor === null ? "" : ` More: --cursor ${nextCursor}`;
  return `${accountText(report)}\n${table}\nPage ${page}, ${formatCount(limit, "entry", "entries")} at most, of ${total}.${more}`;
}

/** `fula-master billing history`: what a user paid and got. */
export const billingHistoryCommand = defineCommand<HistoryCommandOptions>({
  name: "history",
  summary: "an account's balance and entries",
  description:
    "Shows an account and its entries in the ledger, the newest first: fees, deposits, corrections with their reasons, " +
    "referral bonuses. Reads only.",
  examples: [
    { command: "fula-master billing history alice@example.com", explains: "the newest entries" },
    {
      command: "fula-master billing history alice@example.com --limit 100 --json",
      explains: "account and entries; nextCursor goes on where the page ends, whatever comes in meanwhile",
    },
  ],
  arguments: [{ name: "user", description: "an e-mail address or a user id", required: true }],
  options: [
    { flags: "--limit <count>", description: "entries a page, 100 at most", default: 20, parse: parseCount },
    { flags: "--page <number>", description: "which page, from 1 on", default: 1, parse: parseCount },
    { flags: "--cursor <text>", description: "go on after the page that printed it" },
  ],
  run: async (context, { page, limit, cursor }, [user = ""]) => {
    const { runHistory } = await import("../lib/stack/account-run.ts");
    const report = await runHistory(context, user, { page, limit, cursor: cursor ?? null });
    context.out.result(report, () => historyText(report, context.out));
  },
});
