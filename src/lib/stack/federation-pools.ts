import { isFulaError } from "../kernel/errors.ts";
import { openSecrets, type PoolSecret } from "../membership/pool-secrets.ts";
import type { Member, Pool } from "../membership/records.ts";
import type { BoxKey } from "../membership/sealed/box-key.ts";
import type { MembershipStore } from "../membership/store.ts";
import { FEDERATION_POOLS, type FederationPool } from "./federation-secrets.ts";

/** A pool of the federation as this box sees it. */
export interface PoolLook {
  readonly pool: Pool;
  /** By endpoint. */
  readonly members: readonly Member[];
  /** What was sealed to this box, newest epoch first; empty where it is no member. */
  readonly secrets: readonly PoolSecret[];
}

/** All of them; null for one that the control plane does not have. */
export type PoolLooks = Readonly<Record<FederationPool, PoolLook | null>>;

async function poolIfThere(store: MembershipStore, id: string): Promise<Pool | null> {
  try {
    return await store.getPool(id);
  } catch (error) {
    if (isFulaError(error, "FULA_MEMBERSHIP_NOT_FOUND")) return null;
    throw error;
  }
}

async function lookAtPool(store: MembershipStore, key: BoxKey | null, id: FederationPool): Promise<PoolLook | null> {
  const pool = await poolIfThere(store, id);
  if (pool === null) return null;
  const members = await store.listMembers(id);
  return { pool, members, secrets: key === null ? [] : await openSecrets(store, key, id) };
}

/**
 * Reads the pools whose members are the masters, and opens what was sealed to this box.
 * @param key null for a box that has none yet
 * @throws FulaError FULA_SEALED_BOX, and what the store throws
 */
export async function lookAtPools(store: MembershipStore, key: BoxKey | null): Promise<PoolLooks> {
  const looks = new Map<FederationPool, PoolLook | null>();
  for (const id of FEDERATION_POOLS) looks.set(id, await lookAtPool(store, key, id));
  return {
    masters: looks.get("masters") ?? null,
    cluster: looks.get("cluster") ?? null,
    swarm: looks.get("swarm") ?? null,
  };
}

/** The newest secret of a pool, where it was sealed to this box. */
export function newestSecret({ pool, secrets }: PoolLook): PoolSecret | null {
  return secrets.find(({ epoch }) => epoch === pool.epoch) ?? null;
}

/** Names of members that have not put the newest epoch to use; those that never used any have nothing to lose by it. */
export function laggards({ pool, members }: PoolLook, own: string): readonly string[] {
  return members
    .filter(({ endpoint, appliedEpoch }) => endpoint !== own && appliedEpoch > 0 && appliedEpoch < pool.epoch)
    .map(({ name }) => name);
}
