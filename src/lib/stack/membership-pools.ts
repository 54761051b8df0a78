import { FulaError } from "../kernel/errors.ts";
import { Secret } from "../kernel/secret.ts";
import { createEncryptedPool } from "../membership/pool-secrets.ts";
import type { Member, Pool } from "../membership/records.ts";
import { poolIdSchema } from "../membership/records.ts";
import { checkRecord } from "../membership/record-checks.ts";
import { membershipExists } from "../membership/refusals.ts";
import { FEDERATION_POOLS } from "./federation-secrets.ts";
import { type MembershipContext, requireBoxKey, withMembership } from "./membership-run.ts";

/** A pool with how many belong to it; `--json` keeps these fields. */
export interface PoolListing extends Pool {
  readonly members: number;
}

/** Every pool, by id. */
export async function listAllPools(context: MembershipContext): Promise<readonly PoolListing[]> {
  return await withMembership(context, async (store) => {
    const pools = await store.listPools();
    return await Promise.all(
      pools.map(async (pool) => ({ ...pool, members: (await store.listMembers(pool.id)).length })),
    );
  });
}

/** A pool with its members; `--json` keeps these fields. */
export interface PoolView {
  readonly pool: Pool;
  readonly members: readonly Member[];
}

/** One pool and who is in it. @throws FulaError FULA_MEMBERSHIP_NOT_FOUND, and what `withMembership` throws */
export async function showOnePool(context: MembershipContext, id: string): Promise<PoolView> {
  return await withMembership(context, async (store) => {
    const [pool, members] = await Promise.all([store.getPool(id), store.listMembers(id)]);
    return { pool, members };
  });
}

/** What `pool create` and `pool delete` print; `--json` keeps these fields. */
export interface PoolReport {
  readonly dryRun: boolean;
  readonly pool: Pool;
}

/** As many as the keys have that such secrets become. */
const SECRET_BYTES = 32;

/** A random secret for a pool, as 64 hex digits. */
export function freshSecret({ random }: Pick<MembershipContext, "random">): Secret {
  return new Secret(Buffer.from(random.bytes(SECRET_BYTES)).toString("hex"));
}

/**
 * Makes a pool with this box as its owner and only member, and a random secret that is sealed to it.
 * @throws FulaError FULA_MEMBERSHIP_INVALID, FULA_MEMBERSHIP_EXISTS, and what `withMembership` throws
 */
export async function createOnePool(
  context: MembershipContext,
  id: string,
  options: { readonly name: string; readonly dryRun: boolean },
): Promise<PoolReport> {
  const { dryRun } = options;
  checkRecord(poolIdSchema, id, `Pool ${JSON.stringify(id)}`);
  return await withMembership(context, async (store, { config, paths }) => {
    if ((await store.listPools()).some((pool) => pool.id === id)) throw membershipExists("pool", id);
    const name = options.name === "" ? id : options.name;
    const { endpoint } = await requireBoxKey(paths);
    if (dryRun) {
      const createdAt = new Date(context.clock.nowMs()).toISOString();
      return { dryRun, pool: { id, name, encrypted: true, owner: endpoint, epoch: 1, createdAt } };
    }
    const owner = { endpoint, name: config.node.name };
    const pool = await createEncryptedPool({ store, ...context }, { id, name, owner, secret: freshSecret(context) });
    return { dryRun, pool };
  });
}

const STANDING_POOLS: ReadonlySet<string> = new Set(FEDERATION_POOLS);

/**
 * Takes a pool away, with its members and every sealed key.
 * @throws FulaError FULA_POOL_NEEDED for those that the federation stands on, FULA_MEMBERSHIP_NOT_FOUND, and what
 *   `confirm` and `withMembership` throw
 */
export async function deleteOnePool(
  context: MembershipContext,
  id: string,
  options: { readonly dryRun: boolean; readonly confirm: (view: PoolView) => Promise<void> },
): Promise<PoolReport> {
  const { dryRun, confirm } = options;
  if (STANDING_POOLS.has(id)) {
    throw new FulaError("FULA_POOL_NEEDED", `The pool ${id} holds what all masters of this federation share.`, {
      hint: `fula-master membership rekey ${id} gives it a new secret.`,
    });
  }
  return await withMembership(context, async (store) => {
    const [pool, members] = await Promise.all([store.getPool(id), store.listMembers(id)]);
    if (dryRun) return { dryRun, pool };
    await confirm({ pool, members });
    await store.deletePool(id);
    return { dryRun, pool };
  });
}
