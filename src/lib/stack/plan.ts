import type { Runtime } from "./join-runtime.ts";

/** The steps of `join`, in the order they are taken; which of them a master has depends on where its services run. */
export const STEP_IDS = [
  "directories",
  "token",
  "settings",
  "secrets",
  "signing-key",
  "control-plane-keys",
  "images",
  "compose",
  "containers",
  "postgres",
  "migrations",
  "stores",
  "control-plane",
  "trust",
  "control-plane-servers",
  "verify",
  "snapshot",
  "serve",
  "schedules",
] as const;

/** Names one step of `join` in the plan, in the journal and in messages. */
export type StepId = (typeof STEP_IDS)[number];

/**
 * What one step found when it looked at the box: what is to do, that it is so already, or that it is left to the
 * operator because nothing here can do it.
 */
export interface Assessment {
  readonly state: "todo" | "already" | "left";
  /** What will be written or started; empty where nothing is. */
  readonly changes: readonly string[];
  readonly why: string;
}

/** One line of the plan; `--json` prints it as it is. */
export interface PlannedStep extends Assessment {
  readonly id: StepId;
  readonly title: string;
}

/** What `join` would do to this box, and why. */
export interface JoinPlan {
  readonly baseDir: string;
  readonly runtime: Runtime;
  /** Why this runtime was taken. */
  readonly runtimeReason: string;
  readonly steps: readonly PlannedStep[];
}

/** An answer of a step that has nothing to do. */
export function already(why: string): Assessment {
  return { state: "already", changes: [], why };
}

/** An answer of a step that has something to do. */
export function todo(why: string, changes: readonly string[]): Assessment {
  return { state: "todo", changes, why };
}

/** An answer of a step that an operator has to take. */
export function left(why: string): Assessment {
  return { state: "left", changes: [], why };
}

/** How the state of a step that is not taken is put into words. */
export const NOT_TAKEN_TEXT = { already: "already so", left: "left to you" } as const;

/** True where no step has anything to do. */
export function isDone(plan: JoinPlan): boolean {
  return plan.steps.every((step) => step.state !== "todo");
}
