import { expect, test } from "vitest";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { FulaError } from "../../../src/lib/kernel/errors.ts";
import { systemRandom } from "../../../src/lib/kernel/random.ts";
import { checkTestPin, type TestPinDeps } from "../../../src/lib/stack/verify-master.ts";
import { createMemoryCluster, type MemoryCluster } from "../../support/memory-cluster.ts";
import { MemoryBlocks } from "../../support/memory-blocks.ts";

const signal = new AbortController().signal;

function depsOf(pins: MemoryCluster, blocks = new MemoryBlocks()): TestPinDeps {
  return { blocks, pins, peer: "self", clock: systemClock, random: systemRandom, signal, patienceMs: 0 };
}

function cluster(): MemoryCluster {
  return createMemoryCluster({ peers: ["self", "other"] });
}

test("a test pin that was pinned is gone afterwards, and so is its block", async () => {
  const [pins, blocks] = [cluster(), new MemoryBlocks()];
  await checkTestPin(depsOf(pins, blocks));
  expect(pins.puts).toHaveLength(1);
  expect(pins.records.size).toBe(0);
  expect(blocks.blocks.size).toBe(0);
});

test("a test pin that cannot be taken away again is no master that pins and unpins", async () => {
  const refusing = cluster();
  refusing.remove = async () => {
    throw new FulaError("FULA_PIN_REFUSED", "It is not let go.", { hint: "none" });
  };
  await expect(checkTestPin(depsOf(refusing))).rejects.toMatchObject({ code: "FULA_PIN_REFUSED" });
  const forgetful = cluster();
  forgetful.remove = async () => true;
  await expect(checkTestPin(depsOf(forgetful))).rejects.toMatchObject({
    code: "FULA_JOIN_UNVERIFIED",
    message: expect.stringContaining("still pinned"),
  });
});

test("a test pin that is not pinned is taken away, and why it is not is told", async () => {
  const pins = cluster();
  pins.faults.onPut = ({ cid }) => {
    pins.reported.set(`${cid}@self`, "pin_error");
  };
  await expect(checkTestPin(depsOf(pins))).rejects.toMatchObject({
    code: "FULA_JOIN_UNVERIFIED",
    message: expect.stringContaining("is pin_error on peer self (told to be pin_error)"),
  });
  expect(pins.records.size).toBe(0);
});
