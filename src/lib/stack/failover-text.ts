import type { FailoverReport } from "../failover/execute-failover.ts";
import type { FailoverCheck, MissingContent } from "../failover/failover-ports.ts";
import { missingOf } from "../failover/missing-contents.ts";
import { FAILOVER_STEPS } from "../failover/failover-steps.ts";
import { FAILOVER_ACTIONS } from "../failover/failover-states.ts";
import { formatDuration } from "../kernel/units.ts";
import type { FailoverPlan } from "./failover-run.ts";
import type { FailoverStatus } from "./failover-status.ts";

const MISSING_SHOWN = 20;
const MARKS = { ok: "ok  ", attention: "look", bad: "BAD " } as const;

function checkLines(checks: readonly FailoverCheck[]): readonly string[] {
  return checks.map(({ state, seen }) => `  ${MARKS[state]}  ${seen}`);
}

function titleOf(action: string): string {
  const known = FAILOVER_ACTIONS.find((each) => each === action);
  return known === undefined ? action : FAILOVER_STEPS[known].title;
}

/** Renders what a run is about to do. */
export function renderFailoverSteps(plan: FailoverPlan): string {
  const { kind, from, to, epoch, checks, steps, consequences, resumes } = plan;
  const what = kind === "failover" ? "Failover" : "Switchover";
  return [
    `${what} of the ledger from ${from} to ${to ?? "the standby with the most of its log"}, ending epoch ${epoch.number}.`,
    ...(resumes === null ? [] : [`It goes on with the run of ${resumes.startedAt}, which is at “${resumes.step}”.`]),
    "",
    "Checks:",
    ...checkLines(checks),
    "",
    "Steps:",
    ...steps.map(({ title, because }, index) => `  ${String(index + 1).padStart(2)}  ${title}: ${because}`),
    "",
    "Consequences:",
    ...consequences.map((line) => `  -  ${line}`),
  ].join("\n");
}

/** Renders what a run would do that was only asked about. */
export function renderFailoverPlan(plan: FailoverPlan): string {
  const { isPossible, command, confirmation } = plan;
  const end = isPossible
    ? `Nothing was changed. To do it: ${command} (it asks for ${confirmation}).`
    : "Nothing was changed, and it would be refused as things stand.";
  return `${renderFailoverSteps(plan)}\n\n${end}`;
}

/** Renders what a run came to. */
export function renderFailoverReport({
  report,
  journal,
}: {
  readonly report: FailoverReport;
  readonly journal: string;
}): string {
  const { outcome, run, primary, address, epoch, steps, checks, loss, raisedToWrittenMs } = report;
  const place = address === null ? primary : `${primary} (${address})`;
  const head =
    outcome === "aborted"
      ? `Aborted: ${run.from} has its right back under epoch ${epoch.number}; it takes it as soon as its serve runs.`
      : `Done: ${place} is the primary of epoch ${epoch.number}.`;
  const width = Math.max(0, ...steps.map(({ title }) => title.length));
  return [
    head,
    ...(loss === null ? [] : [lossText(loss)]),
    ...(raisedToWrittenMs === null
      ? []
      : [`From the raising of the epoch to a write of the new one: ${raisedToWrittenMs} ms.`]),
    "",
    ...steps.map(
      ({ title, durationMs, seen }) => `  ${title.padEnd(width)}  ${formatDuration(durationMs).padStart(8)}  ${seen}`,
    ),
    ...(checks.length === 0 ? [] : ["", "Tried on the new master:", ...checkLines(checks)]),
    ...missingLines(missingOf(checks)),
    "",
    `Journal: ${journal}`,
    ...(outcome === "done"
      ? [`${run.from} comes back as a standby by itself where it stopped in order, else by fula-master resync there.`]
      : []),
  ].join("\n");
}

function lossText({ lossless, knownBytes }: NonNullable<FailoverReport["loss"]>): string {
  if (lossless) {
    return "No acknowledged write is lost. A write without an answer may or may not be there: whoever made it asks, or makes it again under the same key.";
  }
  return `Acknowledged writes may be lost: ${knownBytes} bytes of log are known that the new primary does not have, and there may be more on servers that said nothing. fula-master resync on the old master keeps them aside.`;
}

const ATTESTED = {
  "standby-detached": "detached at",
  "primary-stopped": "stopped at",
  "primary-halted": "ended without order, after its checkpoint at",
} as const;

function epochText({ epoch }: FailoverStatus): string {
  if (epoch === null) return "The ledger has one server, and no epochs.";
  const { number, phase, primary, syncSet, syncNeeded } = epoch;
  const sync = syncNeeded === 0 ? "waits for no standby" : `commits wait for ${syncNeeded} of ${syncSet.join(", ")}`;
  return `Epoch ${number} is ${phase}; primary ${primary}; ${sync}.`;
}

function missingLines(missing: readonly MissingContent[]): readonly string[] {
  if (missing.length === 0) return [];
  const shown = missing.slice(0, MISSING_SHOWN).map(({ cid, name, why }) => `  ${name} ${cid}: ${why}`);
  const more = missing.length - shown.length;
  return ["On no box that answers:", ...shown, ...(more > 0 ? [`  and ${more} more; --json has all of them`] : [])];
}

/** Renders how a run stands. */
export function renderFailoverStatus(status: FailoverStatus): string {
  const { run, next, left, attested, attestationsNeeded, steps, missing, advice } = status;
  const runLine =
    run === null
      ? "There was no failover yet."
      : `${run.kind} from ${run.from} to ${run.to ?? "the best standby"}: ${run.state}, at “${run.step}”; begun ${run.startedAt} by ${run.operator} on ${run.owner}.`;
  return [
    epochText(status),
    runLine,
    ...attested.map(({ node, what, receivedLsn }) => `  ${node}: ${ATTESTED[what]} ${receivedLsn}`),
    ...(attestationsNeeded === null ? [] : [`  ${attestationsNeeded} of the synchronous standbys have to detach.`]),
    ...steps.map(
      ({ at, action, outcome, durationMs, seen }) =>
        `  ${at}  ${outcome === "verified" ? "ok " : "BAD"}  ${titleOf(action)}${durationMs === null ? "" : ` (${formatDuration(durationMs)})`}: ${seen}`,
    ),
    ...missingLines(missing),
    ...(next === null ? [] : [`Next: ${next.title}: ${next.because}. ${left.length} steps are left.`]),
    advice,
  ].join("\n");
}
