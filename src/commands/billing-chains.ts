import { defineCommand } from "../lib/terminal/command.ts";

const resumeCommand = defineCommand<{
  readonly reason?: string;
  readonly operator?: string;
  readonly dryRun?: boolean;
}>({
  name: "resume",
  summary: "look at a chain again that stands still",
  description:
    "Lets a chain be looked at again after a reorganisation that went too deep, or after credited deposits were gone from " +
    "it. It is looked through from its start block on. Balances stay: what is gone is taken back with billing reverse. " +
    "docs/deposits.md says what to look at first.",
  examples: [
    {
      command: 'fula-master billing chains resume base --reason "endpoint was on a fork; replaced"',
      explains: "after you have looked at what it stopped for",
    },
  ],
  arguments: [{ name: "chain", description: "its name, or chain id", required: true }],
  options: [
    { flags: "--reason <text>", description: "why; it is written into the audit log" },
    { flags: "--operator <name>", description: "who decided it" },
  ],
  changes: true,
  requires: "operator",
  run: async (context, { reason, operator, dryRun = false }, [chain = ""]) => {
    const { runChainResume } = await import("../lib/stack/deposit-run.ts");
    const resumed = await runChainResume(context, chain, { reason, operator }, dryRun);
    context.out.result(resumed, () => {
      const done = `${dryRun ? "Would resume" : "Resumed"} ${resumed.chain}, which stood still because of ${resumed.haltedBecause}.`;
      const lost = resumed.lost.map(
        (reference) => `  fula-master billing reverse ${reference} --reason "gone from the chain"`,
      );
      return lost.length === 0 ? done : [done, "Credited, and gone from the chain:", ...lost].join("\n");
    });
  },
});

/** `fula-master billing chains`: how far each chain was looked through. */
export const billingChainsCommand = defineCommand({
  name: "chains",
  summary: "how far each chain was looked through for deposits",
  description:
    "Lists the chains of the settings: up to which block each was looked through and settled, when, and what is in the " +
    "way. Endpoints are counted and not shown. Reads only.",
  examples: [
    { command: "fula-master billing chains", explains: "which are on, and how far they are" },
    { command: "fula-master billing chains --json", explains: "chains, each with its blocks, errors and reasons" },
  ],
  subcommands: [resumeCommand],
  run: async (context) => {
    const { runChains } = await import("../lib/stack/deposit-run.ts");
    const chains = await runChains(context);
    context.out.result({ chains }, () =>
      context.out.table(
        [
          { title: "CHAIN" },
          { title: "ID", align: "right" },
          { title: "SEEN TO", align: "right" },
          { title: "SETTLED TO", align: "right" },
          { title: "LAST LOOK (UTC)" },
          { title: "STANDS" },
        ],
        chains.map((chain) => [
          chain.name,
          String(chain.chainId),
          chain.scannedBlock ?? "-",
          chain.settledBlock ?? "-",
          chain.lastScanAt?.slice(0, 16).replace("T", " ") ?? "-",
          chain.offBecause ?? chain.haltedBecause ?? chain.lastError ?? "well",
        ]),
      ),
    );
  },
});
