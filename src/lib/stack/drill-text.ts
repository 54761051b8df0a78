import { formatDuration } from "../kernel/units.ts";
import type { Drill, DrillOutcome } from "./drill.ts";
import type { DrillReport, DrillRunReport, PlannedDrill } from "./drill-run.ts";

const MARKS: Readonly<Record<DrillOutcome, string>> = { passed: "ok  ", failed: "FAIL", "not-run": "-   " };

/** One line for `drill list`: id, title, and what it disturbs. */
export function listingLine({ id, title, disturbs }: Drill): string {
  return `${id}  ${title}${disturbs === null ? "" : `\n    disturbs: ${disturbs}`}`;
}

/** What a run would do, as `--dry-run` prints it. */
export function planLines(planned: readonly PlannedDrill[]): readonly string[] {
  return planned.flatMap(({ drill, because }) => [
    `${because === null ? "+" : "-"} ${drill.id}  ${drill.title}`,
    ...(because === null ? drill.claims.map((claim) => `      ${claim}`) : [`      not run: ${because}`]),
  ]);
}

function drillLines({ id, title, outcome, because, assertions, durationMs }: DrillReport): readonly string[] {
  if (because !== null) return [`${id}  ${title}`, `    -     not run: ${because}`];
  return [
    `${id}  ${title}: ${outcome} (${formatDuration(durationMs)})`,
    ...assertions.flatMap((assertion) => [
      `    ${MARKS[assertion.outcome]}  ${assertion.claim}`,
      `          ${assertion.evidence}`,
    ]),
  ];
}

/** What a run found, line by line. */
export function runLines({ drills, passed, failed, notRun, leftBehind, ok }: DrillRunReport): readonly string[] {
  return [
    ...drills.flatMap(drillLines),
    "",
    ...leftBehind.map((left) => `LEFT BEHIND  ${left}`),
    `${passed} passed, ${failed} failed, ${notRun} not run: ${ok ? "good" : "NOT GOOD"}.`,
  ];
}
