import { expect } from "vitest";
import type { Random } from "../../src/lib/kernel/random.ts";
import { exchangeBytes } from "./http-fuzz.ts";
import { seededRandom } from "./seeded-random.ts";

const SOAK = process.env["SOAK"] === "1";
/** Seeds to run again, as a failure names them: `FUZZ_SEED=17,18`. */
const CHOSEN = process.env["FUZZ_SEED"];
const SOAK_MS = 5 * 60_000;
const REQUESTS_PER_SEED = 20;
/** Who is silent for as long as a machine may stand still does not hang yet. */
const PATIENCE = { answerMs: 500, endMs: 60_000 };

/** What is sent to a listener, and what counts as wrong. */
export interface HttpFuzz {
  readonly port: number;
  readonly draw: (random: Random) => Buffer;
  /** What is wrong with an answer; null where nothing is. */
  readonly findFault: (received: string, isHanging: boolean) => string | null;
}

/** The first seeds, those that FUZZ_SEED names, or in the soak new ones for five minutes. */
function* seedsOf(count: number): Generator<number> {
  const startMs = Date.now();
  if (CHOSEN !== undefined) yield* CHOSEN.split(",").map(Number);
  else if (!SOAK) yield* Array.from({ length: count }, (_, index) => index + 1);
  else for (let seed = Math.trunc(startMs / 1_000); Date.now() < startMs + SOAK_MS; seed += 1) yield seed;
}

/** Sends the requests of one seed; fails with what to run again. */
export async function fuzzSeed(seed: number, { port, draw, findFault }: HttpFuzz): Promise<void> {
  const random = seededRandom(seed);
  for (let index = 0; index < REQUESTS_PER_SEED; index += 1) {
    const request = draw(random);
    const { received, isHanging } = await exchangeBytes(port, request, PATIENCE);
    const fault = findFault(received, isHanging);
    if (fault === null) continue;
    const sent = request.subarray(0, 3_000).toString("latin1");
    expect.fail(`FUZZ_SEED=${seed}, request ${index}: ${fault}\n--- sent (${request.byteLength} bytes)\n${sent}`);
  }
}

/** Sends what the seeds draw, some seeds at a time. */
export async function fuzzHttp(
  fuzz: HttpFuzz,
  sizes: { readonly seeds: number; readonly atOnce: number },
): Promise<void> {
  const seeds = seedsOf(sizes.seeds);
  const run = async (): Promise<void> => {
    for (const seed of seeds) await fuzzSeed(seed, fuzz);
  };
  await Promise.all(Array.from({ length: sizes.atOnce }, run));
}

/** So long a test of seeds may take, milliseconds. */
export function fuzzPatienceMs(shortMs: number): number {
  return SOAK ? SOAK_MS * 2 : shortMs;
}
