import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { z } from "zod";
import { parseCid } from "../../src/lib/blocks/cid.ts";
import { openKuboBlockStore } from "../../src/lib/blocks/kubo.ts";
import type { Pin, PinCluster } from "../../src/lib/cluster/pins.ts";
import { openRestCluster } from "../../src/lib/cluster/rest.ts";
import { isHeldSomewhere } from "../../src/lib/pinset/listing-check.ts";
import { systemClock } from "../../src/lib/kernel/clock.ts";
import { type CliRun, runCliForTest } from "./cli.ts";
import type { ClusterPeer } from "./cluster-processes.ts";
import { markJoined } from "./joined.ts";
import { collect, rawBytes } from "./pins.ts";

const CLUSTER_ID = "0b9a5f0e-0000-4000-8000-0000000000c1";
const FACTORS = { replication_factor_min: 2, replication_factor_max: 3 };
const PATIENCE_MS = 180_000;
const POLL_MS = 500;
const PUTS_AT_ONCE = 32;

const NS_PER_MS = 1_000_000;
/** What the peers last said of themselves; `expire` is in nanoseconds since the Unix epoch. */
const metricsSchema = z
  .array(z.object({ peer: z.string(), expire: z.number() }))
  .nullable()
  .transform((all) => all ?? []);

/** The base directory of a master whose pinset is that of a real IPFS Cluster peer, and what tests do with it. */
export interface ClusterBox extends AsyncDisposable {
  readonly baseDir: string;
  readonly pinset: PinCluster;
  /** Runs `fula-master <args>` for this master. */
  run(...args: readonly string[]): Promise<CliRun>;
  /** The pinset by CID. */
  pins(): Promise<ReadonlyMap<string, Pin>>;
  /** Stores the blocks `rawBytes(seed)` of the pins at this peer's Kubo, and pins them. */
  pinAll(pins: readonly (readonly [seed: string, pin: Pin])[]): Promise<void>;
  /** Waits until every pin is held by as many peers as it asks for at least. */
  untilHeld(cids: Iterable<string>): Promise<void>;
  /** Waits until every peer has heard that nothing is pinned any more: a thousand removals take them half a minute. */
  untilNothingIsHeld(): Promise<void>;
  /** Waits until the cluster takes a killed peer for gone. It alerts only the first such peer, and forgets the others. */
  untilGone(peer: ClusterPeer): Promise<void>;
  untilBack(peer: ClusterPeer): Promise<void>;
}

/** Makes a master beside a running cluster peer. @param settings more lines of its settings */
export function makeClusterBox(peer: ClusterPeer, settings = ""): ClusterBox {
  const baseDir = mkdtempSync(join(tmpdir(), "fula-cluster-box-"));
  const rest = peer.api.replace("http://127.0.0.1:", "/ip4/127.0.0.1/tcp/");
  writeFileSync(
    join(baseDir, "fula-master.yaml"),
    `node: { clusterId: ${CLUSTER_ID} }
blocks: { mode: kubo, kuboApi: ${peer.kubo.apiAddress} }
cluster: { mode: rest, api: ${rest}, replicationMin: 2, replicationMax: 3 }
${settings}`,
  );
  markJoined(baseDir, CLUSTER_ID);
  const pinset = openRestCluster({ clusterId: CLUSTER_ID, url: peer.api, defaultFactors: FACTORS });
  const blocks = openKuboBlockStore(peer.kubo.api);
  return {
    baseDir,
    pinset,
    run: async (...args) => runCliForTest(args, { baseDir }),
    pins: async () => new Map((await collect(pinset.pins())).map((pin) => [pin.cid, pin])),
    pinAll: async (pins) => {
      for (let at = 0; at < pins.length; at += PUTS_AT_ONCE) {
        await Promise.all(
          pins.slice(at, at + PUTS_AT_ONCE).map(async ([seed, pin]) => {
            await blocks.put(parseCid(pin.cid), rawBytes(seed));
            await pinset.put(pin);
          }),
        );
      }
    },
    untilHeld: async (cids) => {
      const wanted = new Set(cids);
      await patiently(async () => {
        const short = await shortOf(pinset, wanted);
        return short.length === 0 ? null : `${short.length} pins are not held, such as ${short[0]}`;
      });
    },
    untilNothingIsHeld: async () => {
      await patiently(async () => {
        const held = (await collect(pinset.statuses())).filter(isHeldSomewhere);
        return held.length === 0 ? null : `${held.length} pins are still held`;
      });
    },
    untilGone: async ({ id, name }) => {
      await patiently(async () => {
        const found = (await pinset.peers()).find((other) => other.id === id);
        return found === undefined || found.state === "gone" ? null : `${name} is ${found.state}`;
      });
      // Until then it is given pins all the same.
      await patiently(async () => {
        const answer = await fetch(`${peer.api}/monitor/metrics/freespace`);
        const metrics = metricsSchema.parse(await answer.json());
        const isKnown = metrics.some((each) => each.peer === id && each.expire / NS_PER_MS > systemClock.nowMs());
        return isKnown ? `the space that ${name} has left is still believed` : null;
      });
    },
    untilBack: async ({ id, name }) => {
      await patiently(async () => {
        const found = (await pinset.peers()).find((other) => other.id === id);
        return found?.state === "answers" ? null : `${name} is ${found?.state ?? "not there"}`;
      });
    },
    [Symbol.asyncDispose]: async () => {
      await pinset[Symbol.asyncDispose]();
      rmSync(baseDir, { recursive: true, force: true });
    },
  };
}

/** @param ask null where it is as it should be, else what is wrong */
async function patiently(ask: () => Promise<string | null>): Promise<void> {
  const deadlineMs = systemClock.monotonicMs() + PATIENCE_MS;
  for (;;) {
    const wrong = await ask();
    if (wrong === null) return;
    if (systemClock.monotonicMs() > deadlineMs) throw new Error(`After ${PATIENCE_MS} ms: ${wrong}`);
    await systemClock.sleep(POLL_MS);
  }
}

async function shortOf(pinset: PinCluster, wanted: ReadonlySet<string>): Promise<readonly string[]> {
  const held = new Map<string, number>();
  for await (const { cid, peers } of pinset.statuses()) {
    held.set(cid, peers.filter(({ status }) => status === "pinned").length);
  }
  const members = (await pinset.peers()).filter(({ state }) => state === "answers").length;
  const short: string[] = [];
  const found = new Set<string>();
  for await (const { cid, replication_factor_min: min } of pinset.pins()) {
    found.add(cid);
    if (wanted.has(cid) && (held.get(cid) ?? 0) < (min < 0 ? members : min)) short.push(cid);
  }
  return [...short, ...[...wanted].filter((cid) => !found.has(cid))];
}
