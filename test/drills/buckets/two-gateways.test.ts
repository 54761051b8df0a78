import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { makeTwoGateways, type TwoGateways } from "../../support/two-gateways.ts";
import { lostWrites, storm, stormMs, STORM_SETTINGS } from "./storm.ts";

const FOR_MS = stormMs(30_000);

let opened: AsyncDisposableStack;
let gateways: TwoGateways;

beforeAll(async () => {
  opened = new AsyncDisposableStack();
  gateways = opened.use(await makeTwoGateways(STORM_SETTINGS));
});
afterAll(async () => {
  await opened?.disposeAsync();
});

describe("two gateways on one directory of blocks", () => {
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
    await storm(gateways, { forMs: FOR_MS });
  });
});
