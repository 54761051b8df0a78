import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { makeTwoGateways, type TwoGateways } from "../../support/two-gateways.ts";
import { startCluster, type TestCluster } from "../../support/cluster-processes.ts";
import { lostWrites, storm, stormMs, STORM_SETTINGS } from "./storm.ts";

const FOR_MS = stormMs(15_000);

let opened: AsyncDisposableStack;
let gateways: TwoGateways;
let daemons: TestCluster;

beforeAll(async () => {
  opened = new AsyncDisposableStack();
  daemons = opened.use(await startCluster([{ name: "writer" }]));
  const { kubo, api } = daemons.peer("writer");
  const settings = {
    blocks: { mode: "kubo", kuboApi: kubo.apiAddress },
    cluster: { mode: "rest", api, replicationMin: 1, replicationMax: 1 },
  };
  gateways = opened.use(await makeTwoGateways({ ...settings, ...STORM_SETTINGS }));
});
afterAll(async () => {
  await opened?.disposeAsync();
});

describe("two gateways on one Kubo and one peer of IPFS Cluster", () => {
  test("lose acknowledged writes where nothing arbitrates between them: the control of the next one", async () => {
    await gateways.set("buckets", { cas: false });
    await gateways.start();
    const lost = await lostWrites(gateways, "control");
    await gateways.stop();
    expect(lost).not.toEqual([]);
  });

  test("lose none with compare-and-swap, and every read is explained, while they are killed, paused and cut off", {
    timeout: 8 * FOR_MS + 180_000,
  }, async () => {
    await gateways.set("buckets", { cas: true });
    await gateways.start();
    const { kubo } = daemons.peer("writer");
    const meddle = async (): Promise<void> => {
      await Promise.resolve(kubo.ipfs("repo", "gc"));
    };
    await storm(gateways, { forMs: FOR_MS, meddle });
  });
});
