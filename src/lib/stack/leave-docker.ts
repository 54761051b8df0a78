import { FulaError } from "../kernel/errors.ts";
import type { RunStep } from "./join-step.ts";
import type { LeaveBox } from "./leave-box.ts";
import type { LeaveStepId } from "./leave-journal.ts";

/** Stops the containers of this box, or removes them with their volumes. */
export function containersStep({ name }: LeaveBox): RunStep<LeaveStepId> {
  throw new FulaError("FULA_RUNTIME_UNSUPPORTED", `leave does not stop the containers of ${name} yet.`, {
    hint: `docker compose -p ${name} stop`,
  });
}
