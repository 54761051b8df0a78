import { formatCount } from "../kernel/units.ts";
import type { LedgerCheck, LedgerVerdict } from "./verify.ts";

/** How the words for a verdict are shown; identity where colours are off. */
export interface VerdictStyle {
  readonly good: (text: string) => string;
  readonly bad: (text: string) => string;
}

function checkLines({ name, ok, count, claim, examples, remedy }: LedgerCheck, style: VerdictStyle): readonly string[] {
  if (ok) return [`  ${style.good("ok ")}  ${name}: ${claim}`];
  const more = count > examples.length ? [`         … and ${count - examples.length} more`] : [];
  return [
    `  ${style.bad("BAD")}  ${name}: ${formatCount(count, "finding")} against "${claim}"`,
    ...examples.map((text) => `         ${text}`),
    ...more,
    `         Try: ${remedy}`,
  ];
}

/** The verdict on the ledger, a line a check. */
export function renderVerdict(verdict: LedgerVerdict, style: VerdictStyle): string {
  const { ok, checks, notLookedAt, looked, since, at } = verdict;
  const broken = checks.filter((check) => !check.ok).length;
  const what = [
    formatCount(looked.accounts, "account"),
    formatCount(looked.entries, "entry", "entries"),
    formatCount(looked.hours, "hour"),
  ].join(", ");
  const head = ok
    ? style.good(notLookedAt.length === 0 ? "The books are right." : "What was looked at is right.")
    : style.bad(`The books are NOT right: ${broken} of ${formatCount(checks.length, "check")} came out bad.`);
  return [
    head,
    `  ${what}${since === null ? "" : `, since ${since}`}, as they were at ${at}`,
    "",
    ...checks.flatMap((check) => checkLines(check, style)),
    ...(notLookedAt.length === 0
      ? []
      : ["", "Not looked at:", ...notLookedAt.map(({ name, because }) => `  ${name}: ${because}`)]),
  ].join("\n");
}
