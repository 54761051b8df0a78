import { defineCommand } from "../lib/terminal/command.ts";
import { ledgerContext } from "./failover-talk.ts";

interface ResyncOptions {
  readonly explain?: boolean;
  readonly allow?: string;
  readonly dryRun?: boolean;
  readonly yes?: boolean;
  readonly scheduleRoot?: string;
}

/** Ways that change nothing which is there. */
const HARMLESS: ReadonlySet<string> = new Set(["zero_gap", "catchup"]);

/** `fula-master resync`: bring this box's server of the ledger back. */
export const resyncCommand = defineCommand<ResyncOptions>({
  name: "resync",
  summary: "bring this master's server of the ledger back after it was away",
  description:
    "Run on the box that was away, when the ledger's primary is elsewhere: looks at both servers, proves which way back is " +
    "safe, and takes the cheapest: stream what is missing, set surplus log aside, rewind, restore a base backup, copy anew. " +
    "What this box alone had is kept first. Then checks that the whole master is back: services, pin queue, peers, control " +
    "plane, snapshots; exits 1 where something is not. Run again, it goes on after whatever ended it.",
  examples: [
    { command: "fula-master resync --dry-run --explain", explains: "how it would come back, and the proof in words" },
    { command: "fula-master resync", explains: "do it; asks before data are replaced" },
    { command: "fula-master resync --allow truncate,rewind", explains: "rather stop than copy everything" },
    {
      command: "fula-master resync --yes --json",
      explains: "outcome, plan, settles, rungs, keptOldData, durationMs, events, checks",
    },
  ],
  options: [
    { flags: "--explain", description: "say what was compared, and why no cheaper way will do" },
    {
      flags: "--allow <ways>",
      description: "ways beside streaming that may be taken, of truncate, rewind, rebuild (default: all)",
    },
    { flags: "--schedule-root <dir>", description: "look for timers below this directory instead of /" },
  ],
  changes: true,
  asks: true,
  requires: "operator",
  awaitsElection: true,
  run: async (context, { explain = false, allow, dryRun = false, yes = false, scheduleRoot = "/" }) => {
    const { resync, planResyncRun } = await import("../lib/stack/resync-run.ts");
    const { parseAllowed } = await import("../lib/stack/resync-rungs.ts");
    const { renderPlan, renderResync } = await import("../lib/stack/resync-text.ts");
    const { out } = context;
    const given = await ledgerContext(context);
    const allowed = parseAllowed(allow);
    if (dryRun) {
      const planned = await planResyncRun(given);
      out.result({ ...planned, checks: null }, () => renderResync(planned, explain));
      return planned.plan.rung === "halt" ? 3 : 0;
    }
    const report = await resync(given, {
      allowed,
      onProgress: (line) => out.detail(line),
      confirm: async (plan) => {
        out.note(renderPlan(plan, explain));
        if (HARMLESS.has(plan.rung)) return;
        await out.confirm(`Replace what ${plan.node} has by what ${plan.primary} has?`, yes);
      },
    });
    const { checkOwnState } = await import("../lib/stack/resync-checks.ts");
    const { renderDoctor } = await import("../lib/stack/doctor-text.ts");
    const checks = await checkOwnState(given, scheduleRoot);
    const style = { good: out.style.green, attention: out.style.yellow, bad: out.style.red };
    out.result({ ...report, checks }, () => `${renderResync(report, false)}\n\n${renderDoctor(checks, style)}`);
    return checks.healthy ? 0 : 1;
  },
});
