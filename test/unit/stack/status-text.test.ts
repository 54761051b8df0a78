import { expect, test } from "vitest";
import type { StatusReport } from "../../../src/lib/stack/status-report.ts";
import { renderStatus } from "../../../src/lib/stack/status-text.ts";

const plain = (text: string): string => text;
const style = { good: plain, attention: plain, bad: plain };
const ok = { state: "ok", problem: null } as const;

const report: StatusReport = {
  healthy: true,
  joined: true,
  at: "2026-11-20T04:00:00.000Z",
  version: "0.1.0",
  baseDir: "/b",
  node: {
    role: "master",
    name: "fula-1",
    clusterId: "0b9a5f0e-0000-4000-8000-000000000001",
    runtime: "embedded",
    joinedAt: "2026-11-20T03:00:00Z",
    leftAt: null,
  },
  containers: null,
  kubo: null,
  cluster: null,
  trust: null,
  storage: null,
  dockerDisk: null,
  standbys: {
    ...ok,
    epoch: 3,
    primary: "fula-1",
    phase: "open",
    own: "primary",
    standbys: [
      { node: "fula-2", state: "standby", replication: "streaming", isSync: true, lagBytes: 0, lagSeconds: null },
    ],
    wouldLoseBytes: 0,
  },
  serve: {
    ...ok,
    pid: 4711,
    since: "2026-11-20T03:00:00Z",
    endpoints: {
      gateway: "http://127.0.0.1:9000",
      api: "http://127.0.0.1:6000",
      ingest: null,
      operations: "http://127.0.0.1:9010",
    },
    checks: [{ name: "database", state: "ok", error: null }],
  },
  ledger: { ...ok, mode: "embedded", serverVersion: "18.4", schemaVersion: 26, pending: [] },
  pins: { ...ok, count: 3 },
  disk: { ...ok, path: "/b/state", freeBytes: 1024 ** 3, totalBytes: 4 * 1024 ** 3 },
  backups: { ...ok, due: true, count: 3, newest: "base-x", ageMs: 7_200_000, tested: true, archivedTo: "0/5000148" },
  snapshot: { ...ok, sequence: 7, time: "2026-11-20T03:00:00Z", ageMs: 3_600_000, maxAgeMs: 93_600_000, pinCount: 3 },
  sweep: { ...ok, time: "2026-11-20T03:30:00Z", ageMs: 1_800_000, outcome: "ok", pins: 3, below: 0 },
  buckets: {
    state: "ok",
    problem: null,
    mode: "cas",
    serving: 2,
    buckets: 12,
    newestCommit: "2026-11-20T03:00:00.000Z",
    arbiterMs: 3,
    garbage: 4,
    oldestGarbageSeconds: 60,
    holds: 0,
    notImported: 0,
  },
  pinning: { ...ok, waiting: 7, claimed: 2, failing: 1, oldestSeconds: 90, overdueSeconds: 0, dead: 0 },
  controlPlane: {
    ...ok,
    mode: "sqlite",
    metaLeader: null,
    servers: [],
    replicas: null,
    stampAgeMs: 0,
    operators: 3,
    admins: 2,
    pools: ["cluster", "masters", "swarm"].map((id) => ({ id, epoch: 1, members: 1 })),
    lagging: [],
  },
  billing: {
    ...ok,
    on: true,
    leader: "master-1",
    epoch: "41",
    lastHour: "2026-11-20T03:00:00Z",
    hoursBehind: 0,
    alerts: 0,
  },
  alerts: { ...ok, standing: 0, worst: [] },
  schedules: { ...ok, jobs: [{ kind: "sweep", state: "installed" }] },
  key: { ...ok, keyId: "ed25519:00" },
  warnings: [],
};

test("a healthy master fits on one screen, one line a part", () => {
  expect(
    renderStatus(report, style),
  ).toBe(`fula-1: healthy master, embedded, cluster 0b9a5f0e-0000-4000-8000-000000000001

  serve      ok    process 4711 since 2026-11-20T03:00:00Z
  ledger     ok    PostgreSQL 18.4 (embedded), schema 26
  billing    ok    master-1 leads, billed through 2026-11-20T03:00:00Z
  buckets    ok    12 buckets, saved by cas, 4 to be looked at by the collector
  pinning    ok    7 contents on the queue, 1 failing
  membership ok    a file of this box, 3 operators (2 admins), 3 pools
  standbys   ok    epoch 3, fula-1 is the primary, 1 standby
                   fula-2 streaming, 0 B behind, synchronous
  pins       ok    3
  disk       ok    1.0 GiB of 4.0 GiB free
  backups    ok    2h ago, restored for a test, WAL up to 0/5000148
  snapshot   ok    number 7, 1h ago, 3 pins
  sweep      ok    30m ago, ok: 3 pins, 0 held by too few
  alerts     ok    none
  schedules  ok    sweep installed
  key        ok    ed25519:00

  S3          http://127.0.0.1:9000
  API         http://127.0.0.1:6000
  operations  http://127.0.0.1:9010  (database ok)
  base dir    /b`);
});

test("what is bad stands out, with its reason below it", () => {
  const snapshot: StatusReport["snapshot"] = {
    state: "bad",
    problem: "it is stale. Try: fula-master snapshot",
    sequence: 7,
    time: "2026-11-20T03:00:00Z",
    ageMs: 3_600_000,
    maxAgeMs: 1,
    pinCount: 3,
  };
  const text = renderStatus({ ...report, healthy: false, snapshot }, style);
  expect(text).toContain("fula-1: UNHEALTHY master");
  expect(text).toMatch(/ {2}snapshot {3}BAD {3}number 7.*\n {19}it is stale\. Try: fula-master snapshot\n/);
});

test("parts that nobody could look at say so instead of numbers", () => {
  const bad = { state: "bad", problem: "it cannot be read" } as const;
  const text = renderStatus(
    {
      ...report,
      healthy: false,
      ledger: { ...bad, mode: "embedded", serverVersion: null, schemaVersion: null, pending: [] },
      pins: { ...bad, count: null },
      disk: { ...bad, path: "/b", freeBytes: null, totalBytes: null },
      sweep: { ...ok, time: null, ageMs: null, outcome: null, pins: null, below: null },
    },
    style,
  );
  expect(text).not.toMatch(/null|undefined|NaN/);
  expect(text).toMatch(/pins {7}BAD {3}not counted/);
  expect(text).toMatch(/sweep {6}ok {4}not yet/);
});

test("servers of the control plane that are not well, and boxes with old secrets, stand below its line", () => {
  const line = { version: "2.15.2", lag: 0, leads: false } as const;
  const controlPlane: StatusReport["controlPlane"] = {
    state: "attention",
    problem: "b is a server and has not been heard for 5m. Try: see whether it runs",
    mode: "docker",
    metaLeader: "a",
    servers: [
      { ...line, name: "a", state: "current", leads: true },
      { ...line, name: "b", state: "offline", version: null },
      { ...line, name: "c", state: "behind", lag: 4 },
    ],
    replicas: 3,
    stampAgeMs: 120,
    operators: 1,
    admins: 1,
    pools: [{ id: "cluster", epoch: 3, members: 2 }],
    lagging: [{ pool: "cluster", epoch: 3, member: "b", appliedEpoch: 2 }],
  };
  expect(renderStatus({ ...report, controlPlane }, style)).toContain(`
  membership look  3 servers, a leads, 3 replicas, 1 operator (1 admin), 1 pool, confirmed 120ms ago
                   b is a server and has not been heard for 5m. Try: see whether it runs
                   b offline
                   c behind by 4
                   b uses epoch 2 of cluster, newest 3
`);
});
