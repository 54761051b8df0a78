import { execFile } from "node:child_process";
import { randomUUID } from "node:crypto";
import { join } from "node:path";
import { promisify } from "node:util";
import { openKuboBlockStore } from "../../src/lib/blocks/kubo.ts";
import { makePin, type Pin } from "../../src/lib/cluster/pins.ts";
import { systemClock } from "../../src/lib/kernel/clock.ts";
import { takeSnapshot } from "../../src/lib/pinset/snapshot.ts";
import { type Binaries } from "../infra/daemons.ts";
import { infra } from "../infra/infra.ts";
import { type ClusterBox, makeClusterBox } from "../support/cluster-box.ts";
import { type ClusterPeer, startCluster } from "../support/cluster-processes.ts";
import { createMemoryCluster } from "../support/memory-cluster.ts";
import { rawBytes, rawCid } from "../support/pins.ts";

const run = promisify(execFile);

const PINS = 10_000;
/** The old way is measured on that many and multiplied: ten thousand would take a quarter of an hour. */
const OLD_WAY_PINS = 50;
const RATIO_MIN = 50;
const PUTS = 2_000;
const CONCURRENCIES = [1, 4, 16, 32, 64, 128] as const;

function pinOf(seed: string): Pin {
  return makePin(rawCid(seed).toString(), "2026-01-01T00:00:00Z", {
    name: `object ${seed}`,
    metadata: { bucket: "bench" },
    replication_factor_min: 1,
    replication_factor_max: 1,
  });
}

async function atOnce(count: number, concurrency: number, work: (number: number) => Promise<void>): Promise<number> {
  const startedMs = performance.now();
  let next = 0;
  await Promise.all(
    Array.from({ length: concurrency }, async () => {
      while (next < count) {
        next += 1;
        await work(next - 1);
      }
    }),
  );
  return performance.now() - startedMs;
}

/** Gives the box a signed snapshot of pins that its cluster has not, with their content at its Kubo. */
async function prepare(box: ClusterBox, peer: ClusterPeer): Promise<void> {
  const blocks = openKuboBlockStore(peer.kubo.api);
  await atOnce(PINS, 32, async (number) => blocks.put(rawCid(`bench ${number}`), rawBytes(`bench ${number}`)));
  const pins = Array.from({ length: PINS }, (_, number) => pinOf(`bench ${number}`));
  const stateDir = join(box.baseDir, "state");
  await takeSnapshot(
    {
      cluster: createMemoryCluster({ clusterId: box.pinset.clusterId, pins }),
      paths: {
        snapshotsDir: join(box.baseDir, "snapshots"),
        keysDir: join(box.baseDir, "keys"),
        stateDir,
        locksDir: join(stateDir, "locks"),
      },
      trustedKeys: [],
      clock: systemClock,
    },
    { maxShrinkPercent: 10, keep: null },
  );
}

/** `docker exec … ipfs-cluster-ctl pin add` for each CID, as it was done; without the container where Docker is not. */
async function oldWayMs(peer: ClusterPeer, { clusterCtl }: Binaries): Promise<number> {
  const api = peer.api.replace("http://127.0.0.1:", "/ip4/127.0.0.1/tcp/");
  const container = `fula-bench-${randomUUID().slice(0, 8)}`;
  const start = `run --rm --detach --network host --name ${container} --entrypoint sleep ${infra().images.cluster} 3600`;
  const isRunning = await run("docker", start.split(" ")).then(
    () => true,
    () => false,
  );
  const [program, ...before] = isRunning ? ["docker", "exec", container, "ipfs-cluster-ctl"] : [clusterCtl];
  console.log(`old way: one ${isRunning ? "docker exec" : "process"} a CID, measured on ${OLD_WAY_PINS}`);
  try {
    const ms = await atOnce(OLD_WAY_PINS, 1, async (number) => {
      await run(program ?? "", [
        ...before,
        "--host",
        api,
        "pin",
        "add",
        "--no-status",
        rawCid(`old ${number}`).toString(),
      ]);
    });
    return (ms / OLD_WAY_PINS) * PINS;
  } finally {
    if (isRunning) await run("docker", ["rm", "--force", container]);
  }
}

/**
 * Restores 10,000 missing pins into a real IPFS Cluster, from the verified snapshot to the last re-read record, against
 * the old way's writing alone; then how many puts a second there are by how many are under way.
 * @throws Error where a pin is not there afterwards, or the restore is not 50 times faster
 */
export async function bench(): Promise<void> {
  await using cluster = await startCluster([{ name: "master" }]);
  const peer = cluster.peer("master");
  await using box = makeClusterBox(peer);
  await prepare(box, peer);
  const startedMs = performance.now();
  const { stderr } = await box.run("restore", "--yes", "--wait", "0s");
  const restoreMs = performance.now() - startedMs;
  const there = (await box.pins()).size;
  if (there !== PINS) throw new Error(`${there} of ${PINS} pins were restored:\n${stderr}`);
  const oldMs = await oldWayMs(peer, infra().binaries);
  const ratio = oldMs / restoreMs;
  console.log(`restore of ${PINS} pins: ${(restoreMs / 1_000).toFixed(1)} s, old way ${(oldMs / 1_000).toFixed(0)} s`);
  console.log(`  ratio ${ratio.toFixed(0)} (bound ${RATIO_MIN})`);
  if (ratio < RATIO_MIN) throw new Error(`The restore was only ${ratio.toFixed(1)} times faster than the old way`);
  for (const concurrency of CONCURRENCIES) {
    const ms = await atOnce(PUTS, concurrency, async (number) => box.pinset.put(pinOf(`${concurrency} ${number}`)));
    console.log(`${String(concurrency).padStart(4)} puts under way: ${Math.round((PUTS / ms) * 1_000)} a second`);
  }
}
