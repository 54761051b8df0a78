import { formatBytes, formatCount, formatDuration } from "../kernel/units.ts";
import type { Part, PartState, StatusReport } from "./status.ts";

/** How the words for a state are shown; identity where colours are off. */
export interface StatusStyle {
  readonly good: (text: string) => string;
  readonly attention: (text: string) => string;
  readonly bad: (text: string) => string;
}

const MARKS: Readonly<Record<PartState, string>> = { ok: "ok", attention: "look", bad: "BAD" };

interface Line {
  readonly name: string;
  readonly part: Part;
  readonly facts: string;
}

function ago(ageMs: number | null): string {
  if (ageMs === null) return "";
  return ageMs < 0 ? "dated in the future" : `${formatDuration(ageMs)} ago`;
}

function sweepFacts(sweep: NonNullable<StatusReport["sweep"]>): string {
  if (sweep.time === null) return "not yet";
  return `${ago(sweep.ageMs)}, ${sweep.outcome ?? "unknown"}: ${sweep.pins === null ? "? pins" : formatCount(sweep.pins, "pin")}, ${sweep.below ?? "?"} held by too few`;
}

function linesOf(report: StatusReport): readonly Line[] {
  const { serve, ledger, pins, disk, snapshot, sweep, schedules, key } = report;
  const lines: Line[] = [];
  const add = (name: string, part: Part | null, facts: string): void => {
    if (part !== null) lines.push({ name, part, facts });
  };
  add("serve", serve, serve?.pid === null ? "stopped" : `process ${serve?.pid} since ${serve?.since}`);
  add(
    "ledger",
    ledger,
    ledger?.serverVersion === null || ledger === null
      ? ""
      : `PostgreSQL ${ledger.serverVersion} (${ledger.mode}), schema ${ledger.schemaVersion ?? "none"}`,
  );
  add("pins", pins, pins?.count === null ? "not counted" : `${pins?.count}`);
  add(
    "disk",
    disk,
    disk === null || disk.freeBytes === null || disk.totalBytes === null
      ? ""
      : `${formatBytes(disk.freeBytes)} of ${formatBytes(disk.totalBytes)} free`,
  );
  add(
    "snapshot",
    snapshot,
    snapshot === null || snapshot.sequence === null || snapshot.pinCount === null
      ? "none"
      : `number ${snapshot.sequence}, ${ago(snapshot.ageMs)}, ${formatCount(snapshot.pinCount, "pin")}`,
  );
  add("sweep", sweep, sweep === null ? "" : sweepFacts(sweep));
  add("schedules", schedules, schedules?.jobs.map(({ kind, state }) => `${kind} ${state}`).join(", ") ?? "");
  add("key", key, key?.keyId ?? "none");
  return lines;
}

function styled(state: PartState, style: StatusStyle): string {
  const mark = MARKS[state].padEnd(5);
  if (state === "bad") return style.bad(mark);
  return state === "attention" ? style.attention(mark) : style.good(mark);
}

/** The status on one screen. */
export function renderStatus(report: StatusReport, style: StatusStyle): string {
  const { node, serve, baseDir, healthy, warnings } = report;
  if (node === null) {
    return `Not joined: ${baseDir} holds no master.\n  Try: fula-master join`;
  }
  const parts = linesOf(report).flatMap(({ name, part, facts }) => {
    const line = `  ${name.padEnd(10)} ${styled(part.state, style)} ${facts}`.trimEnd();
    return part.problem === null ? [line] : [line, `                   ${part.problem}`];
  });
  const checks = (serve?.checks ?? []).map(({ name, state }) => `${name} ${state}`).join(", ");
  return [
    `${node.name}: ${healthy ? style.good("healthy") : style.bad("UNHEALTHY")} ${node.role}, ${node.runtime}, cluster ${node.clusterId}`,
    "",
    ...parts,
    "",
    `  S3          ${serve?.endpoints.gateway ?? ""}`,
    `  operations  ${serve?.endpoints.operations ?? ""}${checks === "" ? "" : `  (${checks})`}`,
    `  base dir    ${baseDir}`,
    ...(warnings.length === 0
      ? []
      : ["", ...warnings.map(({ message, remedy }) => `  WARNING  ${message}\n           Try: ${remedy}`)]),
  ].join("\n");
}
