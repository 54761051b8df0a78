import type { ControlPlaneAdapter } from "./adapters.ts";
import type { RecoveryEngine } from "./engine.ts";
import type { AssignmentIntent, AssignmentResult } from "./types.ts";

/** Hands the control plane's intents to the engine, each with fresh session ids, until the signal is given. */
export async function followAssignments(
  engine: RecoveryEngine,
  controlPlane: ControlPlaneAdapter,
  options: {
    readonly signal: AbortSignal;
    /** Is told what became of each intent, before the next one is taken. */
    readonly onAssigned: (result: AssignmentResult, intent: AssignmentIntent) => Promise<void>;
  },
): Promise<void> {
  for await (const intent of controlPlane.intents(options.signal)) {
    await options.onAssigned(await assignFrom(engine, controlPlane, intent), intent);
  }
}

async function assignFrom(
  engine: RecoveryEngine,
  controlPlane: ControlPlaneAdapter,
  intent: AssignmentIntent,
): Promise<AssignmentResult> {
  const replicas = [...intent.recoveryTargets.keys()];
  const ids = replicas.length === 0 ? [] : await controlPlane.newSessionIds(replicas.length);
  return engine.assign(intent, new Map(ids.map((id, index) => [replicas[index] ?? "", id])));
}
