/*
 * Three masters lose their power, or are set up, and come up one after the other in whatever order and with whatever time
 * between. Whoever is up looks for the others, and all of them must end as one.
 */
import { expect, test } from "vitest";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { metaGroupAt, placeNatsServers } from "../../support/nats-places.ts";
import { seededRandom } from "../../support/seeded-random.ts";
import { until } from "../../support/until.ts";
import { addForSure, expectEverywhere, openAt, operatorOf, PATIENT } from "./stores.ts";

const IS_SOAK = process.env["SOAK"] === "1";
const SEED = Number(process.env["FAULTS_SEED"] ?? (IS_SOAK ? systemClock.nowMs() % 1_000_000 : 20_261_121));
const ORDERS = [
  [0, 1, 2],
  [0, 2, 1],
  [1, 0, 2],
  [1, 2, 0],
  [2, 0, 1],
  [2, 1, 0],
] as const;
/** One of each order, or of the soak's fifty. */
const RUNS = IS_SOAK ? 50 : ORDERS.length;
const GAP_MAX_MS = IS_SOAK ? 60_000 : 3_000;
const AT_ONCE = 6;
/** Eighteen servers start on one machine. */
const BUDGET_MS = 240_000;

interface ColdStart {
  readonly order: readonly number[];
  /** Before the second and before the third. */
  readonly gapsMs: readonly [number, number];
}

function draw(): readonly ColdStart[] {
  const random = seededRandom(SEED);
  return Array.from({ length: RUNS }, (_, run) => ({
    order: ORDERS[run % ORDERS.length] ?? ORDERS[0],
    gapsMs: [random.int(GAP_MAX_MS), random.int(GAP_MAX_MS)] as const,
  }));
}

/** Starts three empty servers so, with a master at each that wants to write from the first moment on. */
async function startCold({ order, gapsMs }: ColdStart, run: number): Promise<void> {
  await using placed = await placeNatsServers(3);
  const starting = (async () => {
    for (const [turn, index] of order.entries()) {
      if (turn > 0) await systemClock.sleep(gapsMs[turn - 1] ?? 0);
      await placed.servers[index]?.process.start();
    }
  })();
  const ids = placed.servers.map((_, index) => operatorOf(run * 10 + index).id);
  const writing = placed.servers.map(async (server, index) => {
    await using store = await openAt(placed, [server], { ...PATIENT, bootstrapTimeoutMs: BUDGET_MS });
    await addForSure(store, operatorOf(run * 10 + index));
  });
  await Promise.all([starting, ...writing]);
  await until("all three know one leader, and count three", async () => {
    const groups = await Promise.all(placed.servers.map(metaGroupAt));
    const leader = groups[0]?.leader ?? "";
    return leader !== "" && groups.every((group) => group?.leader === leader && group.size === 3);
  });
  await expectEverywhere(placed, ids);
}

test(
  `three empty servers become one in every order, however late each of them comes (seed ${SEED})`,
  async () => {
    const waiting = [...draw().entries()];
    const failures: string[] = [];
    const work = async (): Promise<void> => {
      for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
        const [run, cold] = next;
        try {
          await startCold(cold, run);
        } catch (error) {
          failures.push(`${JSON.stringify(cold)}: ${error instanceof Error ? error.message : String(error)}`);
        }
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, work));
    expect(failures).toEqual([]);
  },
  IS_SOAK ? 3_600_000 : 900_000,
);
