import { expect, test } from "vitest";
import { raceOnKey, type Racer, type ScratchKey } from "../../../src/lib/membership/kv/self-test.ts";

interface FakeKey extends ScratchKey {
  readonly values: string[];
}

/** A key on which exactly one of those who know the same wins, unless `accept` says otherwise. */
function keyOf(accept = (revision: number, latest: number): boolean => revision === latest, keep = true): FakeKey {
  const values: string[] = [];
  let latest = 0;
  const racer: Racer = {
    compareAndSet: async (value, revision) => {
      await Promise.resolve();
      if (!accept(revision, latest)) return null;
      latest += 1;
      if (keep) values.push(value);
      return latest;
    },
  };
  return { values, racers: Array.from({ length: 8 }, () => racer), history: async () => values };
}

test("a key that lets one of eight win, round after round, passes", async () => {
  const key = keyOf();
  expect(await raceOnKey(key, 10)).toEqual({ rounds: 10, racers: 8, mostWinners: 1, problems: [] });
  expect(key.values).toHaveLength(10);
});

test("several winners of one round are found out, and nothing is raced for after it", async () => {
  let rounds = 0;
  const key = keyOf((revision, latest) => {
    if (revision === latest) rounds += 1;
    return revision === latest || (rounds === 3 && revision === latest - 1);
  });
  const report = await raceOnKey(key, 10);
  expect(report.mostWinners).toBe(2);
  expect(report.problems).toEqual(["in round 3 2 of 8 clients won"]);
});

test("a round that nobody wins is found out", async () => {
  const report = await raceOnKey(
    keyOf(() => false),
    5,
  );
  expect(report.problems).toEqual(["in round 1 0 of 8 clients won"]);
});

test("an acknowledged write that is not there is found out", async () => {
  const report = await raceOnKey(keyOf(undefined, false), 2);
  expect(report.problems).toEqual(["2 writes were acknowledged and 0 are there"]);
});

test("a refused value that stands in the place of an acknowledged one is found out", async () => {
  const key = keyOf();
  const history = async (): Promise<readonly string[]> => key.values.with(1, "round 2, client 5");
  const { problems } = await raceOnKey({ racers: key.racers, history }, 3);
  expect(problems).toEqual(['revision 2 is "round 2, client 5", and "round 2, client 1" was acknowledged']);
});

test("a write that gets a revision which is not the next one is found out", async () => {
  const key = keyOf();
  const racers = key.racers.map(
    ({ compareAndSet }): Racer => ({
      compareAndSet: async (value, revision) => {
        const written = await compareAndSet(value, revision);
        return written === null ? null : written + 1;
      },
    }),
  );
  const { problems } = await raceOnKey({ racers, history: key.history }, 3);
  expect(problems).toEqual(["round 1 was written as revision 2, not as 1"]);
});

test("a client that gets no answer is no loser: the race fails", async () => {
  const key = keyOf();
  const silent: Racer = {
    compareAndSet: async () => {
      throw new Error("timeout");
    },
  };
  await expect(raceOnKey({ racers: [...key.racers, silent], history: key.history }, 3)).rejects.toThrow("timeout");
});
