import { formatCount } from "../kernel/units.ts";
import type { LastLeave } from "./leave-journal.ts";
import type { LeavePlan, PlannedLeaveStep } from "./leave.ts";
import { NOT_TAKEN_TEXT } from "./plan.ts";

const TITLE_WIDTH = 16;

function stepLines({ title, state, why, changes }: PlannedLeaveStep): readonly string[] {
  if (state !== "todo") {
    return [`  ${state === "already" ? "=" : "-"} ${title.padEnd(TITLE_WIDTH)}${NOT_TAKEN_TEXT[state]}: ${why}`];
  }
  return [`  + ${title.padEnd(TITLE_WIDTH)}${why}`, ...changes.map((change) => `      ${change}`)];
}

function roleText({ role }: LeavePlan): string {
  return role === "storage" ? "storage node" : "master";
}

/** The plan as an operator reads it: `+` will be done, `=` is so already, `-` is left to the operator. */
export function renderLeavePlan(plan: LeavePlan): string {
  const { baseDir, name, steps, lastCopies } = plan;
  const copies =
    lastCopies === null
      ? []
      : [`Each of its ${formatCount(lastCopies.pins, "pin")} is held by another box too, or not by this one.`];
  const todo = steps.filter(({ state }) => state === "todo").length;
  return [
    `Take ${name}, the ${roleText(plan)} in ${baseDir}, out of service`,
    ...copies,
    "",
    ...steps.flatMap(stepLines),
    "",
    todo === 0 ? "Nothing is to be done." : `${todo} of ${steps.length} steps are to be done.`,
  ].join("\n");
}

/** Says that this run goes on with an earlier one. */
export function renderLeaveResume({ startedAt, stoppedAt }: LastLeave): string {
  const at = startedAt.replace(/\.\d+Z$/, "Z");
  return `Resuming the leave of ${at} that stopped ${stoppedAt === null ? "between two steps" : `at the step "${stoppedAt}"`}.`;
}

/** The closing screen. */
export function renderLeft(plan: LeavePlan, outcome: "left" | "already" | "purged"): string {
  const { baseDir, name, steps } = plan;
  const own = steps.filter(({ state }) => state === "left").map(({ title, why }) => `  ${title}: ${why}`);
  const rest = own.length === 0 ? [] : ["Left to you:", ...own];
  if (outcome === "purged") {
    return [
      `${name} is gone. What is left in ${baseDir} are its snapshots, if it had any, and the public key that they verify by.`,
      ...rest,
    ].join("\n");
  }
  const isOut = steps.some(({ id, state }) => id === "control-plane" && state !== "already");
  const back = isOut ? "fula-master join with a new token of another master" : "fula-master join";
  return [
    outcome === "already" ? `${name} has left already; nothing was changed.` : `${name} is out of service.`,
    `Its data is kept in ${baseDir}; ${back} brings it back, fula-master leave --purge removes it for good.`,
    ...rest,
  ].join("\n");
}
