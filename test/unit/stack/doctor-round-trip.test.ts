import { expect, test } from "vitest";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { FulaError } from "../../../src/lib/kernel/errors.ts";
import { systemRandom } from "../../../src/lib/kernel/random.ts";
import { type RoundTripDeps, roundTrip } from "../../../src/lib/stack/doctor-round-trip.ts";
import { MemoryBlocks } from "../../support/memory-blocks.ts";
import { createMemoryCluster, type MemoryCluster } from "../../support/memory-cluster.ts";

const { signal } = new AbortController();

function depsOf(pins: MemoryCluster, blocks = new MemoryBlocks()): RoundTripDeps {
  return { blocks, pins, clock: systemClock, random: systemRandom };
}

function lost(): FulaError {
  return new FulaError("FULA_CLUSTER_UNREADABLE", "The answer was lost.", { hint: "none" });
}

test("a round trip leaves neither a pin nor a block", async () => {
  const [pins, blocks] = [createMemoryCluster(), new MemoryBlocks()];
  expect(await roundTrip(depsOf(pins, blocks), signal)).toMatch(/^stored, pinned, read back and removed /);
  expect(pins.puts).toHaveLength(1);
  expect([pins.records.size, blocks.blocks.size]).toEqual([0, 0]);
});

test("a pin whose answer was lost is taken away all the same", async () => {
  const pins = createMemoryCluster();
  const put = pins.put.bind(pins);
  pins.put = async (pin) => {
    await put(pin);
    throw lost();
  };
  await expect(roundTrip(depsOf(pins), signal)).rejects.toMatchObject({ code: "FULA_CLUSTER_UNREADABLE" });
  expect(pins.puts).toHaveLength(1);
  expect(pins.records.size).toBe(0);
});

test("why a block was not pinned is told, also where its pin cannot be taken away either", async () => {
  const pins = createMemoryCluster();
  pins.faults.onPut = ({ cid }) => {
    pins.reported.set(cid, "pin_error");
  };
  pins.remove = async () => {
    throw lost();
  };
  await expect(roundTrip(depsOf(pins), signal)).rejects.toMatchObject({ code: "FULA_PIN_REFUSED" });
});

test("a pin that cannot be taken away, or is held on to, fails the round trip", async () => {
  const refusing = createMemoryCluster();
  refusing.remove = async () => {
    throw lost();
  };
  await expect(roundTrip(depsOf(refusing), signal)).rejects.toMatchObject({ code: "FULA_CLUSTER_UNREADABLE" });
  const forgetful = createMemoryCluster();
  forgetful.remove = async () => true;
  const limited = new AbortController();
  const clock = {
    ...systemClock,
    sleep: async () => {
      limited.abort();
      limited.signal.throwIfAborted();
    },
  };
  await expect(roundTrip({ ...depsOf(forgetful), clock }, limited.signal)).rejects.toThrow("aborted");
});
