import type { LoadedConfig } from "../config/load.ts";
import type { Clock } from "../kernel/clock.ts";
import { FulaError } from "../kernel/errors.ts";
import { type ControlPlaneLook, lookAtBoth } from "../stack/control-plane-look.ts";
import { laggardsOf } from "../stack/control-plane-records.ts";
import type { ControlPlaneHandle } from "./control-plane.ts";
import type { ControlPlaneFigures, ControlPlaneMetrics } from "./metrics-control-plane.ts";
import { repeat } from "./repeat.ts";

/** Between two looks: a scrape is rarely more frequent. */
const LOOK_INTERVAL_MS = 15_000;

function figuresOf({ records, cluster }: ControlPlaneLook, { config }: LoadedConfig): ControlPlaneFigures {
  const own = records?.ownAuthorization;
  const { mode, witness } = config.controlPlane;
  return {
    answers: records !== null,
    stampAgeMs: own?.allowed === true ? own.ageMs : null,
    laggingMembers: records === null ? null : laggardsOf(records.pools).length,
    cluster,
    isClustered: mode !== "sqlite",
    witness,
  };
}

/** Looks at the control plane again and again, for the metrics, until it is disposed of. */
export function watchControlPlane(
  loaded: LoadedConfig,
  handle: Pick<ControlPlaneHandle, "store" | "lastError">,
  { clock, metrics }: { readonly clock: Clock; readonly metrics: Pick<ControlPlaneMetrics, "looked"> },
): AsyncDisposable {
  return repeat({ intervalMs: LOOK_INTERVAL_MS, clock }, async () => {
    const askedMs = clock.monotonicMs();
    const look = await lookAtBoth(loaded, { clock }, async (use) => {
      if (handle.store !== null) return await use(handle.store);
      throw handle.lastError ?? new FulaError("FULA_CONTROL_PLANE_UNREACHABLE", "The control plane is not open yet.");
    });
    metrics.looked(figuresOf(look, loaded), () => clock.monotonicMs() - askedMs);
  });
}
