import { isFulaError } from "../kernel/errors.ts";
import type { Member } from "../membership/records.ts";
import { readBoxKey } from "../membership/sealed/box-key.ts";
import type { MembershipStore } from "../membership/store.ts";
import { withControlPlane } from "./control-plane.ts";
import { FEDERATION_POOLS } from "./federation-secrets.ts";
import type { RunStep } from "./join-step.ts";
import type { LeaveBox } from "./leave-box.ts";
import type { LeaveStepId } from "./leave-journal.ts";
import { boxOperatorId } from "./operators.ts";
import { already, type Assessment, left, todo } from "./plan.ts";

/** What the step looks at of the box that leaves. */
type ControlPlaneBox = Pick<LeaveBox, "loaded" | "context">;

/** Where this master still stands in a control plane that others share. */
interface Belonging {
  /** Pools of the masters that it is in and somebody else is, too. */
  readonly pools: readonly string[];
  /** Its operator id, where it may still act; null where not. */
  readonly operator: string | null;
}

async function belongingOf(
  store: MembershipStore,
  endpoint: string | null,
  operator: string | null,
): Promise<Belonging> {
  const known = new Set((await store.listPools()).map(({ id }) => id));
  const pools: string[] = [];
  let others = false;
  for (const pool of FEDERATION_POOLS.filter((id) => known.has(id))) {
    const members: readonly Member[] = await store.listMembers(pool);
    const isShared = members.some((member) => member.endpoint !== endpoint);
    others ||= isShared;
    if (isShared && members.some((member) => member.endpoint === endpoint)) pools.push(pool);
  }
  const active = (await store.listOperators()).some(({ id, status }) => id === operator && status === "active");
  // The only master stays who it is: with it gone nobody is left to be kept out.
  return { pools, operator: others && active ? operator : null };
}

async function withBelonging<T>(
  { loaded, context }: ControlPlaneBox,
  use: (store: MembershipStore, belonging: Belonging, endpoint: string | null) => Promise<T>,
): Promise<T> {
  const endpoint = (await readBoxKey(loaded.paths.boxKeyFile))?.endpoint ?? null;
  const operator = await boxOperatorId(loaded);
  return await withControlPlane(
    loaded,
    context,
    async (store) => await use(store, await belongingOf(store, endpoint, operator), endpoint),
  );
}

async function byHand({ loaded }: ControlPlaneBox): Promise<string> {
  const { name } = loaded.config.node;
  const operator = await boxOperatorId(loaded);
  const revoke = operator === null ? "" : `, and fula-master membership operator revoke ${operator}`;
  return `the control plane does not answer; on another master: fula-master membership member remove masters ${name}${revoke}`;
}

async function assess(box: ControlPlaneBox): Promise<Assessment> {
  const { name } = box.loaded.config.node;
  try {
    const { pools, operator } = await withBelonging(box, async (_, belonging) => await Promise.resolve(belonging));
    const changes = [
      ...pools.map((pool) => `take ${name} out of the pool ${pool}`),
      ...(operator === null ? [] : [`revoke the operator ${operator}`]),
    ];
    if (changes.length === 0) return already(`${name} shares no pool with another master`);
    return todo("it may not act any more, and gets no secret of afterwards; the others rekey", changes);
  } catch (error) {
    if (!isFulaError(error, "FULA_CONTROL_PLANE_UNREACHABLE") && !isFulaError(error, "FULA_NOT_JOINED")) throw error;
    return left(await byHand(box));
  }
}

async function takeOut(box: ControlPlaneBox): Promise<string> {
  return await withBelonging(box, async (store, { pools, operator }, endpoint) => {
    for (const pool of pools) if (endpoint !== null) await store.removeMember(pool, endpoint);
    const rekey = pools.map((pool) => `fula-master membership rekey ${pool}`).join(", ");
    const done =
      pools.length === 0
        ? "in no pool"
        : `out of ${pools.join(", ")}; what it knows it still knows: on another master, ${rekey}`;
    if (operator === null) return done;
    try {
      await store.changeOperator(operator, { status: "revoked" });
      return `${done}; operator revoked`;
    } catch (error) {
      if (!isFulaError(error, "FULA_MEMBERSHIP_LAST_ADMIN")) throw error;
      return `${done}; it is the last admin, and stays one until another is made (fula-master membership operator add)`;
    }
  });
}

/** Step: this master leaves the pools and may not act any more, in a control plane that others share. */
export function controlPlaneStep(box: ControlPlaneBox): RunStep<LeaveStepId> {
  return {
    id: "control-plane",
    title: "Control plane",
    assess: async () => await assess(box),
    apply: async () => await takeOut(box),
  };
}
