import { InvalidArgumentError } from "commander";
import { type CommandContext, defineCommand } from "../lib/terminal/command.ts";
import type { ScanLine } from "../lib/stack/deposit-run.ts";

function parseBlock(text: string): bigint {
  if (/^\d{1,15}$/.test(text)) return BigInt(text);
  throw new InvalidArgumentError("It must be a block's number.");
}

function tableOf(out: CommandContext["out"], chains: readonly ScanLine[]): string {
  const table = out.table(
    [
      { title: "CHAIN" },
      { title: "STATE" },
      { title: "HEAD", align: "right" },
      { title: "SETTLED TO", align: "right" },
      { title: "FOUND", align: "right" },
      { title: "CREDITED", align: "right" },
      { title: "FULA", align: "right" },
    ],
    chains.map((chain) => [
      chain.name,
      chain.state,
      chain.head ?? "-",
      chain.settledBlock ?? "-",
      String(chain.found),
      String(chain.credited),
      chain.creditedFula,
    ]),
  );
  const problems = chains.flatMap(({ name, problem }) => (problem === null ? [] : [`${name}: ${problem}`]));
  return [table, ...problems].join("\n");
}

/** `fula-master billing scan`: one look for deposits. */
export const billingScanCommand = defineCommand<{
  readonly chain?: string;
  readonly from?: bigint;
  readonly dryRun?: boolean;
}>({
  name: "scan",
  summary: "look for deposits, now",
  description:
    "Looks at every chain that has an endpoint, records what was sent to the vault, and credits what is deep enough and " +
    "whose sender has linked his wallet. serve does the same by itself. With --from it also reads again what is settled, " +
    "and credits what is missing. Exits 4 where a chain's endpoints did not answer, 1 where a chain stands still or " +
    "something could not be settled.",
  examples: [
    { command: "fula-master billing scan", explains: "all chains" },
    { command: "fula-master billing scan --chain base --from 40480508", explains: "what is settled there, once more" },
    { command: "fula-master billing scan --dry-run", explains: "which chains would be looked at" },
  ],
  options: [
    { flags: "--chain <name>", description: "this chain alone, by name or chain id" },
    { flags: "--from <block>", description: "read again what is settled, from this block on", parse: parseBlock },
  ],
  changes: true,
  run: async (context, { chain, from, dryRun = false }) => {
    const { runDepositScan } = await import("../lib/stack/deposit-run.ts");
    const report = await runDepositScan(context, {
      chain: chain ?? null,
      from: from ?? null,
      dryRun,
    });
    context.out.result(report, () => tableOf(context.out, report.chains));
    if (report.chains.some(({ state }) => state === "failed")) return 4;
    return !dryRun && report.chains.some(({ state }) => state === "halted" || state === "degraded") ? 1 : 0;
  },
});
