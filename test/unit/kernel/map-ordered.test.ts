import { setImmediate as nextTurn } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { mapOrdered } from "../../../src/lib/kernel/map-ordered.ts";
import { collect } from "../../support/pins.ts";

async function* count(to: number, onTake: (number: number) => void = () => {}): AsyncGenerator<number> {
  for (let number = 0; number < to; number += 1) {
    onTake(number);
    yield number;
  }
}

describe("mapOrdered", () => {
  test("gives results in the order of the source, whatever order they end in", async () => {
    const results = await collect(
      mapOrdered(count(50), 7, async (number) => {
        for (let turn = 0; turn < (number * 13) % 11; turn += 1) await nextTurn();
        return number * 2;
      }),
    );
    expect(results).toEqual(Array.from({ length: 50 }, (_, number) => number * 2));
  });

  test("has no more calls in flight than it was told, and that many", async () => {
    let inFlight = 0;
    let most = 0;
    await collect(
      mapOrdered(count(40), 4, async () => {
        inFlight += 1;
        most = Math.max(most, inFlight);
        await nextTurn();
        inFlight -= 1;
      }),
    );
    expect(most).toBe(4);
  });

  test("takes no more from the source than it needs when it is left early", async () => {
    const taken: number[] = [];
    for await (const result of mapOrdered(
      count(1_000, (number) => taken.push(number)),
      4,
      async (number) => number,
    )) {
      if (result === 10) break;
    }
    expect(taken.length).toBeLessThan(20);
  });

  test("throws the first error in order, and leaves no rejection behind", async () => {
    const results: number[] = [];
    const run = async (): Promise<void> => {
      for await (const result of mapOrdered(count(20), 5, async (number) => {
        if (number >= 3) throw new Error(`failed at ${number}`);
        await nextTurn();
        return number;
      })) {
        results.push(result);
      }
    };
    await expect(run()).rejects.toThrow("failed at 3");
    expect(results).toEqual([0, 1, 2]);
  });

  test("passes an error of the source on, after what came before it", async () => {
    async function* broken(): AsyncGenerator<number> {
      yield 1;
      throw new Error("source broke");
    }
    await expect(collect(mapOrdered(broken(), 3, async (number) => number))).rejects.toThrow("source broke");
  });
});
