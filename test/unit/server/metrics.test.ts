import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import type { ArchiverState } from "../../../src/lib/recovery/backup/wal-receiver.ts";
import { createMetrics, type ScrapeFacts } from "../../../src/lib/server/metrics.ts";

const FACTS: ScrapeFacts = {
  health: {
    status: "ready",
    checks: [{ name: "disk", state: "ok", critical: true, latencyMs: 5, ageMs: 0, error: null }],
  },
  pins: 7,
  diskFreeBytes: 1_000,
  snapshotAgeSeconds: 60,
  jobSuccess: new Map([["snapshot", 1_700_000_000]]),
  wellServices: new Map([
    ["kubo", true],
    ["cluster", false],
  ]),
  sweep: { belowPins: 3, lostPins: 1 },
  backup: { ageSeconds: 7_200, tested: true, damaged: 0, holes: 1 },
  billing: {
    lastHourSeconds: 1_700_000_400,
    hoursBehind: 2,
    alerts: 1,
    chains: [
      { name: "base", scannedBlock: 40_480_508, scanAgeSeconds: 12, hasTrouble: false },
      { name: "skale", scannedBlock: null, scanAgeSeconds: null, hasTrouble: true },
    ],
  },
};

function make(): ReturnType<typeof createMetrics> {
  return createMetrics({ version: "1.2.3", nodeVersion: "v24.0.0" });
}

describe("metrics", () => {
  test("are listed in docs/serve.md, each with its type, and no others are", () => {
    const text = readFileSync(join(import.meta.dirname, "../../../docs/serve.md"), "utf8");
    const documented = [...text.matchAll(/^\| `(fula_[a-z0-9_]+)(?:\{[^`]*\})?` \| (counter|gauge|histogram) \|/gm)];
    const inDocs = documented.map(([, name, type]) => `${name} ${type}`).toSorted();
    const inCode = make()
      .describe()
      .map(({ name, type }) => `${name} ${type}`)
      .toSorted();
    expect(inDocs).toEqual(inCode);
  });

  test("have our prefix, base units and a help text", () => {
    for (const { name, help } of make().describe()) {
      expect(name).toMatch(/^fula_[a-z0-9_]+$/);
      expect(name).not.toMatch(/_(ms|millis|milliseconds|kb|mb|percent)\b/);
      expect([name, help.endsWith(".")]).toEqual([name, true]);
    }
  });

  test("that could not be measured are absent, not zero", async () => {
    const metrics = make();
    const known = await metrics.render(FACTS);
    expect(known).toMatch(/^fula_pins 7$/m);
    expect(known).toMatch(/^fula_sweep_below_pins 3$/m);
    expect(known).toMatch(/^fula_sweep_lost_pins 1$/m);
    expect(known).toMatch(/^fula_backup_age_seconds 7200$/m);
    expect(known).toMatch(/^fula_backup_tested 1$/m);
    expect(known).toMatch(/^fula_archive_holes 1$/m);
    expect(known).not.toMatch(/^fula_archive_(?:streaming|position_bytes|lag_bytes) \d/m);
    expect(known).toMatch(/^fula_container_up\{service="kubo"\} 1$/m);
    expect(known).toMatch(/^fula_container_up\{service="cluster"\} 0$/m);
    expect(known).toMatch(/^fula_billing_last_hour_timestamp_seconds 1700000400$/m);
    expect(known).toMatch(/^fula_billing_lag_hours 2$/m);
    expect(known).toMatch(/^fula_billing_alerts 1$/m);
    expect(known).toMatch(/^fula_chain_scanned_block\{chain="base"\} 40480508$/m);
    expect(known).not.toMatch(/^fula_chain_scanned_block\{chain="skale"\}/m);
    expect(known).toMatch(/^fula_chain_trouble\{chain="skale"\} 1$/m);
    const text = await metrics.render({
      ...FACTS,
      pins: null,
      snapshotAgeSeconds: null,
      diskFreeBytes: null,
      jobSuccess: new Map(),
      wellServices: null,
      sweep: null,
      billing: null,
      backup: null,
    });
    expect(text).not.toMatch(/^fula_(?:backup|archive_holes)\w* \d/m);
    expect(text).not.toMatch(/^fula_(?:billing_(?!fees)|chain_|lease_(?!changes))\w+(?:\{.*\})? \d/m);
    expect(text).not.toMatch(/^fula_container_up\{/m);
    expect(text).not.toMatch(/^fula_sweep_\w+ \d/m);
    expect(text).not.toMatch(/^fula_pins \d/m);
    expect(text).not.toMatch(/^fula_snapshot_age_seconds \d/m);
    expect(text).not.toMatch(/^fula_disk_free_bytes \d/m);
    expect(text).not.toMatch(/^fula_job_last_success_timestamp_seconds\{/m);
  });

  test("tell how archiving goes, and neither position nor lag while it does not", async () => {
    const metrics = make();
    const none = { ...FACTS, backup: { ageSeconds: null, tested: null, damaged: 0, holes: 0 } };
    let state: ArchiverState = { status: "streaming", timeline: 2, durableLsn: 1_000n, serverLsn: 1_500n };
    metrics.backups.watch({ state: () => state, interruptions: () => 2 });
    const streaming = await metrics.render(none);
    expect(streaming).not.toMatch(/^fula_backup_(?:age_seconds|tested) \d/m);
    expect(streaming).toMatch(/^fula_backup_damaged 0$/m);
    expect(streaming).toMatch(/^fula_archive_streaming 1$/m);
    expect(streaming).toMatch(/^fula_archive_position_bytes 1000$/m);
    expect(streaming).toMatch(/^fula_archive_lag_bytes 500$/m);
    state = { status: "retrying", because: "the disk is full", code: "FULA_DISK_FULL" };
    const broken = await metrics.render(none);
    expect(broken).toMatch(/^fula_archive_streaming 0$/m);
    expect(broken).toMatch(/^fula_archive_interruptions_total 2$/m);
    expect(broken).not.toMatch(/^fula_archive_(?:position_bytes|lag_bytes) \d/m);
  });

  test("tell whether this master holds the lease, and how often that changed", async () => {
    const metrics = make();
    const standby = { held: false, epoch: 4n, holder: "master-2", sinceMs: null };
    const holder = { held: true, epoch: 5n, holder: "master-1", sinceMs: 1 };
    for (const state of [standby, holder, standby, { ...standby, epoch: 6n }]) metrics.billing.leaseChanged(state);
    metrics.billing.feesCharged(20_000);
    const text = await metrics.render(FACTS);
    expect(text).toMatch(/^fula_lease_held 0$/m);
    expect(text).toMatch(/^fula_lease_epoch 6$/m);
    expect(text).toMatch(/^fula_lease_changes_total 2$/m);
    expect(text).toMatch(/^fula_billing_fees_total 20000$/m);
  });

  test("cannot be given labels by clients", async () => {
    const metrics = make();
    for (const method of ["BREW", "X".repeat(1_000), "get"]) {
      metrics.requestStarted("gateway");
      metrics.requestFinished({
        listener: "gateway",
        method,
        status: 405,
        durationMs: 1,
        receivedBytes: 0,
        sentBytes: 0,
      });
    }
    const text = await metrics.render(FACTS);
    expect(text).toContain('fula_http_requests_total{listener="gateway",method="OTHER",status_class="4xx"} 3');
    expect(text).toContain('fula_http_requests_in_flight{listener="gateway"} 0');
  });
});
