import { Client } from "pg";
import { systemClock } from "../../src/lib/kernel/clock.ts";
import { LEASE_LOCK_KEY } from "../../src/lib/lease/lease-record.ts";
import { createPool } from "../../src/lib/postgres/pool.ts";
import { type LeaseProcess, startLeaseProcess } from "../support/leases.ts";
import { startTestPostgres } from "../support/postgres-server.ts";
import { until } from "../support/until.ts";
import { median } from "./measure.ts";

/** What a takeover may take at most. */
const TAKEOVER_MAX_MS = 1_000;
const KILLS = Number(process.env["BENCH_KILLS"] ?? 50);
/** The settings' default: what a takeover must not depend on. */
const TTL_MS = 15_000;
/** How often the fleet's masters look, in the shortest of their two tasks: ten minutes. */
const FLEET_TICK_MS = 600_000;
/** Looks of the fleet's way are this much closer together here, so that they can be waited for. */
const FLEET_SPEED_UP = 200;
const FLEET_KILLS = 10;

function heldAt(process: LeaseProcess): number | null {
  return process.told.findLast(({ event }) => event === "held")?.atMs ?? null;
}

async function waitForHeld(process: LeaseProcess): Promise<number> {
  return await until("the standby leads", async () => await Promise.resolve(heldAt(process)));
}

async function waitForStandby(process: LeaseProcess): Promise<void> {
  await until(
    "the other stands by",
    async () => await Promise.resolve(process.told.some(({ event }) => event.startsWith("standby"))),
  );
}

/** Kills the holder again and again; each time another process stands by. @returns how long each takeover took */
async function killHolders(options: Parameters<typeof startLeaseProcess>[0]): Promise<readonly number[]> {
  const tookMs: number[] = [];
  let holder = startLeaseProcess(options, "master-0", { ttlMs: TTL_MS });
  await waitForHeld(holder);
  for (let kill = 1; kill <= KILLS; kill += 1) {
    const standby = startLeaseProcess(options, `master-${kill}`, { ttlMs: TTL_MS });
    await waitForStandby(standby);
    // Not always at the same point of the standby's pause.
    await systemClock.sleep((kill * 37) % 250);
    const killedMs = systemClock.nowMs();
    holder.signal("SIGKILL");
    tookMs.push((await waitForHeld(standby)) - killedMs);
    await holder[Symbol.asyncDispose]();
    holder = standby;
  }
  await holder[Symbol.asyncDispose]();
  return tookMs;
}

/** The fleet's way: a standby tries the lock at its next tick. Its ticks are shortened, and the result is stretched again. */
async function killFleetHolders(url: string): Promise<readonly number[]> {
  const tickMs = FLEET_TICK_MS / FLEET_SPEED_UP;
  const tookMs: number[] = [];
  const tryLock = async (client: Client): Promise<boolean> => {
    const { rows } = await client.query<{ taken: boolean }>("select pg_try_advisory_lock($1) as taken", [
      LEASE_LOCK_KEY.toString(),
    ]);
    return rows[0]?.taken === true;
  };
  for (let kill = 0; kill < FLEET_KILLS; kill += 1) {
    const [holder, standby] = [new Client(url), new Client(url)];
    await Promise.all([holder.connect(), standby.connect()]);
    await tryLock(holder);
    const startMs = systemClock.monotonicMs();
    // Holders die at any time between two ticks.
    const diesMs = (tickMs * (kill + 0.5)) / FLEET_KILLS;
    await systemClock.sleep(diesMs);
    await holder.end();
    const diedMs = systemClock.monotonicMs();
    await systemClock.sleep(Math.max(0, startMs + tickMs - systemClock.monotonicMs()));
    if (!(await tryLock(standby))) throw new Error("The lock of a dead session is not free");
    tookMs.push((systemClock.monotonicMs() - diedMs) * FLEET_SPEED_UP);
    await standby.end();
  }
  return tookMs;
}

function line(name: string, tookMs: readonly number[]): void {
  const text = (ms: number): string => `${ms.toFixed(0)} ms`.padStart(12);
  console.log(`${name.padEnd(44)} median ${text(median(tookMs))}   max ${text(Math.max(...tookMs))}`);
}

/** How long nobody leads after the holder of the cron lease was killed, beside the fleet's way. */
export async function bench(): Promise<void> {
  const { postgres, stop } = await startTestPostgres();
  const { host, port, owner, template: database } = postgres;
  const options = { host, port, database, ...owner, part: "bench", node: "bench" };
  try {
    const pool = createPool(options);
    await pool.query("create table writes (id bigserial, epoch bigint, holder text, at timestamptz)");
    await pool.end();
    const ours = await killHolders({ options });
    const fleet = await killFleetHolders(`postgresql://${owner.user}:${owner.password}@${host}:${port}/${database}`);
    line(`the fleet's way, a tick every ${FLEET_TICK_MS / 60_000} min (${FLEET_KILLS} kills)`, fleet);
    line(`fula-master, kill -9 (${KILLS} kills)`, ours);
    console.log(`ratio of the medians: ${(median(fleet) / median(ours)).toFixed(0)} ×`);
    const isMet = Math.max(...ours) < TAKEOVER_MAX_MS;
    console.log(`longest takeover: allowed are ${TAKEOVER_MAX_MS} ms: ${isMet ? "met" : "NOT MET"}`);
    if (!isMet) process.exitCode = 1;
  } finally {
    await stop();
  }
}
