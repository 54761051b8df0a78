import type { UnfinishedRun } from "./join-journal.ts";
import type { JoinSummary } from "./join-summary.ts";
import { type JoinPlan, NOT_TAKEN_TEXT, type PlannedStep } from "./plan.ts";
import type { CheckResult } from "./preflight.ts";
import { formatCount } from "../kernel/units.ts";

const TITLE_WIDTH = 24;

function stepLines({ title, state, why, changes }: PlannedStep): readonly string[] {
  if (state !== "todo") {
    return [`  ${state === "already" ? "=" : "-"} ${title.padEnd(TITLE_WIDTH)}${NOT_TAKEN_TEXT[state]}: ${why}`];
  }
  return [`  + ${title.padEnd(TITLE_WIDTH)}${why}`, ...changes.map((change) => `      ${change}`)];
}

/** The plan as an operator reads it: `+` will be done, `=` is so already, `-` is left to the operator. */
export function renderPlan(plan: JoinPlan, what = "Master"): string {
  const todo = plan.steps.filter((step) => step.state === "todo").length;
  const head = `${what} in ${plan.baseDir}, ${plan.runtime} (${plan.runtimeReason})`;
  const end = todo === 0 ? "Nothing is to be done." : `${todo} of ${plan.steps.length} steps are to be done.`;
  return [head, "", ...plan.steps.flatMap(stepLines), "", end].join("\n");
}

/** The warnings of the preflight, one line each; all findings with `all`. */
export function renderPreflight(results: readonly CheckResult[], all: boolean): readonly string[] {
  return results.flatMap((result) => {
    if (result.state === "warning") return [`${result.name}: ${result.message} ${capitalized(result.remedy)}`];
    return all ? [`${result.name}: ${result.message}`] : [];
  });
}

function capitalized(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}`;
}

/** Says that this run goes on with an earlier one. */
export function renderResume({ startedAt, stoppedAt, begun }: UnfinishedRun): string {
  const at = startedAt.replace(/\.\d+Z$/, "Z");
  if (stoppedAt === null) return `Resuming the run of ${at} that stopped before its first step.`;
  return `Resuming the run of ${at} that stopped ${begun ? "at" : "before"} the step "${stoppedAt}".`;
}

function scheduleLines({ schedules }: JoinSummary): readonly string[] {
  const lines = schedules.flatMap((schedule) => schedule.lines);
  const remarks = new Set(schedules.flatMap((schedule) => schedule.warnings));
  return [
    ...(remarks.size === 0 ? [] : ["", ...[...remarks].map((remark) => `  NOTE  ${remark}`)]),
    ...(lines.length === 0
      ? []
      : ["", "No schedule was installed. So that snapshots and sweeps happen, add with crontab -e:", ...lines]),
  ];
}

/** The closing screen. */
export function renderSummary(summary: JoinSummary, outcome: "joined" | "already"): string {
  const { nodeName, endpoints, region, paths, clusterId, keyId, lastSnapshot, lastDump, warnings, next } = summary;
  const snapshot =
    lastSnapshot === null
      ? "none yet"
      : `number ${lastSnapshot.sequence} of ${lastSnapshot.time}, ${formatCount(lastSnapshot.pinCount, "pin")}`;
  const facts: readonly (readonly [string, string])[] = [
    ["S3 endpoint", `${endpoints.gateway}  (region ${region}, path style)`],
    ["API", `${endpoints.api}  (/openapi.json)`],
    ["operations", `${endpoints.operations}  (/healthz, /readyz, /metrics)`],
    ["cluster", clusterId],
    ["settings", paths.configFile],
    ["secrets", `${paths.envFile}  (back this up, and ${paths.keysDir})`],
    ["snapshots", `${paths.snapshotsDir}  (last: ${snapshot})`],
    ["snapshot key", keyId ?? "none yet"],
    ...(lastDump === null ? [] : [["last dump", `${lastDump}  (pg_restore reads it)`] as const]),
    ["log", paths.serveLogFile],
  ];
  return [
    outcome === "already" ? `${nodeName} is a master already; nothing was changed.` : `${nodeName} is a master.`,
    "",
    ...facts.map(([name, value]) => `  ${name.padEnd(14)}${value}`),
    ...(warnings.length === 0
      ? []
      : ["", ...warnings.map(({ message, remedy }) => `  WARNING  ${message}\n           Try: ${remedy}`)]),
    ...scheduleLines(summary),
    "",
    "Try next:",
    ...next.flatMap(({ command, explains }) => [`  # ${explains}`, `  ${command}`]),
  ].join("\n");
}
