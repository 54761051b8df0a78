import { type LoadedConfig, loadConfig } from "../config/load.ts";
import type { Paths, PathsContext } from "../config/paths.ts";
import type { Clock } from "../kernel/clock.ts";
import { FulaError } from "../kernel/errors.ts";
import type { Random } from "../kernel/random.ts";
import { membershipNotFound } from "../membership/refusals.ts";
import type { Member } from "../membership/records.ts";
import { type BoxKey, readBoxKey } from "../membership/sealed/box-key.ts";
import type { MembershipStore } from "../membership/store.ts";
import { withControlPlane } from "./control-plane.ts";

/** What the commands about the control plane take from their command. */
export interface MembershipContext extends PathsContext {
  readonly clock: Clock;
  readonly random: Random;
  readonly signal: AbortSignal;
}

/** Lends the control plane of this box for the time of one callback. @throws what `withControlPlane` throws */
export async function withMembership<T>(
  context: MembershipContext,
  use: (store: MembershipStore, loaded: LoadedConfig) => Promise<T>,
): Promise<T> {
  const loaded = await loadConfig(context);
  const { clock, random, signal } = context;
  return await withControlPlane(loaded, { clock, random, signal }, async (store) => await use(store, loaded));
}

/** The key that this box's sealed secrets open with. @throws FulaError FULA_NOT_JOINED, FULA_BOX_KEY_INVALID */
export async function requireBoxKey({ boxKeyFile }: Pick<Paths, "boxKeyFile">): Promise<BoxKey> {
  const key = await readBoxKey(boxKeyFile);
  if (key !== null) return key;
  throw new FulaError("FULA_NOT_JOINED", `This box has no key for sealed secrets: ${boxKeyFile} is not there.`, {
    hint: "fula-master join makes it.",
    details: { path: boxKeyFile },
  });
}

/**
 * A member of a pool, by its endpoint or the name of its box.
 * @throws FulaError FULA_MEMBERSHIP_NOT_FOUND; FULA_USAGE where several boxes have that name
 */
export async function findMember(store: MembershipStore, pool: string, nameOrEndpoint: string): Promise<Member> {
  const members = await store.listMembers(pool);
  const found = members.filter(({ endpoint, name }) => endpoint === nameOrEndpoint || name === nameOrEndpoint);
  const [member] = found;
  if (member === undefined) throw membershipNotFound("member", `${nameOrEndpoint} of pool ${pool}`);
  if (found.length === 1) return member;
  throw new FulaError("FULA_USAGE", `The pool ${pool} has ${found.length} members called ${nameOrEndpoint}.`, {
    hint: `name one by its endpoint: ${found.map(({ endpoint }) => endpoint).join(", ")}`,
  });
}
