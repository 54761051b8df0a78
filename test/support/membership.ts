import { createHash } from "node:crypto";
import { isFulaError } from "../../src/lib/kernel/errors.ts";
import type { Member, MembershipSnapshot, Operator, Pool, SealedKey } from "../../src/lib/membership/records.ts";

/** Everything in these tests began then. */
const BEGAN = "2026-11-20T03:00:00.000Z";

/** A control plane in which nobody is. */
export const EMPTY_SNAPSHOT: MembershipSnapshot = { format: 1, pools: [], members: [], sealedKeys: [], operators: [] };

function hexOf(name: string): string {
  return createHash("sha256").update(name).digest("hex");
}

/** The endpoint of a box of this name; nobody has its private half. */
export function endpointOf(name: string): string {
  return `x25519:${hexOf(name)}`;
}

/** A pool with a secret that nobody has made yet. */
export function newPool(id: string, changes: Partial<Pool> = {}): Pool {
  return {
    id,
    name: `Pool ${id}`,
    encrypted: true,
    owner: endpointOf("fula-1"),
    epoch: 0,
    createdAt: BEGAN,
    ...changes,
  };
}

/** A box as a member. */
export function newMember(pool: string, name: string, changes: Partial<Member> = {}): Member {
  return { pool, endpoint: endpointOf(name), name, role: "member", joinedAt: BEGAN, appliedEpoch: 0, ...changes };
}

/** What stands for a sealed secret; it opens with no key. */
export function fakeSealed(text: string): string {
  return Buffer.from(text).toString("base64");
}

/** A key of one epoch for the box of this name. */
export function newKey(pool: string, name: string, epoch: number, text = `${pool} ${epoch} ${name}`): SealedKey {
  return { pool, epoch, member: endpointOf(name), sealed: fakeSealed(text) };
}

/** The same for boxes of these names, as a rekey takes them. */
export function sealedTo(
  names: readonly string[],
  text = "secret",
): readonly { readonly member: string; readonly sealed: string }[] {
  return names.map((name) => ({ member: endpointOf(name), sealed: fakeSealed(`${text} for ${name}`) }));
}

/** An active operator. */
export function newOperator(
  id: string,
  role: Operator["role"] = "operator",
  changes: Partial<Operator> = {},
): Operator {
  return { id, role, status: "active", name: "", createdAt: BEGAN, ...changes };
}

/** "ok" or the code of what was thrown, in the order of the promises. */
export async function outcomesOf(running: readonly Promise<unknown>[]): Promise<readonly string[]> {
  const settled = await Promise.allSettled(running);
  return settled.map((each) => {
    if (each.status === "fulfilled") return "ok";
    return isFulaError(each.reason) ? each.reason.code : String(each.reason);
  });
}
