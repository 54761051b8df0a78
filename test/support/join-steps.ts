import type { StepId } from "../../src/lib/stack/plan.ts";

/** The steps of a master that has everything on the box itself, in their order. */
export const EMBEDDED_STEPS: readonly StepId[] = [
  "directories",
  "settings",
  "secrets",
  "signing-key",
  "postgres",
  "migrations",
  "stores",
  "control-plane",
  "snapshot",
  "serve",
  "schedules",
];
