import { Registry } from "prom-client";
import { expect, test } from "vitest";
import type { ClusterView, PeerView, StreamView } from "../../../src/lib/membership/kv/state.ts";
import {
  type ControlPlaneFigures,
  type ControlPlaneMetrics,
  createControlPlaneMetrics,
} from "../../../src/lib/server/metrics-control-plane.ts";

function make(): { readonly metrics: ControlPlaneMetrics; readonly render: () => Promise<string> } {
  const registry = new Registry();
  return { metrics: createControlPlaneMetrics([registry]), render: async () => await registry.metrics() };
}

function peer(name: string, more: Partial<PeerView> = {}): PeerView {
  return { name, current: true, offline: false, lag: 0, silentMs: 500, ...more };
}

function stream(bucket: string, more: Partial<StreamView> = {}): StreamView {
  return { bucket, leader: "a", replicas: 3, peers: [peer("b")], storage: "file", directGets: false, ...more };
}

const CLUSTER: ClusterView = {
  servers: [],
  clustered: true,
  metaLeader: "a",
  members: [peer("b", { current: false, lag: 2 }), peer("c", { current: false, offline: true })],
  streams: [stream("FULA_users", { peers: [peer("b", { lag: 5 })] }), stream("FULA_rooms", { replicas: 1 })],
};

const FIGURES: ControlPlaneFigures = {
  answers: true,
  stampAgeMs: 100,
  laggingMembers: 1,
  cluster: CLUSTER,
  isClustered: true,
  witness: true,
};

test("a control plane that nobody has looked at yet has no value, and is not said to be down", async () => {
  const text = await make().render();
  expect(text).not.toMatch(/^fula_control_plane_(?!authorizations)\w+(\{|\s)/m);
});

test("servers are counted by state and named by their lag, and the age of the confirmation goes on between looks", async () => {
  const { metrics, render } = make();
  let sinceMs = 0;
  metrics.looked(FIGURES, () => sinceMs);
  const text = await render();
  expect(text.match(/^fula_control_plane_.*$/gm)).toEqual([
    "fula_control_plane_up 1",
    "fula_control_plane_stamp_age_seconds 0.1",
    "fula_control_plane_lagging_members 1",
    "fula_control_plane_witness 1",
    "fula_control_plane_meta_leader 1",
    "fula_control_plane_replicas 1",
    'fula_control_plane_servers{state="current"} 1',
    'fula_control_plane_servers{state="behind"} 1',
    'fula_control_plane_servers{state="offline"} 1',
    'fula_control_plane_lag_operations{server="a"} 0',
    'fula_control_plane_lag_operations{server="b"} 5',
    'fula_control_plane_lag_operations{server="c"} 0',
  ]);
  sinceMs = 5_000;
  expect(await render()).toMatch(/^fula_control_plane_stamp_age_seconds 5\.1$/m);
});

test("without a quorum nothing of the servers is carried over, and the last confirmation grows older", async () => {
  const { metrics, render } = make();
  metrics.looked(FIGURES, () => 20_000);
  const cluster = { ...CLUSTER, metaLeader: null, members: [], streams: [] };
  metrics.looked({ ...FIGURES, answers: false, stampAgeMs: null, laggingMembers: null, cluster }, () => 0);
  const text = await render();
  expect(text.match(/^fula_control_plane_.*$/gm)).toEqual([
    "fula_control_plane_up 0",
    "fula_control_plane_stamp_age_seconds 20.1",
    "fula_control_plane_witness 1",
    "fula_control_plane_meta_leader 0",
  ]);
});

test("a file has no servers and no leader, and is up", async () => {
  const { metrics, render } = make();
  metrics.looked({ ...FIGURES, stampAgeMs: 0, cluster: null, isClustered: false, witness: false }, () => 0);
  const text = await render();
  expect(text).toMatch(/^fula_control_plane_up 1$/m);
  expect(text).not.toMatch(/^fula_control_plane_(?:meta_leader|servers|replicas|lag_)/m);
});

test("answers to who may act are counted by answer", async () => {
  const { metrics, render } = make();
  for (const verdict of ["allowed", "allowed", "no-quorum"] as const) metrics.judged(verdict);
  const text = await render();
  expect(text).toMatch(/^fula_control_plane_authorizations_total\{verdict="allowed"\} 2$/m);
  expect(text).toMatch(/^fula_control_plane_authorizations_total\{verdict="no-quorum"\} 1$/m);
});
