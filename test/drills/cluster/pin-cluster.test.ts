import { afterAll, beforeAll } from "vitest";
import { parseCid } from "../../../src/lib/blocks/cid.ts";
import { openKuboBlockStore } from "../../../src/lib/blocks/kubo.ts";
import type { Pin, PinCluster } from "../../../src/lib/cluster/pins.ts";
import { openRestCluster } from "../../../src/lib/cluster/rest.ts";
import { describePinCluster } from "../../contract/pin-cluster.contract.ts";
import { startCluster, type TestCluster } from "../../support/cluster-processes.ts";
import { collect, fullPin, rawBytes } from "../../support/pins.ts";
import { until } from "../../support/until.ts";

const FACTORS = { replication_factor_min: 2, replication_factor_max: 2 };

let cluster: TestCluster;
let pinset: PinCluster & AsyncDisposable;

beforeAll(async () => {
  cluster = await startCluster([{ name: "writer" }, { name: "follower", follower: true }]);
  pinset = openRestCluster({ clusterId: "drill", url: cluster.peer("writer").api, defaultFactors: FACTORS });
});
afterAll(async () => {
  await pinset?.[Symbol.asyncDispose]();
  await cluster?.[Symbol.asyncDispose]();
});

/** All content of these pins is there, so in the end every peer has it. */
async function settled(): Promise<void> {
  await until("every peer has done what it was asked", async () => {
    const pins = await collect(pinset.pins());
    const statuses = await collect(pinset.statuses());
    return (
      statuses.length === pins.length &&
      statuses.every(({ peers }) => peers.length === 2 && peers.every(({ status }) => status === "pinned"))
    );
  });
}

async function provide(pins: readonly Pin[]): Promise<void> {
  const blocks = openKuboBlockStore(cluster.peer("writer").kubo.api);
  for (let number = 0; number < 30; number += 1) {
    const pin = pins.find(({ cid }) => cid === fullPin(number).cid);
    if (pin !== undefined) await blocks.put(parseCid(pin.cid), rawBytes(`full ${number}`));
  }
}

async function lose({ cid }: Pin): Promise<void> {
  for (const { kubo } of cluster.peers) {
    kubo.ipfs("pin", "rm", cid);
    kubo.ipfs("block", "rm", cid);
  }
}

async function empty(): Promise<void> {
  for (const { cid } of await collect(pinset.pins())) await pinset.remove(cid);
  await settled();
}

/** Factors of 0 become the configured ones, and shards are none that were asked for. */
function kept(pin: Pin): Pin {
  return pin.replication_factor_min === 0 ? { ...pin, ...FACTORS } : pin;
}

describePinCluster("an IPFS Cluster", async () => ({
  cluster: pinset,
  provide,
  lose,
  kept,
  settled,
  close: empty,
}));
