import { statfs } from "node:fs/promises";
import { RAW_CODEC, createCid } from "../blocks/cid.ts";
import type { BlockStore } from "../blocks/block-store.ts";
import type { PinCluster } from "../cluster/pins.ts";
import { type Clock, formatUtc } from "../kernel/clock.ts";
import type { Random } from "../kernel/random.ts";
import { formatBytes, formatDuration } from "../kernel/units.ts";
import { lastGoodSnapshot } from "../pinset/catalog.ts";
import { loadTrustedKeys } from "../pinset/trust.ts";
import { assertSchemaCurrent } from "./schema-check.ts";
import type { Pool } from "../postgres/pool.ts";
import type { PostgresState } from "../runtime/supervised-postgres.ts";
import type { CheckOutcome, HealthCheck } from "./health.ts";

/** Everything that /readyz looks at. */
export interface CheckedParts {
  readonly pool: Pool;
  readonly serverState: () => PostgresState | null;
  readonly blocks: BlockStore;
  readonly pins: PinCluster;
  readonly snapshots: {
    readonly dir: string;
    readonly keysDir: string;
    readonly trustedKeys: readonly string[];
    readonly clusterId: string;
    readonly maxAgeMs: number;
  };
  /** A path on the file system that fills up. */
  readonly diskPath: string;
  readonly clock: Clock;
  readonly random: Random;
}

/** Below this no PUT is taken any more: PostgreSQL and the block store need room to stay consistent. */
const DISK_FREE_MIN_BYTES = 256 * 1024 * 1024;
/** Below this an operator should act. */
const DISK_FREE_LOW_BYTES = 2 * 1024 * 1024 * 1024;

const PROBE_BYTES = 64;

function database({ pool, serverState }: CheckedParts): HealthCheck {
  return {
    name: "database",
    critical: true,
    timeoutMs: 3_000,
    cacheMs: 500,
    run: async () => {
      const server = serverState();
      if (server?.status === "restarting") {
        const why = server.lastError === null ? "" : `: ${server.lastError}`;
        return { state: "failed", error: `the embedded PostgreSQL died and is being started again${why}` };
      }
      const { rows } = await pool.query<{ version: string }>("select current_setting('server_version') as version");
      const restarts = server === null ? {} : { restarts: server.restarts };
      return { state: "ok", details: { version: rows[0]?.version ?? null, ...restarts } };
    },
  };
}

function schema({ pool }: CheckedParts): HealthCheck {
  return {
    name: "schema",
    critical: true,
    timeoutMs: 3_000,
    cacheMs: 10_000,
    run: async () => ({ state: "ok", details: { version: await assertSchemaCurrent(pool) } }),
  };
}

/** Writes, reads back and removes a block that nobody else has: the bytes are random. */
function blockStore({ blocks, random }: CheckedParts): HealthCheck {
  return {
    name: "blocks",
    critical: true,
    timeoutMs: 5_000,
    cacheMs: 5_000,
    run: async (signal) => {
      const bytes = random.bytes(PROBE_BYTES);
      const cid = createCid(RAW_CODEC, bytes);
      await blocks.put(cid, bytes, signal);
      try {
        await blocks.get(cid, signal);
      } finally {
        await blocks.delete(cid);
      }
      return { state: "ok" };
    },
  };
}

/** Asks for a pin, because not every pinset can be counted. Whether there is such a pin does not matter. */
function pinset({ pins }: CheckedParts): HealthCheck {
  const cid = createCid(RAW_CODEC, new Uint8Array()).toString();
  return {
    name: "pinset",
    critical: true,
    timeoutMs: 3_000,
    cacheMs: 1_000,
    run: async (signal) => {
      await pins.pin(cid, signal);
      return { state: "ok", details: { pins: await pins.count(signal) } };
    },
  };
}

/** Looks how old the last good snapshot is. */
export function snapshotCheck({ snapshots, clock }: Pick<CheckedParts, "snapshots" | "clock">): HealthCheck {
  return {
    name: "snapshot",
    critical: false,
    timeoutMs: 10_000,
    cacheMs: 30_000,
    run: async (): Promise<CheckOutcome> => {
      const { dir, keysDir, clusterId, maxAgeMs } = snapshots;
      const trustedKeys = await loadTrustedKeys(keysDir, snapshots.trustedKeys);
      const last = await lastGoodSnapshot(dir, { trustedKeys, clusterId, clock });
      if (last === null) return { state: "degraded", error: "there is no good snapshot; try: fula-master snapshot" };
      const details = {
        name: last.name,
        takenAt: formatUtc(last.timeMs),
        takenAtSeconds: Math.floor(last.timeMs / 1_000),
        pins: last.manifest.pinCount,
      };
      if (last.ageMs <= maxAgeMs) return { state: "ok", details };
      const age = formatDuration(last.ageMs);
      const error = `the last good snapshot is ${age} old, more than ${formatDuration(maxAgeMs)}; try: fula-master snapshot`;
      return { state: "degraded", error, details };
    },
  };
}

/** How much room there is, as a check result. */
export function judgeDisk(details: {
  readonly path: string;
  readonly freeBytes: number;
  readonly totalBytes: number;
}): CheckOutcome {
  const { path, freeBytes } = details;
  if (freeBytes >= DISK_FREE_LOW_BYTES) return { state: "ok", details };
  const error = `${formatBytes(freeBytes)} free on the file system of ${path}`;
  return { state: freeBytes < DISK_FREE_MIN_BYTES ? "failed" : "degraded", error, details };
}

/** Looks how much room is left. */
export function diskCheck({ diskPath }: Pick<CheckedParts, "diskPath">): HealthCheck {
  return {
    name: "disk",
    critical: true,
    timeoutMs: 3_000,
    cacheMs: 2_000,
    run: async (): Promise<CheckOutcome> => {
      const { bavail, blocks, bsize } = await statfs(diskPath);
      return judgeDisk({ path: diskPath, freeBytes: bavail * bsize, totalBytes: blocks * bsize });
    },
  };
}

/** What /readyz checks, in the order of its report. */
export function healthChecks(parts: CheckedParts): readonly HealthCheck[] {
  return [database(parts), schema(parts), blockStore(parts), pinset(parts), snapshotCheck(parts), diskCheck(parts)];
}
