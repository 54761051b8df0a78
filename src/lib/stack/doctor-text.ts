import { formatCount } from "../kernel/units.ts";
import type { DoctorReport, DoctorResult } from "./doctor.ts";
import type { StatusStyle } from "./status-text.ts";

const MARKS: Readonly<Record<DoctorResult["verdict"], string>> = {
  ok: "ok",
  warning: "look",
  failed: "BAD",
  skipped: "-",
};

const NAME_WIDTH = 15;
const INDENT = " ".repeat(2 + 5 + NAME_WIDTH);

function styled(verdict: DoctorResult["verdict"], style: StatusStyle): string {
  const mark = MARKS[verdict].padEnd(5);
  if (verdict === "failed") return style.bad(mark);
  if (verdict === "warning") return style.attention(mark);
  return verdict === "ok" ? style.good(mark) : mark;
}

function linesOf({ name, verdict, message, remedy }: DoctorResult, style: StatusStyle): readonly string[] {
  const [first = "", ...more] = message.split("\n");
  return [
    `  ${styled(verdict, style)}${name.padEnd(NAME_WIDTH)}${first}`,
    ...more.map((line) => `${INDENT}${line}`),
    ...(remedy === null ? [] : [`${INDENT}Try: ${remedy}`]),
  ];
}

function capitalized(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}`;
}

/** The report, one check a line; every failure and every doubt with what to do. */
export function renderDoctor({ baseDir, counts, checks, healthy }: DoctorReport, style: StatusStyle): string {
  const parts = [
    counts.failed === 0 ? "nothing failed" : `${formatCount(counts.failed, "check")} failed`,
    ...(counts.warning === 0 ? [] : [`${counts.warning} to look at`]),
    ...(counts.skipped === 0 ? [] : [`${counts.skipped} left out`]),
    `${counts.ok} ok`,
  ];
  const end = capitalized(`${parts.join(", ")}.`);
  return [
    `Checks of ${baseDir}`,
    "",
    ...checks.flatMap((check) => linesOf(check, style)),
    "",
    healthy ? style.good(end) : style.bad(end),
  ].join("\n");
}
