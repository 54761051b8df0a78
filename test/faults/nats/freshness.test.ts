import { afterAll, beforeAll, expect, test } from "vitest";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import type { Authorization } from "../../../src/lib/membership/records.ts";
import type { MembershipStore } from "../../../src/lib/membership/store.ts";
import { openTestKv } from "../../support/kv-stores.ts";
import { endpointOf, newOperator, newPool, outcomesOf } from "../../support/membership.ts";
import { type NatsServer, type NatsServers, startNatsServers } from "../../support/nats-servers.ts";
import { until } from "../../support/until.ts";

const ADMIN = `ed25519:${"ab".repeat(32)}`;
const TIMEOUT_MS = 700;
const MAX_AGE_MS = 1_000;
/** What a busy machine may add to a bound. */
const SLACK_MS = 20_000;

let servers: NatsServers;
let store: MembershipStore;
/** With more patience than the bounds allow, for what is not about them. */
let patient: MembershipStore;

beforeAll(async () => {
  servers = await startNatsServers(3);
  store = await openTestKv(servers, { replicas: 3, timeoutMs: TIMEOUT_MS, maxAgeMs: MAX_AGE_MS });
  patient = await openTestKv(servers, { replicas: 3 });
  await patient.addOperator(newOperator(ADMIN, "admin"));
  await patient.createPool(newPool("masters"));
});

afterAll(async () => {
  await store.close();
  await patient.close();
  await servers[Symbol.asyncDispose]();
});

async function ask(): Promise<Authorization & { readonly tookMs: number }> {
  const beganMs = systemClock.monotonicMs();
  const answer = await store.isAuthorized(ADMIN, "admin");
  return { ...answer, tookMs: systemClock.monotonicMs() - beganMs };
}

async function untilAllowed(): Promise<void> {
  let last: Authorization | null = null;
  const isAllowed = async (): Promise<boolean> => {
    last = await ask();
    return last.allowed;
  };
  await until("the admin may act again", isAllowed).catch((cause: unknown) => {
    throw new Error(`The admin was told last: ${JSON.stringify(last)}`, { cause });
  });
}

/** The one of these servers that leads the bucket of the operators, as one of them says; null where none does. */
async function leaderOf(these: readonly NatsServer[]): Promise<NatsServer | null> {
  for (const server of these) {
    const answer = await fetch(`${server.monitor}/jsz?streams=1&accounts=1&config=0`)
      .then(async (it) => await it.text())
      .catch(() => "");
    const name = /"name":\s*"KV_FULA_users"[\s\S]*?"leader":\s*"([^"]+)"/.exec(answer)?.[1];
    const found = these.find((one) => one.name === name);
    if (found !== undefined) return found;
  }
  return null;
}

async function leader(): Promise<NatsServer> {
  return await until("a server leads the operators' bucket", async () => await leaderOf(servers.servers));
}

test("an allow is never older than it may be, and says how old it is", async () => {
  await untilAllowed();
  const ages: number[] = [];
  const isConfirmed = (age: number, at: number): boolean => at > 0 && age < (ages[at - 1] ?? 0);
  // It was confirmed anew, more than once, and not for every question.
  await until("an allow grew old, and was confirmed anew", async () => {
    const answer = await ask();
    if (answer.allowed) ages.push(answer.ageMs);
    return Math.max(0, ...ages) > MAX_AGE_MS / 4 && ages.filter(isConfirmed).length > 1 && ages.length > 20;
  });
  expect(Math.max(...ages)).toBeLessThanOrEqual(MAX_AGE_MS);
});

test("with two of three servers gone nobody may act and nothing is written; with one of them back both work again", async () => {
  await untilAllowed();
  const [kept = servers.servers[0]!, ...gone] = servers.servers;
  await Promise.all(gone.map(async (server) => await server.process.kill()));
  const killedMs = systemClock.monotonicMs();
  const answers: (Authorization & { readonly tookMs: number; readonly sinceMs: number })[] = [];
  while (systemClock.monotonicMs() < killedMs + MAX_AGE_MS + 3 * TIMEOUT_MS) {
    const sinceMs = systemClock.monotonicMs() - killedMs;
    answers.push({ ...(await ask()), sinceMs });
  }
  const allowed = answers.filter((answer) => answer.allowed);
  // Whoever is allowed was confirmed while there was a quorum.
  expect(Math.max(0, ...allowed.map(({ sinceMs }) => sinceMs))).toBeLessThanOrEqual(MAX_AGE_MS);
  expect(Math.max(...answers.map(({ tookMs }) => tookMs))).toBeLessThanOrEqual(TIMEOUT_MS + SLACK_MS);
  expect(answers.at(-1)).toMatchObject({ allowed: false });
  const writing = [
    store.addOperator(newOperator(`user:${"cd".repeat(32)}`)),
    store.createPool(newPool("meanwhile")),
    store.hasAdmin(),
  ];
  expect(new Set(await outcomesOf(writing))).toEqual(new Set(["FULA_CONTROL_PLANE_UNREACHABLE"]));
  expect(kept.process.log).not.toBe("");
  await gone[0]?.process.start();
  await untilAllowed();
  // Each bucket elects its own leader.
  await until("a pool can be made again", async () => {
    const [outcome] = await outcomesOf([store.createPool(newPool("afterwards"))]);
    return outcome === "ok" || outcome === "FULA_MEMBERSHIP_EXISTS";
  });
  await expect(patient.getPool("masters")).resolves.toMatchObject({ id: "masters" });
  await gone[1]?.process.start();
});

test("the leader of the operators is frozen: nobody is let in on its word, and the others elect one", async () => {
  await untilAllowed();
  const frozen = await leader();
  frozen.process.freeze();
  const frozenMs = systemClock.monotonicMs();
  try {
    await until("nobody may act, or the others have elected one", async () => {
      const askedMs = systemClock.monotonicMs();
      const now = await ask();
      expect(now.tookMs).toBeLessThanOrEqual(TIMEOUT_MS + SLACK_MS);
      if (!now.allowed) return true;
      if (askedMs <= frozenMs + MAX_AGE_MS) return false;
      // A machine that stood still for as long as an election takes: then another one has vouched, and not the frozen one.
      const others = servers.servers.filter((one) => one !== frozen);
      expect(await leaderOf(others)).not.toBeNull();
      return true;
    });
    await untilAllowed();
  } finally {
    frozen.process.thaw();
  }
  await untilAllowed();
});

test("what was refused for silence is not written later, when the server wakes up", async () => {
  await using single = await startNatsServers(1);
  await using lone = await openTestKv(single, { timeoutMs: 300 });
  await using calm = await openTestKv(single);
  await calm.createPool(newPool("masters"));
  const [server] = single.servers;
  server?.process.freeze();
  const refused = [
    lone.createPool(newPool("late")),
    lone.addOperator(newOperator(ADMIN, "admin")),
    lone.addMember({ ...member, endpoint: endpointOf("fula-9") }, []),
  ];
  expect(new Set(await outcomesOf(refused))).toEqual(new Set(["FULA_CONTROL_PLANE_UNREACHABLE"]));
  server?.process.thaw();
  // Whatever was on its way has arrived before this.
  await until("the server answers", async () =>
    (await outcomesOf([calm.createPool(newPool("next"))])).includes("FULA_MEMBERSHIP_EXISTS"),
  );
  await expect(calm.listPools()).resolves.toMatchObject([{ id: "masters" }, { id: "next" }]);
  await expect(calm.listOperators()).resolves.toEqual([]);
  await expect(calm.listMembers("masters")).resolves.toEqual([]);
});

const member = {
  pool: "masters",
  name: "fula-9",
  role: "member",
  joinedAt: "2026-11-20T03:00:00.000Z",
  appliedEpoch: 0,
} as const;
