import { expect, test } from "vitest";
import type { JoinSummary } from "../../../src/lib/stack/join-summary.ts";
import { renderPlan, renderPreflight, renderResume, renderSummary } from "../../../src/lib/stack/join-text.ts";

test("a plan marks what will be done and what is so already, with reasons", () => {
  const text = renderPlan({
    baseDir: "/opt/fula-master",
    runtime: "embedded",
    runtimeReason: "no Docker Engine answers here",
    steps: [
      { id: "directories", title: "Directories", state: "already", changes: [], why: "they are there" },
      { id: "schedules", title: "Schedules", state: "left", changes: [], why: "no cron is installed" },
      { id: "secrets", title: "Secrets", state: "todo", changes: ["generate JWT_SECRET"], why: "kept in .env" },
    ],
  });
  expect(text).toBe(`Master in /opt/fula-master, embedded (no Docker Engine answers here)

  = Directories             already so: they are there
  - Schedules               left to you: no cron is installed
  + Secrets                 kept in .env
      generate JWT_SECRET

1 of 3 steps are to be done.`);
});

test("of the checks only warnings are shown, and all of them on request", () => {
  const results = [
    { name: "node", state: "ok", message: "Node.js 24.0.0" },
    { name: "disk", state: "warning", message: "5 GiB free.", remedy: "free space." },
    { name: "ports", state: "skipped", message: "left out" },
  ] as const;
  expect(renderPreflight(results, false)).toEqual(["disk: 5 GiB free. Free space."]);
  expect(renderPreflight(results, true)).toHaveLength(3);
});

const run = { path: "/j", startedAt: "2026-11-20T03:00:00.123Z", done: [] };

test("a resumed run says when the earlier one began and where it stopped", () => {
  expect(renderResume({ ...run, stoppedAt: "postgres", begun: true })).toBe(
    'Resuming the run of 2026-11-20T03:00:00Z that stopped at the step "postgres".',
  );
  expect(renderResume({ ...run, stoppedAt: "serve", begun: false })).toMatch(/stopped before the step "serve"/);
  expect(renderResume({ ...run, stoppedAt: null, begun: false })).toMatch(/stopped before its first step/);
});

const summary: JoinSummary = {
  nodeName: "fula-1",
  clusterId: "0b9a5f0e-0000-4000-8000-000000000001",
  runtime: "embedded",
  endpoints: { gateway: "http://127.0.0.1:9000", api: "http://127.0.0.1:6000", operations: "http://127.0.0.1:9010" },
  region: "us-east-1",
  paths: {
    baseDir: "/b",
    configFile: "/b/fula-master.yaml",
    envFile: "/b/.env",
    keysDir: "/b/keys",
    snapshotsDir: "/b/snapshots",
    serveLogFile: "/b/logs/serve.log",
  },
  keyId: "ed25519:00",
  lastSnapshot: { sequence: 1, time: "2026-11-20T03:00:00Z", pinCount: 0 },
  lastDump: null,
  schedules: [{ kind: "sweep", state: "no-scheduler", lines: ["*/30 * * * * sweep"], warnings: [] }],
  warnings: [{ id: "billing-off", message: "Billing of deposits is OFF.", remedy: "set a vault." }],
  next: [{ command: "fula-master status", explains: "how it is" }],
};

test("the closing screen has endpoints, places, warnings, what to install by hand, and what to try", () => {
  const text = renderSummary(summary, "joined");
  for (const part of [
    "fula-1 is a master.",
    "http://127.0.0.1:9000",
    "http://127.0.0.1:9010",
    "/b/.env",
    "ed25519:00",
    "number 1 of 2026-11-20T03:00:00Z, 0 pins",
    "WARNING  Billing of deposits is OFF.",
    "Try: set a vault.",
    "\n*/30 * * * * sweep\n",
    "  # how it is\n  fula-master status",
  ]) {
    expect(text).toContain(part);
  }
  expect(renderSummary(summary, "already")).toContain("fula-1 is a master already; nothing was changed.");
});
