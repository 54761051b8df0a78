import { formatCount } from "../lib/kernel/units.ts";
import type { SyncReport } from "../lib/stack/membership-sync.ts";
import { type CommandContext, defineCommand } from "../lib/terminal/command.ts";

interface SyncCommandOptions {
  readonly forgetOld?: boolean;
  readonly dryRun?: boolean;
}

function doneLines({ dryRun, changed, restarted, resealed }: SyncReport): readonly string[] {
  const rows = resealed?.resealed ?? 0;
  return [
    changed.length === 0
      ? "Already so: this box has the newest secrets."
      : `${dryRun ? "Would change" : "Changed"} ${changed.join(", ")}.`,
    ...(restarted?.serve === "restarted" ? ["Restarted serve."] : []),
    ...(rows === 0 ? [] : [`Sealed ${formatCount(rows, "row")} of the ledger anew.`]),
  ];
}

function syncText(report: SyncReport, { out }: CommandContext): string {
  const table = out.table(
    [
      { title: "POOL" },
      { title: "NEWEST", align: "right" },
      { title: "IN USE", align: "right" },
      { title: "WAITING FOR" },
    ],
    report.pools.map(({ pool, epoch, inUse, waitingFor }) => [
      pool,
      epoch === null ? "-" : String(epoch),
      inUse === null ? "-" : String(inUse),
      waitingFor.length === 0 ? "-" : waitingFor.join(", "),
    ]),
  );
  const next = report.next.length === 0 ? [] : [`Next:\n${report.next.map((line) => `  ${line}`).join("\n")}`];
  return [doneLines(report).join("\n"), table, ...next].join("\n\n");
}

/** `fula-master membership sync`: this box takes up the newest secrets. */
export const membershipSyncCommand = defineCommand<SyncCommandOptions>({
  name: "sync",
  summary: "take up the newest secrets of the federation",
  description:
    "Brings this box's working copy of the shared secrets (.env, and the control plane's authority in keys/) up to the " +
    "newest epochs, restarts what works with them, and writes down that it has. Needed on every master after a rekey; a " +
    "master goes on reading older secrets until --forget-old. Killed anywhere, it can be run again.",
  examples: [
    { command: "fula-master membership sync --dry-run", explains: "what this box lags behind in" },
    { command: "fula-master membership sync", explains: "take the newest secrets up" },
    {
      command: "fula-master membership sync --forget-old",
      explains: "once every master has: tokens and sessions under older secrets end",
    },
    {
      command: "fula-master membership sync --json",
      explains: "dryRun, pools, changed, restarted, resealed and next",
    },
  ],
  options: [{ flags: "--forget-old", description: "take older secrets of the masters out of this box" }],
  changes: true,
  run: async (context, { forgetOld = false, dryRun = false }) => {
    const { syncMembership } = await import("../lib/stack/membership-sync.ts");
    const report = await syncMembership(context, {
      dryRun,
      forgetOld,
      report: (text) => context.out.note(text),
    });
    context.out.result(report, () => syncText(report, context));
    const unopened = report.resealed?.unopened ?? 0;
    if (unopened === 0) return 0;
    context.out.warn(
      `${formatCount(unopened, "row")} of the ledger are sealed under a key that this box does not know; membership key list masters shows which epochs it lacks.`,
    );
    return 1;
  },
});
