import { expect } from "vitest";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { openKvStore } from "../../../src/lib/membership/kv/kv-store.ts";
import type { KvTarget } from "../../../src/lib/membership/kv/target.ts";
import type { Operator, OperatorRole, Pool } from "../../../src/lib/membership/records.ts";
import type { MembershipStore } from "../../../src/lib/membership/store.ts";
import { KV_DEPS, kvTarget } from "../../support/kv-stores.ts";
import { outcomesOf } from "../../support/membership.ts";
import type { PlacedServer, PlacedServers } from "../../support/nats-places.ts";
import { until } from "../../support/until.ts";

/** Half of what operators get, so that a test sees the bounds pass. */
export const TIMEOUT_MS = 1_000;
export const MAX_AGE_MS = 2_500;
/** For what is not about time: a busy machine may need longer than the bounds for a write. */
export const PATIENT = { timeoutMs: 30_000, maxAgeMs: 60_000 } as const;

/** Opens the control plane as a box does that is told of these servers. */
export async function openAt(
  placed: PlacedServers,
  servers: readonly PlacedServer[] = placed.servers,
  changes: Partial<KvTarget> = {},
  onWait: (sentence: string) => void = () => {},
): Promise<MembershipStore> {
  const reachable = { urls: servers.map(({ url }) => url), user: placed.user };
  const times = { timeoutMs: TIMEOUT_MS, maxAgeMs: MAX_AGE_MS, bootstrapTimeoutMs: 120_000 };
  return await openKvStore(kvTarget(reachable, { replicas: 3, ...times, ...changes }), { ...KV_DEPS, onWait });
}

/** The operator of this number. */
export function operatorOf(number: number, role: OperatorRole = "operator"): Operator {
  return {
    id: `ed25519:${number.toString(16).padStart(64, "0")}`,
    role,
    status: "active",
    name: `operator ${number}`,
    createdAt: new Date(systemClock.nowMs()).toISOString(),
  };
}

/** The pool of this number, which has nobody in it and no secret. */
export function poolOf(number: number): Pool {
  const createdAt = new Date(systemClock.nowMs()).toISOString();
  const owner = `x25519:${"ab".repeat(32)}`;
  return { id: `pool-${number}`, name: `pool ${number}`, encrypted: false, owner, epoch: 0, createdAt };
}

/** Adds an operator; again where nobody answered, as while a leader is elected: one who is there by then came with the first. */
export async function addForSure(store: MembershipStore, operator: Operator): Promise<void> {
  await until(`${operator.id} is on record`, async () => {
    const [outcome = ""] = await outcomesOf([store.addOperator(operator)]);
    expect(["ok", "FULA_MEMBERSHIP_EXISTS", "FULA_CONTROL_PLANE_UNREACHABLE"]).toContain(outcome);
    return outcome !== "FULA_CONTROL_PLANE_UNREACHABLE";
  });
}

/** Each server alone gives back every operator and pool of these; two histories would show here. */
export async function expectEverywhere(placed: PlacedServers, ids: readonly string[]): Promise<void> {
  for (const server of placed.servers) {
    await using store = await openAt(placed, [server], PATIENT);
    const records = [...(await store.listOperators()), ...(await store.listPools())];
    const there = new Set(records.map(({ id }) => id));
    expect(ids.filter((id) => !there.has(id))).toEqual([]);
  }
}
