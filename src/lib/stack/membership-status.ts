import { loadConfig } from "../config/load.ts";
import { controlPlaneAddress } from "./control-plane.ts";
import { LONG_LOOK_MS } from "./look.ts";
import type { MembershipContext } from "./membership-run.ts";
import { readControlPlanePart } from "./status-control-plane.ts";
import type { ControlPlanePart } from "./status-report.ts";

/** What `membership status --json` prints: the part of `status`, with where the control plane is. */
export interface MembershipStatusReport extends ControlPlanePart {
  /** A file, or the addresses of servers. */
  readonly address: string;
  /** False where something is wrong or could not be looked at. */
  readonly healthy: boolean;
}

/** Looks at the control plane of this box; what does not answer is told, not thrown. @throws what `loadConfig` throws */
export async function readMembershipStatus(context: MembershipContext): Promise<MembershipStatusReport> {
  const loaded = await loadConfig(context);
  const { clock, random, signal } = context;
  const part = await readControlPlanePart(loaded, { random }, { clock, signal, limitMs: LONG_LOOK_MS });
  return { ...part, address: controlPlaneAddress(loaded), healthy: part.state !== "bad" };
}
