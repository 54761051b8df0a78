import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../src/lib/kernel/clock.ts";
import { openSqliteStore } from "../../src/lib/membership/sqlite/sqlite-store.ts";
import type { MembershipStore } from "../../src/lib/membership/store.ts";
import { openTestKv } from "../support/kv-stores.ts";
import { newOperator } from "../support/membership.ts";
import { startNatsServers } from "../support/nats-servers.ts";
import { measureInTurns, median, printAgainstFirst } from "./measure.ts";

const ROUNDS = Number(process.env["BENCH_ROUNDS"] ?? 7);
const QUESTIONS = 1_000;
/** So many ask at the same time, as the routes of one master may. */
const AT_ONCE = 16;
const OPERATORS = 100;
const WHO = `user:${"0".repeat(63)}7`;

/** Asks, and notes how long each answer took. @throws Error where one is no allow: refusing is quick */
async function ask(store: MembershipStore, tookMs: number[]): Promise<void> {
  const before = performance.now();
  const answer = await store.isAuthorized(WHO, "operator");
  tookMs.push(performance.now() - before);
  if (!answer.allowed) throw new Error(answer.why);
}

async function askAll(store: MembershipStore, tookMs: number[]): Promise<void> {
  const each = async (): Promise<void> => {
    for (let asked = 0; asked < QUESTIONS / AT_ONCE; asked += 1) await ask(store, tookMs);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, each));
}

async function fill(store: MembershipStore): Promise<void> {
  await store.addOperator(newOperator("system", "admin"));
  for (let at = 0; at < OPERATORS; at += 1) {
    await store.addOperator(newOperator(`user:${at.toString(16).padStart(64, "0")}`));
  }
}

function percentile(values: readonly number[], part: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? Number.NaN;
}

/** Whether somebody may act, asked of a file, of one NATS server and of three, in turns. */
export async function bench(): Promise<void> {
  const dir = await mkdtemp(join(tmpdir(), "fula-bench-"));
  await using single = await startNatsServers(1);
  await using three = await startNatsServers(3);
  await using sqlite = await openSqliteStore(join(dir, "control-plane.sqlite"), {
    clock: systemClock,
    timeoutMs: 2_000,
    create: true,
  });
  await using one = await openTestKv(single, { replicas: 1 });
  await using cluster = await openTestKv(three, { replicas: 3 });
  const stores = [
    { name: "SQLite", store: sqlite },
    { name: "JetStream KV, one server", store: one },
    { name: "JetStream KV, three servers", store: cluster },
  ].map((each) => ({ ...each, tookMs: [] as number[] }));
  for (const { store } of stores) await fill(store);
  const measured = await measureInTurns(
    stores.map(({ name, store, tookMs }) => ({ name, run: async () => await askAll(store, tookMs) })),
    ROUNDS,
  );
  printAgainstFirst(measured);
  console.log();
  const baseline = percentile(stores[0]?.tookMs ?? [], 0.99);
  for (const [index, { name, tookMs }] of stores.entries()) {
    const perSecond = Math.round((QUESTIONS * 1_000) / (measured[index]?.medianMs ?? Number.NaN));
    const p99 = percentile(tookMs, 0.99);
    console.log(
      `${name}: ${perSecond} a second, ${AT_ONCE} at a time; median ${median(tookMs).toFixed(2)} ms, ` +
        `p99 ${p99.toFixed(2)} ms (${(p99 / baseline).toFixed(1)} ×), longest ${percentile(tookMs, 1).toFixed(1)} ms`,
    );
  }
  await rm(dir, { recursive: true });
}
