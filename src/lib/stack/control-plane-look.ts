import type { LoadedConfig } from "../config/load.ts";
import type { Clock } from "../kernel/clock.ts";
import { isFulaError } from "../kernel/errors.ts";
import type { Random } from "../kernel/random.ts";
import type { ClusterView } from "../membership/kv/state.ts";
import { readBoxKey } from "../membership/sealed/box-key.ts";
import type { MembershipStore } from "../membership/store.ts";
import { judgeCluster } from "./control-plane-judge.ts";
import { judgeAuthorization, judgePools, type RecordsView, readRecords } from "./control-plane-records.ts";
import { readServers, wantedCluster } from "./control-plane-servers.ts";
import { isControlPlaneMade, withControlPlane } from "./control-plane.ts";
import { describeError } from "./look.ts";
import { boxOperatorId } from "./operators.ts";
import type { PartProblem } from "./status-part.ts";

/** What a look at the control plane needs. */
export interface ControlPlaneLookDeps {
  readonly clock: Clock;
  readonly random: Random;
  readonly signal: AbortSignal;
}

/** How a control plane is: its records, and its servers where it has any. */
export interface ControlPlaneLook {
  /** Null where they could not be read; why is among the problems, as for the servers. */
  readonly records: RecordsView | null;
  /** Null where the control plane is a file too. */
  readonly cluster: ClusterView | null;
  /** The worst first. */
  readonly problems: readonly PartProblem[];
}

/** Reads the records of an open control plane, with what they say of this box. */
export async function lookAtRecords(store: MembershipStore, loaded: LoadedConfig): Promise<RecordsView> {
  const [operator, key] = await Promise.all([boxOperatorId(loaded), readBoxKey(loaded.paths.boxKeyFile)]);
  return await readRecords(store, { operator, endpoint: key?.endpoint ?? null });
}

function worstFirst(problems: readonly PartProblem[]): readonly PartProblem[] {
  return problems.toSorted((a, b) => Number(a.severity !== "bad") - Number(b.severity !== "bad"));
}

function problemOf(error: unknown): PartProblem {
  const remedy = isFulaError(error) ? error.hint : undefined;
  return { severity: "bad", message: describeError(error), remedy: remedy ?? "fula-master doctor" };
}

/**
 * Looks at records and servers side by side: where no quorum answers, the servers tell which of them are gone.
 * @param useStore lends an open control plane
 */
export async function lookAtBoth(
  loaded: LoadedConfig,
  { clock }: Pick<ControlPlaneLookDeps, "clock">,
  useStore: (use: (store: MembershipStore) => Promise<RecordsView>) => Promise<RecordsView>,
): Promise<ControlPlaneLook> {
  const isFile = loaded.config.controlPlane.mode === "sqlite";
  const [ofRecords, ofServers] = await Promise.allSettled([
    useStore(async (store) => await lookAtRecords(store, loaded)),
    isFile ? null : readServers(loaded, { clock }),
  ]);
  const records = ofRecords.status === "fulfilled" ? ofRecords.value : null;
  const cluster = ofServers.status === "fulfilled" ? ofServers.value : null;
  const problems = [
    ...(ofRecords.status === "rejected" ? [problemOf(ofRecords.reason)] : []),
    ...(ofServers.status === "rejected" ? [problemOf(ofServers.reason)] : []),
    ...(records === null ? [] : [...judgeAuthorization(records), ...judgePools(records)]),
    ...(cluster === null ? [] : judgeCluster(cluster, wantedCluster(loaded, cluster))),
  ];
  return { records, cluster, problems: worstFirst(problems) };
}

/** Opens the control plane of this box and looks at it; null where none was made yet. Never throws for what is down. */
export async function lookAtControlPlane(
  loaded: LoadedConfig,
  deps: ControlPlaneLookDeps,
): Promise<ControlPlaneLook | null> {
  if (!(await isControlPlaneMade(loaded))) return null;
  return await lookAtBoth(loaded, deps, async (use) => await withControlPlane(loaded, deps, use));
}
