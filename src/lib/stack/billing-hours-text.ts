import { formatCount } from "../kernel/units.ts";
import type { HoursReport, ModeReport } from "./billing-hours-run.ts";

function lineOf({ hour, users, sumFula }: HoursReport["hours"][number]): string {
  return users === null ? `  ${hour}` : `  ${hour}  ${formatCount(users, "account")}, ${sumFula ?? "0"} FULA`;
}

/** Hours that were, or would be, dealt with. @param verb what is done with them, as in `billed` */
export function hoursText({ dryRun, hours, waitingFor }: HoursReport, verb: string): string {
  const what = formatCount(hours.length, "hour");
  const head =
    hours.length === 0 ? `No hour is to be ${verb}.` : dryRun ? `Would have ${what} ${verb}:` : `${what} ${verb}:`;
  const waits = waitingFor === null ? [] : [`Left to do: ${waitingFor}.`];
  return [head, ...hours.map(lineOf), ...waits].join("\n");
}

const MODES = {
  keyed: "by the hour's key: one fee an hour and account, whoever charges",
  unkeyed: "without keys: one fee a run",
} as const;

/** How the ledger is billed. @param wanted what it is, or would be, changed to; null where it is only shown */
export function modeText(
  { dryRun, mode, firstHour, changedAt, changedBy, setting }: ModeReport,
  wanted: "keyed" | "unkeyed" | null,
): string {
  const is = mode === null ? "Nobody has billed this ledger yet." : `This ledger is billed ${MODES[mode]}.`;
  const since =
    mode === null ? [] : [`  from ${firstHour ?? "?"} on; written by ${changedBy ?? "?"} at ${changedAt ?? "?"}`];
  const would = wanted === null || !dryRun || wanted === mode ? [] : [`Would bill it ${MODES[wanted]}.`];
  const after = wanted ?? mode;
  const differs = after !== null && after !== setting;
  const hint = `BILLING_IDEMPOTENCY of this master says ${setting}: fula-master config set billing.idempotency ${after === "keyed" ? "true" : "false"}`;
  return [is, ...since, ...would, ...(differs ? [hint] : [])].join("\n");
}
