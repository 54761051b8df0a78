/**
 * Takes one snapshot of a pinset of `count` pins, slowly enough to be killed anywhere: `take-snapshot.ts <base dir> <count>
 * <sorted|unsorted>`.
 */
import { setImmediate as nextTurn } from "node:timers/promises";
import { join } from "node:path";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { takeSnapshot } from "../../../src/lib/pinset/snapshot.ts";
import { createSyntheticCluster } from "../synthetic-cluster.ts";

const [baseDir = "", count = "", order = ""] = process.argv.slice(2);
const stateDir = join(baseDir, "state");
const source = createSyntheticCluster(Number(count), order === "sorted");
const cluster = {
  ...source,
  pins: async function* () {
    let given = 0;
    for await (const pin of source.pins()) {
      yield pin;
      given += 1;
      if (given % 512 === 0) await nextTurn();
    }
  },
};
const paths = {
  snapshotsDir: join(baseDir, "snapshots"),
  keysDir: join(baseDir, "keys"),
  stateDir,
  locksDir: join(stateDir, "locks"),
};
await takeSnapshot({ cluster, paths, trustedKeys: [], clock: systemClock }, { maxShrinkPercent: 10, keep: null });
