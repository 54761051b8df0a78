import { InvalidArgumentError } from "commander";
import { formatCount } from "../lib/kernel/units.ts";
import type { ReconcileReport } from "../lib/stack/reconcile-run.ts";
import { type CommandContext, defineCommand } from "../lib/terminal/command.ts";

const LIMIT_MAX = 100_000;

function parseLimit(text: string): number {
  const limit = /^\d{1,6}$/.test(text) ? Number(text) : 0;
  if (limit >= 1 && limit <= LIMIT_MAX) return limit;
  throw new InvalidArgumentError(`It must be a whole number from 1 to ${LIMIT_MAX}.`);
}

function uncountedText({ uncounted: { withoutUser, unmeasured, overlong } }: ReconcileReport): readonly string[] {
  const reasons = [
    [withoutUser, "name no user"],
    [unmeasured, "have no known size"],
    [overlong, "have no CID but a longer text"],
  ] as const;
  const told = reasons.filter(([count]) => count > 0).map(([count, why]) => `${formatCount(count, "pin")} that ${why}`);
  return told.length === 0 ? [] : [`Pinned, and billed to nobody: ${told.join(", ")}.`];
}

function verdictText({ dryRun, accounts, differing, repaired }: ReconcileReport, repair: boolean): string {
  if (differing === 0)
    return `${formatCount(accounts, "account")} looked at; each stores what its pins and buckets add up to.`;
  if (repaired > 0) return `${formatCount(repaired, "account")} set right, from the open hour on.`;
  const what = `${formatCount(differing, "account")} of ${accounts} not billed by what pins and buckets add up to`;
  return repair && dryRun ? `${what}; --repair would set them right.` : `${what}; --repair sets them right.`;
}

function reportText(out: CommandContext["out"], report: ReconcileReport, repair: boolean): string {
  const { differences, differing } = report;
  const table = out.table(
    [
      { title: "USER" },
      { title: "KEPT", align: "right" },
      { title: "FOUND", align: "right" },
      { title: "HISTORY", align: "right" },
      { title: "CONTENTS", align: "right" },
    ],
    differences.map((account) => [
      account.userId ?? `account ${account.accountId}`,
      account.bytesKept,
      account.bytesFound,
      account.bytesInHistory,
      String(account.contents),
    ]),
  );
  return [
    ...(differences.length > 0 ? [table] : []),
    ...(differences.length < differing ? [`${differences.length} of ${differing}; --limit shows more.`] : []),
    verdictText(report, repair),
    ...uncountedText(report),
  ].join("\n");
}

/** `fula-master billing reconcile`: whether accounts are billed by what their pins and buckets add up to. */
export const billingReconcileCommand = defineCommand<{
  readonly repair?: boolean;
  readonly dryRun?: boolean;
  readonly limit: number;
}>({
  name: "reconcile",
  summary: "compare what accounts are billed by with their pins and buckets",
  description:
    "Reads every pin and bucket and adds them up, in one snapshot that holds up nobody, and lists the accounts for which something " +
    "else is kept: they differ where triggers were turned off, or tables were changed by hand. Exits 1 where any does. " +
    "With --repair it sets them right, one transaction each, and writes down who did it; past hours stay as they were " +
    "billed. Pins that are pinned and billed to nobody are counted. docs/billing-usage.md says what counts.",
  examples: [
    { command: "fula-master billing reconcile", explains: "exit code 0 = everybody is billed by what is pinned" },
    { command: "fula-master billing reconcile --repair --dry-run", explains: "what would be set right" },
    {
      command: "fula-master billing reconcile --json",
      explains: "ok, accounts, differing, repaired, differences with bytes as text, uncounted",
    },
  ],
  options: [
    { flags: "--repair", description: "set right what differs" },
    { flags: "--limit <count>", description: "accounts to list at most", default: 100, parse: parseLimit },
  ],
  changes: true,
  requires: "operator",
  onlyLooks: ({ repair = false }) => !repair,
  run: async (context, { repair = false, dryRun = false, limit }) => {
    const { runReconcile } = await import("../lib/stack/reconcile-run.ts");
    const report = await runReconcile(context, { repair, dryRun, limit });
    context.out.result(report, () => reportText(context.out, report, repair));
    return report.ok ? 0 : 1;
  },
});
