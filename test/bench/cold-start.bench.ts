import { setUpNatsServer } from "../infra/setup.ts";
import { openTestKv } from "../support/kv-stores.ts";
import { newOperator } from "../support/membership.ts";
import { placeNatsServers } from "../support/nats-places.ts";
import { type NatsServers, startNatsServers } from "../support/nats-servers.ts";
import { median } from "./measure.ts";

const ROUNDS = 20;

/** Milliseconds from the start of empty servers until a first write is acknowledged, by a client that was there before them. */
async function firstWriteMs(
  servers: Pick<NatsServers, "urls" | "user">,
  replicas: number,
  start: () => Promise<unknown>,
): Promise<number> {
  const startedMs = performance.now();
  const starting = start();
  await using store = await openTestKv(servers, { replicas, bootstrapTimeoutMs: 120_000 });
  await store.addOperator(newOperator("system", "admin"));
  const tookMs = performance.now() - startedMs;
  await starting;
  return tookMs;
}

async function oneServer(): Promise<number> {
  await using servers = await startNatsServers(1, { start: false });
  const start = async (): Promise<unknown> => await servers.servers[0]?.process.start();
  return await firstWriteMs(servers, 1, start);
}

async function threeServers(): Promise<number> {
  await using placed = await placeNatsServers(3);
  const urls = placed.servers.map(({ url }) => url);
  const start = async (): Promise<unknown> =>
    await Promise.all(placed.servers.map(async ({ process }) => await process.start()));
  return await firstWriteMs({ urls, user: placed.user }, 3, start);
}

/**
 * How long three empty servers, each on a machine of its own, take until a first record is on all of them, beside one
 * server that has nobody to agree with. Needs root.
 */
export async function bench(): Promise<void> {
  await setUpNatsServer(() => {});
  const times: { readonly one: number[]; readonly three: number[] } = { one: [], three: [] };
  for (let round = 0; round < ROUNDS; round += 1) {
    times.one.push(await oneServer());
    times.three.push(await threeServers());
  }
  const base = median(times.one);
  for (const [name, ms] of [
    ["one server", times.one],
    ["three servers", times.three],
  ] as const) {
    const [middle, most] = [median(ms), Math.max(...ms)];
    console.log(
      `${name.padEnd(14)}median ${middle.toFixed(0).padStart(6)} ms  ${(middle / base).toFixed(1)} ×   ` +
        `maximum ${most.toFixed(0).padStart(6)} ms  ${(most / base).toFixed(1)} ×`,
    );
  }
}
