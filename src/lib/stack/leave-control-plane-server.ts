import { isFulaError } from "../kernel/errors.ts";
import { assertRemovable } from "../membership/kv/peers.ts";
import type { ClusterView } from "../membership/kv/state.ts";
import { readServers } from "./control-plane-servers.ts";
import type { RunStep } from "./join-step.ts";
import type { LeaveBox } from "./leave-box.ts";
import type { LeaveStepId } from "./leave-journal.ts";
import { recordBuckets, serverNames, takeServerOut } from "./membership-peer.ts";
import { already, type Assessment, left, todo } from "./plan.ts";
import { natsServerName } from "./stack-values.ts";

/** The servers of this box that are still among the others'; the witness goes first, while its master can say so. */
function ownServers({ loaded }: LeaveBox, view: ClusterView): readonly string[] {
  const names = serverNames(view);
  const own = (["nats-witness", "nats"] as const).map((service) => natsServerName(loaded.config, service));
  // With nobody else there is nobody to agree without them.
  return names.every((name) => own.includes(name)) ? [] : own.filter((name) => names.includes(name));
}

/** The view as it is once a server is out: for what comes after it in the same run. */
function without({ metaLeader, members, ...view }: ClusterView, name: string): ClusterView {
  const [next, ...others] = members.filter((member) => member.name !== name);
  return metaLeader === name
    ? { ...view, metaLeader: next?.name ?? null, members: others }
    : { ...view, metaLeader, members: members.filter((member) => member.name !== name) };
}

async function assess(box: LeaveBox): Promise<Assessment> {
  const { loaded, context, options } = box;
  try {
    const view = await readServers(loaded, context);
    const own = ownServers(box, view);
    if (own.length === 0) return already("no other master's server counts on this box's");
    own.reduce((seen, name) => {
      assertRemovable(seen, name, { force: true, buckets: recordBuckets(loaded) });
      return without(seen, name);
    }, view);
    return todo(
      "the servers of the other masters vote without it from then on",
      own.map((name) => `take ${name} out of the control plane's servers`),
    );
  } catch (error) {
    const isSilent = isFulaError(error, "FULA_CONTROL_PLANE_UNREACHABLE") || isFulaError(error, "FULA_NOT_JOINED");
    if (!isSilent && options.force !== true) throw error;
    const name = natsServerName(loaded.config, "nats");
    return left(`the control plane cannot be asked; on another master: fula-master membership peer remove ${name}`);
  }
}

/** Step: this box's servers are taken out of the control plane's, where other masters have some. */
export function controlPlaneServerStep(box: LeaveBox): RunStep<LeaveStepId> {
  const { loaded, context } = box;
  return {
    id: "control-plane-server",
    title: "Control plane's server",
    assess: async () => await assess(box),
    apply: async (report) => {
      const own = ownServers(box, await readServers(loaded, context));
      for (const name of own) {
        report(`taking ${name} out`);
        await takeServerOut(loaded, name, context);
      }
      return own.length === 0 ? "none was left" : `${own.join(", ")} taken out`;
    },
  };
}
