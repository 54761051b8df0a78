/**
 * Fills a small disk while snapshots are taken on it: `snapshot-on-disk.ts <sorted|unsorted> <dir>`. Takes a small one that
 * fits, then one that does not, and tells what became of both.
 */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { makePin, type Pin } from "../../../src/lib/cluster/pins.ts";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { FulaError } from "../../../src/lib/kernel/errors.ts";
import { takeSnapshot } from "../../../src/lib/pinset/snapshot.ts";
import { loadTrustedKeys } from "../../../src/lib/pinset/trust.ts";
import { verifySnapshot } from "../../../src/lib/pinset/verify.ts";
import { createMemoryCluster } from "../memory-cluster.ts";
import { rawCid } from "../pins.ts";

const [order = "", dir = ""] = process.argv.slice(2);
const stateDir = join(dir, "state");
const paths = {
  snapshotsDir: join(dir, "snapshots"),
  keysDir: join(dir, "keys"),
  stateDir,
  locksDir: join(stateDir, "locks"),
};

/** Pins whose names no compressor makes smaller. */
async function* pins(count: number): AsyncGenerator<Pin> {
  const cids = Array.from({ length: count }, (_, number) => rawCid(`disk ${number}`).toString());
  const listed = order === "sorted" ? cids.toSorted() : cids;
  for (const [number, cid] of listed.entries()) {
    const name = Array.from({ length: 20 }, (_, part) => rawCid(`name ${number} ${part}`).toString()).join("");
    yield makePin(cid, "2026-01-01T00:00:00Z", { name });
  }
}

async function take(count: number): Promise<string> {
  const cluster = {
    ...createMemoryCluster({ sorted: order === "sorted" }),
    count: async () => null,
    pins: () => pins(count),
  };
  const deps = { cluster, paths, trustedKeys: [], clock: systemClock };
  return (await takeSnapshot(deps, { maxShrinkPercent: 10, keep: null })).file;
}

const small = await take(20);
const before = readdirSync(paths.snapshotsDir);
let outcome = "taken";
try {
  await take(6_000);
} catch (error) {
  if (!(error instanceof FulaError)) throw error;
  outcome = error.code;
}
const trustedKeys = await loadTrustedKeys(paths.keysDir, []);
const { ok } = await verifySnapshot(small, { trustedKeys, clusterId: null, clock: systemClock });
const left = readdirSync(paths.snapshotsDir);
// With room again the next one is taken, and follows the last good one.
const next = await take(20);
const followed = await verifySnapshot(next, { trustedKeys, clusterId: null, clock: systemClock });
process.stdout.write(
  JSON.stringify({
    outcome,
    earlierIsGood: ok,
    isNothingLeft: JSON.stringify(left) === JSON.stringify(before),
    next: { ok: followed.ok, sequence: followed.manifest?.sequence, remarks: followed.remarks },
  }),
);
