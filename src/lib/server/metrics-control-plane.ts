import { Counter, Gauge, type Registry } from "prom-client";
import type { ClusterView, PeerView } from "../membership/kv/state.ts";
import type { Verdict } from "./control-plane.ts";

/** How the control plane was at one look. */
export interface ControlPlaneFigures {
  /** Whether its records could be read. */
  readonly answers: boolean;
  /** Age of the quorum's confirmation at the look, in milliseconds; null where nobody who may act was confirmed. */
  readonly stampAgeMs: number | null;
  /** Members that do not use the newest secret of their pool; null where the records could not be read. */
  readonly laggingMembers: number | null;
  /** Null where the control plane is a file, or no server told. */
  readonly cluster: ClusterView | null;
  /** Whether the control plane has servers at all. */
  readonly isClustered: boolean;
  /** Whether this box runs the witness. */
  readonly witness: boolean;
}

/** The metrics of the control plane. */
export interface ControlPlaneMetrics {
  /** Counts a question whether somebody may act, by its answer. */
  readonly judged: (verdict: Verdict) => void;
  /** Notes what a look found. @param sinceMs asked at each scrape: how long ago the look was */
  readonly looked: (figures: ControlPlaneFigures, sinceMs: () => number) => void;
}

const SERVER_STATES = ["current", "behind", "offline"] as const;

function stateOf({ current, offline }: PeerView): (typeof SERVER_STATES)[number] {
  if (offline) return "offline";
  return current ? "current" : "behind";
}

/** The most operations that each server is behind, in the list of streams or in any of them. */
function lagsOf({ metaLeader, members, streams }: ClusterView): ReadonlyMap<string, number> {
  const lags = new Map<string, number>(metaLeader === null ? [] : [[metaLeader, 0]]);
  for (const { name, lag } of [members, ...streams.map(({ peers }) => peers)].flat()) {
    lags.set(name, Math.max(lags.get(name) ?? 0, lag));
  }
  return lags;
}

interface ServerGauges {
  readonly leader: Gauge;
  readonly servers: Gauge<"state">;
  readonly lag: Gauge<"server">;
  readonly replicas: Gauge;
}

function serverGauges(registers: Registry[]): ServerGauges {
  const leader = new Gauge({
    name: "fula_control_plane_meta_leader",
    help: "1 where a server leads the control plane's servers and more than half of them answer, else 0; absent where it is a file.",
    registers,
  });
  const replicas = new Gauge({
    name: "fula_control_plane_replicas",
    help: "The fewest servers that any bucket of the control plane lies on; absent where no server told.",
    registers,
  });
  leader.remove();
  replicas.remove();
  return {
    leader,
    replicas,
    servers: new Gauge({
      name: "fula_control_plane_servers",
      help: "Servers of the control plane, as their leader sees them, by state: current, behind, offline; absent where none leads.",
      labelNames: ["state"],
      registers,
    }),
    lag: new Gauge({
      name: "fula_control_plane_lag_operations",
      help: "Operations that a server of the control plane is behind its leaders; absent where none leads.",
      labelNames: ["server"],
      registers,
    }),
  };
}

function applyServers(gauges: ServerGauges, { cluster, isClustered }: ControlPlaneFigures): void {
  const { leader, servers, lag, replicas } = gauges;
  servers.reset();
  lag.reset();
  leader.remove();
  replicas.remove();
  if (isClustered) leader.set(cluster?.metaLeader == null ? 0 : 1);
  if (cluster === null) return;
  if (cluster.streams.length > 0) replicas.set(Math.min(...cluster.streams.map((stream) => stream.replicas)));
  if (cluster.metaLeader === null) return;
  const states = ["current" as const, ...cluster.members.map(stateOf)];
  for (const state of SERVER_STATES) servers.set({ state }, states.filter((each) => each === state).length);
  for (const [server, operations] of lagsOf(cluster)) lag.set({ server }, operations);
}

/** Makes the metrics of the control plane in a registry. */
export function createControlPlaneMetrics(registers: Registry[]): ControlPlaneMetrics {
  let last: { readonly ageMs: number; readonly sinceMs: () => number } | null = null;
  const authorizations = new Counter({
    name: "fula_control_plane_authorizations_total",
    help: "Questions of the API whether somebody may act, by answer: allowed, or why not (unknown, revoked, role, no-operators, unreachable, no-quorum, stale).",
    labelNames: ["verdict"],
    registers,
  });
  const up = new Gauge({
    name: "fula_control_plane_up",
    help: "1 where the control plane's records could be read at the last look, else 0; absent before the first.",
    registers,
  });
  const stamp = new Gauge({
    name: "fula_control_plane_stamp_age_seconds",
    help: "Time since a quorum confirmed, at the last look that asked, what an answer to who may act rests on; absent where none did.",
    registers,
    collect: () => {
      if (last === null) stamp.remove();
      else stamp.set((last.ageMs + last.sinceMs()) / 1_000);
    },
  });
  const lagging = new Gauge({
    name: "fula_control_plane_lagging_members",
    help: "Boxes that do not use the newest secret of a pool that they belong to, counted once a pool; absent where the records could not be read.",
    registers,
  });
  const witness = new Gauge({
    name: "fula_control_plane_witness",
    help: "1 where this box runs a second server, because two are the fewest that can elect, else 0.",
    registers,
  });
  for (const gauge of [up, lagging, witness]) gauge.remove();
  const gauges = serverGauges(registers);
  return {
    judged: (verdict) => {
      authorizations.inc({ verdict });
    },
    looked: (figures, sinceMs) => {
      const { answers, stampAgeMs, laggingMembers } = figures;
      up.set(answers ? 1 : 0);
      witness.set(figures.witness ? 1 : 0);
      if (laggingMembers === null) lagging.remove();
      else lagging.set(laggingMembers);
      if (stampAgeMs !== null) last = { ageMs: stampAgeMs, sinceMs };
      applyServers(gauges, figures);
    },
  };
}
