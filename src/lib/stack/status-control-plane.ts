import type { LoadedConfig } from "../config/load.ts";
import type { Random } from "../kernel/random.ts";
import type { ClusterView, PeerView } from "../membership/kv/state.ts";
import { type ControlPlaneLook, lookAtControlPlane } from "./control-plane-look.ts";
import { activeAdmins, laggardsOf } from "./control-plane-records.ts";
import type { LookLimits } from "./look.ts";
import { attention, judgementOf, lookAtPart } from "./status-part.ts";
import type { ControlPlanePart, ControlPlaneServerLine } from "./status-report.ts";

function stateOf({ current, offline }: PeerView): ControlPlaneServerLine["state"] {
  if (offline) return "offline";
  return current ? "current" : "behind";
}

/** Every server that is a member or that answered, by name. */
function serverLines({ servers, members, metaLeader }: ClusterView): readonly ControlPlaneServerLine[] {
  const versionOf = (name: string): string | null => servers.find((server) => server.name === name)?.version ?? null;
  const known = members.map(
    (member): ControlPlaneServerLine => ({
      name: member.name,
      state: stateOf(member),
      lag: member.lag,
      version: versionOf(member.name),
      leads: false,
    }),
  );
  const rest = servers
    .filter(({ name }) => known.every((line) => line.name !== name))
    .map(
      ({ name, version }): ControlPlaneServerLine => ({
        name,
        // Whoever answers and is nobody's member leads, is alone, or is without a leader.
        state: metaLeader === null && servers.length > 1 ? "behind" : "current",
        lag: 0,
        version,
        leads: name === metaLeader,
      }),
    );
  return [...known, ...rest].toSorted((a, b) => (a.name < b.name ? -1 : 1));
}

/** The fewest servers that any bucket lies on; null where there is no bucket. */
function replicasOf({ streams }: ClusterView): number | null {
  return streams.length === 0 ? null : Math.min(...streams.map(({ replicas }) => replicas));
}

/** Puts a look into what `status --json` prints. */
function partOf({ records, cluster, problems }: ControlPlaneLook, mode: ControlPlanePart["mode"]): ControlPlanePart {
  const own = records?.ownAuthorization;
  const active = records?.operators.filter(({ status }) => status === "active");
  const pools = records?.pools ?? [];
  return {
    mode,
    metaLeader: cluster?.metaLeader ?? null,
    servers: cluster === null ? [] : serverLines(cluster),
    replicas: cluster === null ? null : replicasOf(cluster),
    stampAgeMs: own?.allowed === true ? own.ageMs : null,
    operators: active?.length ?? null,
    admins: records === null ? null : activeAdmins(records.operators).length,
    pools: pools.map(({ pool, members }) => ({ id: pool.id, epoch: pool.epoch, members: members.length })),
    lagging: laggardsOf(pools),
    ...judgementOf(problems),
  };
}

/** Looks how the control plane is. */
export async function readControlPlanePart(
  loaded: LoadedConfig,
  { random }: { readonly random: Random },
  limits: LookLimits,
): Promise<ControlPlanePart> {
  const { mode } = loaded.config.controlPlane;
  const nothing = {
    mode,
    metaLeader: null,
    servers: [],
    replicas: null,
    stampAgeMs: null,
    operators: null,
    admins: null,
    pools: [],
    lagging: [],
  };
  return await lookAtPart<ControlPlanePart>(limits, nothing, async (signal) => {
    const look = await lookAtControlPlane(loaded, { clock: limits.clock, random, signal });
    if (look === null) return { ...nothing, ...attention("it has not been made yet. Try: fula-master join") };
    return partOf(look, mode);
  });
}
