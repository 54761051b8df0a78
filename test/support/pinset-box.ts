import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseCid } from "../../src/lib/blocks/cid.ts";
import { type LocalBlockStore, openLocalBlockStore } from "../../src/lib/blocks/local.ts";
import { type LocalCluster, openLocalCluster } from "../../src/lib/cluster/local.ts";
import type { Pin } from "../../src/lib/cluster/pins.ts";
import { systemClock } from "../../src/lib/kernel/clock.ts";
import { type SnapshotReport, takeSnapshot } from "../../src/lib/pinset/snapshot.ts";
import { embeddedPeerId } from "../../src/lib/stack/pinset.ts";
import { markJoined } from "./joined.ts";
import { blockPin } from "./pin-of-block.ts";
import { collect, rawBytes } from "./pins.ts";
import { tempDir } from "./temp-dir.ts";

const CLUSTER_ID = "0b9a5f0e-0000-4000-8000-000000000001";

/** The base directory of an embedded master that has nothing but a pinset, blocks and settings. */
export interface PinsetBox {
  readonly baseDir: string;
  readonly clusterId: string;
  readonly pinsFile: string;
  readonly snapshotsDir: string;
  /** Works on the pinset for the time of a call, as a process of its own would. */
  withPins<T>(use: (cluster: LocalCluster, blocks: LocalBlockStore) => Promise<T>): Promise<T>;
  pins(): Promise<readonly Pin[]>;
  snapshot(): Promise<SnapshotReport>;
}

/** Makes a box with `count` pins whose blocks are there; removed when the test is over. */
export async function makePinsetBox(
  count: number,
  options: { readonly clusterId?: string; readonly baseDir?: string } = {},
): Promise<PinsetBox> {
  const { clusterId = CLUSTER_ID, baseDir = tempDir() } = options;
  writeFileSync(
    join(baseDir, "fula-master.yaml"),
    `runtime: embedded\nnode:\n  clusterId: ${clusterId}\nsweep:\n  replMin: 1\n`,
  );
  const stateDir = join(baseDir, "state");
  markJoined(baseDir, clusterId);
  const pinsFile = join(stateDir, "pins.sqlite");
  const snapshotsDir = join(baseDir, "snapshots");
  const withPins: PinsetBox["withPins"] = async (use) => {
    const blocks = await openLocalBlockStore(join(stateDir, "blocks"));
    const peerId = embeddedPeerId(clusterId);
    await using cluster = await openLocalCluster({
      dbFile: pinsFile,
      clusterId,
      peerId,
      blocks,
      clock: systemClock,
      create: true,
    });
    return await use(cluster, blocks);
  };
  await withPins(async (cluster, blocks) => {
    const numbers = Array.from({ length: count }, (_, number) => number);
    for (const number of numbers) await blocks.put(parseCid(blockPin(number).cid), rawBytes(`box ${number}`));
    await Promise.all(numbers.map(async (number) => cluster.put(blockPin(number))));
  });
  return {
    baseDir,
    clusterId,
    pinsFile,
    snapshotsDir,
    withPins,
    pins: async () => withPins(async (cluster) => collect(cluster.pins())),
    snapshot: async () =>
      withPins(async (cluster) =>
        takeSnapshot(
          {
            cluster,
            paths: { snapshotsDir, keysDir: join(baseDir, "keys"), stateDir, locksDir: join(stateDir, "locks") },
            trustedKeys: [],
            clock: systemClock,
          },
          { maxShrinkPercent: 10, keep: null },
        ),
      ),
  };
}
