import { admitMember, openSecrets, removeMemberAndRekey } from "../membership/pool-secrets.ts";
import { checkRecord } from "../membership/record-checks.ts";
import { endpointSchema, type Member, type Pool } from "../membership/records.ts";
import { membershipExists } from "../membership/refusals.ts";
import { FEDERATION_POOLS } from "./federation-secrets.ts";
import { freshSecret } from "./membership-pools.ts";
import { type RemovedMaster, removeMaster } from "./membership-rekey.ts";
import { findMember, type MembershipContext, requireBoxKey, withMembership } from "./membership-run.ts";

/** Members of one pool, or of all, by pool and endpoint; `--json` keeps the fields of a member and `poolEpoch`. */
export interface MemberListing extends Member {
  /** Of the pool's secret. */
  readonly poolEpoch: number;
}

/** Who belongs. @param pool null for every pool */
export async function listAllMembers(
  context: MembershipContext,
  pool: string | null,
): Promise<readonly MemberListing[]> {
  return await withMembership(context, async (store) => {
    const pools = pool === null ? await store.listPools() : [await store.getPool(pool)];
    const lists = await Promise.all(
      pools.map(async ({ id, epoch }) =>
        (await store.listMembers(id)).map((member) => ({ ...member, poolEpoch: epoch })),
      ),
    );
    return lists.flat();
  });
}

/** What `member add` prints; `--json` keeps these fields. */
export interface MemberReport {
  readonly dryRun: boolean;
  readonly member: Member;
  /** The pool as it is then. */
  readonly pool: Pool;
}

/**
 * Admits a box to a pool: the secrets that this box has of it are sealed to the new member.
 * @throws FulaError FULA_MEMBERSHIP_INVALID, FULA_MEMBERSHIP_EXISTS, FULA_MEMBERSHIP_NOT_FOUND where this box is no member
 *   itself, FULA_SEALED_BOX, FULA_MEMBERSHIP_RACED, and what `withMembership` throws
 */
export async function addOneMember(
  context: MembershipContext,
  request: { readonly pool: string; readonly endpoint: string; readonly name: string; readonly dryRun: boolean },
): Promise<MemberReport> {
  const { pool: id, endpoint, name, dryRun } = request;
  checkRecord(endpointSchema, endpoint, "The endpoint");
  return await withMembership(context, async (store, { paths }) => {
    const pool = await store.getPool(id);
    if ((await store.listMembers(id)).some((member) => member.endpoint === endpoint)) {
      throw membershipExists("member", `${endpoint} of pool ${id}`);
    }
    const key = await requireBoxKey(paths);
    await store.getMember(id, key.endpoint);
    if (dryRun) {
      const joinedAt = new Date(context.clock.nowMs()).toISOString();
      return { dryRun, pool, member: { pool: id, endpoint, name, role: "member", joinedAt, appliedEpoch: 0 } };
    }
    const member = await admitMember(
      { store, ...context },
      { pool: id, candidate: { endpoint, name }, secretsFor: async () => await openSecrets(store, key, id) },
    );
    return { dryRun, pool: await store.getPool(id), member };
  });
}

const MASTERS_POOLS: ReadonlySet<string> = new Set(FEDERATION_POOLS);

/** What `member remove` is given. */
export interface RemoveRequest {
  readonly pool: string;
  /** An endpoint, or the name of a box. */
  readonly who: string;
  readonly dryRun: boolean;
  /** Asked before anything is written; throws where it is not meant. */
  readonly confirm: (member: Member) => Promise<void>;
}

/**
 * Takes a box out of a pool and gives the pool a new secret, which the box does not get. A master is taken out of all
 * pools whose members are the masters, whichever is named.
 * @throws FulaError FULA_MEMBERSHIP_NOT_FOUND, FULA_MEMBERSHIP_LAST_MEMBER, FULA_MEMBERSHIP_RACED, and what `confirm` and
 *   `withMembership` throw
 */
export async function removeOneMember(context: MembershipContext, request: RemoveRequest): Promise<RemovedMaster> {
  const { pool: id, who, dryRun, confirm } = request;
  if (MASTERS_POOLS.has(id)) return await removeMaster(context, request);
  return await withMembership(context, async (store) => {
    const pool = await store.getPool(id);
    const member = await findMember(store, id, who);
    const { endpoint, name } = member;
    const report = { dryRun, name, endpoint, next: [] };
    if (dryRun) return { ...report, pools: [{ pool: id, epoch: pool.epoch + 1 }] };
    await confirm(member);
    const done = await removeMemberAndRekey(
      { store, ...context },
      { pool: id, endpoint, nextSecret: async () => freshSecret(context) },
    );
    return { ...report, pools: [{ pool: id, epoch: done.pool.epoch }] };
  });
}
