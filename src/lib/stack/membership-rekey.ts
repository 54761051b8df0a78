import type { LoadedConfig } from "../config/load.ts";
import type { Clock } from "../kernel/clock.ts";
import { FulaError } from "../kernel/errors.ts";
import type { Random } from "../kernel/random.ts";
import type { Secret } from "../kernel/secret.ts";
import { type NextSecret, openSecret, rekeyPool, removeMemberAndRekey } from "../membership/pool-secrets.ts";
import type { Member, Pool } from "../membership/records.ts";
import type { BoxKey } from "../membership/sealed/box-key.ts";
import type { MembershipStore } from "../membership/store.ts";
import { makeAuthority } from "./control-plane-certificates.ts";
import { requireClusterId } from "./federation-run.ts";
import { FEDERATION_POOLS, MASTER_KEY_NAMES, parseMastersSecret, renderMastersSecret } from "./federation-secrets.ts";
import { freshSecret } from "./membership-pools.ts";
import { findMember, type MembershipContext, requireBoxKey, withMembership } from "./membership-run.ts";

/** What a new secret is made from. */
interface RekeySources {
  readonly store: MembershipStore;
  readonly loaded: LoadedConfig;
  readonly key: BoxKey;
  readonly clock: Clock;
  readonly random: Random;
}

async function nextMastersSecret({ store, loaded, key, clock, random }: RekeySources): Promise<Secret> {
  const { controlPlaneCa } = parseMastersSecret((await openSecret(store, key, "masters")).secret);
  const [systemKey, jwtSecret, sessionSecret, encryptionKey] = MASTER_KEY_NAMES.map(() => freshSecret({ random }));
  if (systemKey === undefined || jwtSecret === undefined || sessionSecret === undefined || encryptionKey === undefined)
    throw new Error("Fewer secrets were made than the masters have");
  // A control plane in a file has no servers, and nobody who vouches for them.
  const authority = controlPlaneCa === null ? null : await makeAuthority(requireClusterId(loaded), clock.nowMs());
  return renderMastersSecret({ systemKey, jwtSecret, sessionSecret, encryptionKey, controlPlaneCa: authority });
}

/**
 * How the next secret of a pool is made: everything new for the masters, 32 random bytes for every other pool.
 * @throws FulaError, when it is asked, FULA_MEMBERSHIP_NOT_FOUND where this box has no secret of the masters
 */
function nextSecretFor(pool: string, sources: RekeySources): NextSecret {
  return async () =>
    pool === "masters" ? await nextMastersSecret(sources) : await Promise.resolve(freshSecret(sources));
}

/** What `membership rekey` did, or would do; `--json` keeps these fields. */
export interface RekeyReport {
  readonly dryRun: boolean;
  readonly pool: string;
  /** The epoch of the new secret. */
  readonly epoch: number;
  /** Names of the boxes that it is sealed to. */
  readonly members: readonly string[];
  /** What is to be done now, a sentence each. */
  readonly next: readonly string[];
}

/** @throws FulaError FULA_REKEY_UNFINISHED */
function assertFinished(pool: Pool, members: readonly Member[]): void {
  if (pool.id !== "masters") return;
  const behind = members.filter(({ appliedEpoch }) => appliedEpoch > 0 && appliedEpoch < pool.epoch);
  if (behind.length === 0) return;
  const names = behind.map(({ name }) => name).join(", ");
  throw new FulaError(
    "FULA_REKEY_UNFINISHED",
    `${names} ${behind.length === 1 ? "has" : "have"} not yet put epoch ${pool.epoch} of the masters' secrets to use: with one more, ${behind.length === 1 ? "it" : "they"} could be locked out. Nothing was changed.`,
    {
      hint: `run fula-master membership sync on ${names} first; one that will not come back: fula-master membership member remove masters <name>`,
      details: { masters: behind.map(({ name }) => name), epoch: pool.epoch },
    },
  );
}

function nextSteps(pool: string, members: readonly string[]): readonly string[] {
  const isOurs = FEDERATION_POOLS.some((each) => each === pool);
  if (!isOurs) return [];
  const next = [`run fula-master membership sync on every one of them: ${members.join(", ")}`];
  if (pool === "masters" && members.length > 1) {
    next.push("then once more on each: it seals and signs with the new secrets once all the others can read them");
  }
  if (pool === "masters") {
    next.push(
      "have those who show X-System-Key take the new SYSTEM_KEY, and clients with tokens that JWT_SECRET signed get new ones; then fula-master membership sync --forget-old",
    );
  }
  if (pool === "cluster") {
    next.push(
      "storage nodes stay out until they have the new secret: fula-master token create --role storage, and join with it again there",
    );
  }
  if (pool === "swarm") {
    next.push("with kubo.private on, storage nodes need a new token too: fula-master token create --role storage");
  }
  return next;
}

/**
 * Gives a pool a new secret, sealed to every member. No box works with it before its `membership sync`.
 * @throws FulaError FULA_MEMBERSHIP_NOT_FOUND, FULA_REKEY_UNFINISHED, FULA_MEMBERSHIP_RACED, and what `confirm` and
 *   `withMembership` throw
 */
export async function rekeyOnePool(
  context: MembershipContext,
  request: {
    readonly pool: string;
    readonly dryRun: boolean;
    readonly confirm: (pool: Pool, members: readonly Member[]) => Promise<void>;
  },
): Promise<RekeyReport> {
  const { pool: id, dryRun, confirm } = request;
  return await withMembership(context, async (store, loaded) => {
    const pool = await store.getPool(id);
    const members = await store.listMembers(id);
    assertFinished(pool, members);
    const key = await requireBoxKey(loaded.paths);
    // Who is no member may rekey others into the dark: it could not read the secret that it has made.
    await store.getMember(id, key.endpoint);
    const names = members.map(({ name }) => name);
    const report = { pool: id, members: names, next: nextSteps(id, names) };
    if (dryRun) return { ...report, dryRun, epoch: pool.epoch + 1 };
    await confirm(pool, members);
    const nextSecret = nextSecretFor(id, { store, loaded, key, ...context });
    const { epoch } = await rekeyPool({ store, ...context }, { pool: id, nextSecret });
    return { ...report, dryRun, epoch };
  });
}

/** What taking a master out did, or would do; `--json` keeps these fields. */
export interface RemovedMaster {
  readonly dryRun: boolean;
  readonly name: string;
  readonly endpoint: string;
  /** Each pool that it was in, with its epoch afterwards. */
  readonly pools: readonly { readonly pool: string; readonly epoch: number }[];
  readonly next: readonly string[];
}

/**
 * Takes a master out of all pools whose members are the masters, each of which gets a new secret that it does not get.
 * Killed anywhere, it can be run again.
 * @param request.who name or endpoint
 * @throws FulaError FULA_MEMBERSHIP_NOT_FOUND, FULA_MEMBERSHIP_LAST_MEMBER, and what `confirm` and `withMembership` throw
 */
export async function removeMaster(
  context: MembershipContext,
  request: { readonly who: string; readonly dryRun: boolean; readonly confirm: (member: Member) => Promise<void> },
): Promise<RemovedMaster> {
  const { who, dryRun, confirm } = request;
  return await withMembership(context, async (store, loaded) => {
    const key = await requireBoxKey(loaded.paths);
    const known = new Set((await store.listPools()).map(({ id }) => id));
    const ours = FEDERATION_POOLS.filter((pool) => known.has(pool));
    // The masters last: a run that was stopped is begun again by the name, which is found there until the end.
    const member = await findMember(store, "masters", who);
    const { endpoint, name } = member;
    if (!dryRun) await confirm(member);
    const pools: { readonly pool: string; readonly epoch: number }[] = [];
    for (const id of ours.toReversed()) {
      if (dryRun) pools.push({ pool: id, epoch: (await store.getPool(id)).epoch + 1 });
      else {
        const nextSecret = nextSecretFor(id, { store, loaded, key, ...context });
        const { pool } = await removeMemberAndRekey({ store, ...context }, { pool: id, endpoint, nextSecret });
        pools.push({ pool: id, epoch: pool.epoch });
      }
    }
    const staying = (await store.listMembers("masters")).filter((each) => each.endpoint !== endpoint);
    const names = staying.map((each) => each.name);
    const next = [...new Set(pools.flatMap(({ pool }) => nextSteps(pool, names)))];
    next.push(
      `take it from those who may act: fula-master membership operator list shows the key of ${name}; then operator revoke <key>`,
    );
    return { dryRun, name, endpoint, pools, next };
  });
}
