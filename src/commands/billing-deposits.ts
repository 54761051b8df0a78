import { InvalidArgumentError } from "commander";
import type { DepositState } from "../lib/billing/deposit-match.ts";
import { defineCommand } from "../lib/terminal/command.ts";

const LIMIT_MAX = 10_000;

function parseLimit(text: string): number {
  const limit = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  if (limit >= 1 && limit <= LIMIT_MAX) return limit;
  throw new InvalidArgumentError(`It must be a whole number from 1 to ${LIMIT_MAX}.`);
}

/** `fula-master billing deposits`: what was sent to the vault. */
export const billingDepositsCommand = defineCommand<{
  readonly state?: DepositState;
  readonly user?: string;
  readonly chain?: string;
  readonly limit: number;
}>({
  name: "deposits",
  summary: "list what was sent to the vault, and what became of it",
  description:
    "Lists recorded transfers to the vault, the newest first: waiting for confirmations, unclaimed because nobody has " +
    "linked the sender's wallet, credited, dust, orphaned because their block is gone, refused by the ledger, or taken back. Reads only.",
  examples: [
    { command: "fula-master billing deposits --state unclaimed", explains: "whose sender nobody knows" },
    { command: "fula-master billing deposits --user ada@example.com", explains: "of one user, and of his wallets" },
    { command: "fula-master billing deposits --json", explains: "deposits with amounts as text; total" },
  ],
  options: [
    {
      flags: "--state <state>",
      description: "in this state alone",
      choices: ["waiting", "unclaimed", "credited", "dust", "orphaned", "refused", "reversed"],
    },
    { flags: "--user <user>", description: "of this user: an e-mail address or a user id" },
    { flags: "--chain <name>", description: "on this chain alone, by name or chain id" },
    { flags: "--limit <count>", description: "deposits at most", default: 50, parse: parseLimit },
  ],
  run: async (context, { state, user, chain, limit }) => {
    const { runDeposits } = await import("../lib/stack/deposit-run.ts");
    const question = { state: state ?? null, user: user ?? null, chain: chain ?? null, limit };
    const report = await runDeposits(context, question);
    const { deposits, total } = report;
    context.out.result(report, () => {
      if (total === 0) return "No such deposit is recorded.";
      const table = context.out.table(
        [
          { title: "CHAIN", align: "right" },
          { title: "BLOCK", align: "right" },
          { title: "TRANSACTION" },
          { title: "LOG", align: "right" },
          { title: "FULA", align: "right" },
          { title: "STATE" },
          { title: "USER" },
        ],
        deposits.map((deposit) => [
          String(deposit.chainId),
          deposit.block,
          deposit.txHash,
          String(deposit.logIndex),
          deposit.amount,
          deposit.note === null ? deposit.state : `${deposit.state} (${deposit.note})`,
          deposit.userId?.slice(0, 12) ?? "-",
        ]),
      );
      return deposits.length < total ? `${table}\n${deposits.length} of ${total}; --limit shows more.` : table;
    });
  },
});
