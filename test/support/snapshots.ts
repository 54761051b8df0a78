import { mkdirSync } from "node:fs";
import { join } from "node:path";
import type { Pin, PinCluster } from "../../src/lib/cluster/pins.ts";
import type { Clock } from "../../src/lib/kernel/clock.ts";
import type { TrustedKey } from "../../src/lib/pinset/keys.ts";
import {
  type SnapshotOptions,
  type SnapshotPaths,
  type SnapshotReport,
  takeSnapshot,
} from "../../src/lib/pinset/snapshot.ts";
import { loadTrustedKeys } from "../../src/lib/pinset/trust.ts";
import { type Verification, type VerifyDeps, verifySnapshot } from "../../src/lib/pinset/verify.ts";
import { FakeClock } from "./clock.ts";
import { createMemoryCluster, type MemoryCluster } from "./memory-cluster.ts";
import { fullPin } from "./pins.ts";
import { tempDir } from "./temp-dir.ts";

/** Directories, a clock and a pinset to take snapshots of. */
export interface SnapshotBox {
  readonly baseDir: string;
  readonly paths: SnapshotPaths;
  readonly clock: FakeClock;
  readonly cluster: MemoryCluster;
  /** Takes one an hour after the last. */
  take(options?: Partial<SnapshotOptions>, cluster?: PinCluster): Promise<SnapshotReport>;
  verify(file: string, deps?: Partial<VerifyDeps>): Promise<Verification>;
  trusted(): Promise<readonly TrustedKey[]>;
}

/** The directories of a box below `baseDir`. */
export function pathsIn(baseDir: string): SnapshotPaths {
  const stateDir = join(baseDir, "state");
  return {
    snapshotsDir: join(baseDir, "snapshots"),
    keysDir: join(baseDir, "keys"),
    stateDir,
    locksDir: join(stateDir, "locks"),
  };
}

/** That many pins with every option set, the same ones every time. */
export function fullPins(count: number): readonly Pin[] {
  return Array.from({ length: count }, (_, index) => fullPin(index));
}

/** Makes a box in a directory of its own that is removed when the test is over. */
export function openBox(pins: readonly Pin[] = fullPins(3), sorted = true): SnapshotBox {
  const baseDir = tempDir();
  const paths = pathsIn(baseDir);
  mkdirSync(paths.stateDir);
  const clock = new FakeClock();
  const ownCluster = createMemoryCluster({ pins, sorted });
  const trusted = (): Promise<readonly TrustedKey[]> => loadTrustedKeys(paths.keysDir, []);
  return {
    baseDir,
    paths,
    clock,
    cluster: ownCluster,
    trusted,
    take: async (options = {}, cluster = ownCluster) => {
      clock.step(3_600_000);
      const deps: { readonly clock: Clock } = { clock };
      return takeSnapshot(
        { ...deps, cluster, paths, trustedKeys: [] },
        { maxShrinkPercent: 10, keep: null, ...options },
      );
    },
    verify: async (file, deps = {}) =>
      verifySnapshot(file, { trustedKeys: await trusted(), clusterId: ownCluster.clusterId, clock, ...deps }),
  };
}
