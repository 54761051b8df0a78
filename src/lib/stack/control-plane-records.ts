import { formatCount, formatDuration } from "../kernel/units.ts";
import type { Authorization, Member, Operator, Pool } from "../membership/records.ts";
import type { MembershipStore } from "../membership/store.ts";
import { FEDERATION_POOLS } from "./federation-secrets.ts";
import type { PartProblem } from "./status-part.ts";

/** A pool with those who belong to it. */
export interface PoolView {
  readonly pool: Pool;
  readonly members: readonly Member[];
}

/** What a control plane holds, as far as it can be told without opening a secret. */
export interface RecordsView {
  readonly operators: readonly Operator[];
  readonly pools: readonly PoolView[];
  /** Whether this box may act as admin; null where it has no key to act with. */
  readonly ownAuthorization: Authorization | null;
  /** This box's public identity; null where it has no key for sealed secrets. */
  readonly ownEndpoint: string | null;
}

/** Who this box is to the control plane. */
export interface OwnIdentity {
  /** Its operator id; null where it has none. */
  readonly operator: string | null;
  /** Its endpoint; null where it has none. */
  readonly endpoint: string | null;
}

/** A box that has not put the newest secret of a pool to use. */
export interface Laggard {
  readonly pool: string;
  readonly epoch: number;
  readonly member: string;
  readonly appliedEpoch: number;
}

/**
 * Reads everything but the sealed keys.
 * @throws FulaError FULA_CONTROL_PLANE_UNREACHABLE, FULA_CONTROL_PLANE_UNREADABLE
 */
export async function readRecords(store: MembershipStore, own: OwnIdentity): Promise<RecordsView> {
  const [operators, pools, ownAuthorization] = await Promise.all([
    store.listOperators(),
    store.listPools(),
    own.operator === null ? null : store.isAuthorized(own.operator, "admin"),
  ]);
  const members = await Promise.all(pools.map(async (pool) => ({ pool, members: await store.listMembers(pool.id) })));
  return { operators, pools: members, ownAuthorization, ownEndpoint: own.endpoint };
}

/** Operators who may act as admin. */
export function activeAdmins(operators: readonly Operator[]): readonly Operator[] {
  return operators.filter(({ role, status }) => role === "admin" && status === "active");
}

/** Members that lag behind the newest secret of their pool. */
export function laggardsOf(pools: readonly PoolView[]): readonly Laggard[] {
  return pools.flatMap(({ pool, members }) =>
    members
      .filter(({ appliedEpoch }) => appliedEpoch < pool.epoch)
      .map(({ name, appliedEpoch }) => ({ pool: pool.id, epoch: pool.epoch, member: name, appliedEpoch })),
  );
}

/** Checks that a question who may act is answered, in time and freshly, and that this box may. */
export function judgeAuthorization({ operators, ownAuthorization: own }: RecordsView): readonly PartProblem[] {
  if (activeAdmins(operators).length === 0) {
    return [
      {
        severity: "bad",
        message: "There is no admin: nobody may change who belongs and who may act.",
        remedy: "on a master: fula-master join writes its key in.",
      },
    ];
  }
  if (own === null) {
    return [{ severity: "bad", message: "This box has no key to act with.", remedy: "fula-master join makes it." }];
  }
  if (own.allowed) return [];
  switch (own.reason) {
    case "revoked":
    case "role":
      return [
        {
          severity: "attention",
          message: `This box's key may not act as admin: ${own.why}`,
          remedy: "if it should, on a master that may: fula-master membership operator restore or role.",
        },
      ];
    case "unknown":
    case "no-operators":
      return [
        {
          severity: "bad",
          message: `This box's key is no operator: ${own.why}`,
          remedy: "fula-master join writes it in; or, on a master that may: fula-master membership operator add.",
        },
      ];
    default:
      return [
        {
          severity: "bad",
          message: `Nobody can be asked who may act: ${own.why}`,
          remedy: "see that more than half of the servers run and reach one another; until then nobody is let in.",
        },
      ];
  }
}

/** How old what an authorization rests on is, in words: `confirmed 120ms ago`. */
export function stampText({ ownAuthorization: own }: RecordsView): string {
  return own?.allowed === true ? `confirmed ${formatDuration(own.ageMs)} ago` : "not confirmed";
}

/** Checks that this box belongs to the pools of the masters, and that every box uses their newest secrets. */
export function judgePools({ pools, ownEndpoint }: RecordsView): readonly PartProblem[] {
  if (ownEndpoint === null) {
    return [
      {
        severity: "bad",
        message: "This box has no key that secrets could be sealed to.",
        remedy: "fula-master join makes it.",
      },
    ];
  }
  // Not every master has all of them: one whose blocks and pins are its own has no use for two.
  const outside = FEDERATION_POOLS.filter((id) =>
    pools.some(({ pool, members }) => pool.id === id && members.every(({ endpoint }) => endpoint !== ownEndpoint)),
  );
  const lagging = laggardsOf(pools).map(({ pool, epoch, member, appliedEpoch }): PartProblem => {
    const has = appliedEpoch === 0 ? "no secret" : `the secret of epoch ${appliedEpoch}`;
    return {
      severity: "attention",
      message: `${member} uses ${has} of pool ${pool}, whose newest is of epoch ${epoch}.`,
      remedy: `on ${member}: fula-master membership sync`,
    };
  });
  const found: PartProblem[] = [];
  if (pools.every(({ pool }) => pool.id !== "masters")) {
    found.push({
      severity: "attention",
      message: "The secrets that all masters share are not in the control plane yet.",
      remedy: "fula-master join puts them in.",
    });
  }
  if (outside.length > 0) {
    found.push({
      severity: "bad",
      message: `This box does not belong to ${formatCount(outside.length, "pool")} of the masters: ${outside.join(", ")}.`,
      remedy: "fula-master join writes it in, unless it was taken out on purpose.",
    });
  }
  return [...found, ...lagging];
}
