import type { MembershipSnapshot } from "../../src/lib/membership/records.ts";
import { orderSnapshot } from "../../src/lib/membership/snapshot.ts";

/** How large a made-up control plane is. */
export interface StateSize {
  readonly pools: number;
  /** Of each pool. */
  readonly members: number;
  /** Of each pool's secret; each is sealed to every member. */
  readonly epochs: number;
}

const SINCE = "2026-11-20T03:00:00.000Z";

function endpointOf(pool: number, member: number): string {
  return `x25519:${(pool * 1_000 + member + 1).toString(16).padStart(64, "0")}`;
}

/** Bytes as many as a sealed secret of 32 has, which differ from record to record. */
function sealedOf(...numbers: readonly number[]): string {
  return Buffer.alloc(270, numbers.join(".")).toString("base64");
}

/** A control plane with operators of every kind, one of them revoked; the same for the same size. */
export function makeState({ pools, members, epochs }: StateSize): MembershipSnapshot {
  const each = <T>(count: number, make: (index: number) => T): readonly T[] =>
    Array.from({ length: count }, (_, i) => make(i));
  const poolId = (pool: number): string => `pool-${pool}`;
  return orderSnapshot({
    format: 1,
    pools: each(pools, (pool) => ({
      id: poolId(pool),
      name: `Pool ${pool}`,
      encrypted: true,
      owner: endpointOf(pool, 0),
      epoch: epochs,
      createdAt: SINCE,
    })),
    members: each(pools, (pool) =>
      each(members, (member) => ({
        pool: poolId(pool),
        endpoint: endpointOf(pool, member),
        name: `box-${member}`,
        role: member === 0 ? ("owner" as const) : ("member" as const),
        joinedAt: SINCE,
        appliedEpoch: member % (epochs + 1),
      })),
    ).flat(),
    sealedKeys: each(pools, (pool) =>
      each(epochs, (epoch) =>
        each(members, (member) => ({
          pool: poolId(pool),
          epoch: epoch + 1,
          member: endpointOf(pool, member),
          sealed: sealedOf(pool, epoch, member),
        })),
      ).flat(),
    ).flat(),
    operators: [
      { id: "system", role: "operator", status: "active", name: "SYSTEM_KEY", createdAt: SINCE },
      { id: `ed25519:${"ab".repeat(32)}`, role: "admin", status: "active", name: "master-1", createdAt: SINCE },
      { id: `0x${"cd".repeat(20)}`, role: "operator", status: "revoked", name: "Mallory", createdAt: SINCE },
    ],
  });
}
