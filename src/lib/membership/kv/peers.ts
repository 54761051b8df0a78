import { jetstreamManager } from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/transport-node";
import { z } from "zod";
import { FulaError } from "../../kernel/errors.ts";
import { controlPlaneSilent } from "./budget.ts";
import { explainNatsError } from "./explain.ts";
import { wellServers } from "./grow.ts";
import { stepDown } from "./lead.ts";
import type { ClusterView, StreamView } from "./state.ts";

const REMOVE = "$JS.API.SERVER.REMOVE";
const STEP_DOWN = "$JS.API.META.LEADER.STEPDOWN";
/** Who has not been heard since the leader was elected has no name with it: only an id. */
const NAMELESS = /\(peerID: ([A-Za-z0-9]{8})\)$/;

const removalSchema = z.object({
  success: z.boolean().default(false),
  error: z
    .object({ code: z.number(), err_code: z.number().default(0), description: z.string().default("") })
    .optional(),
});

/** The JetStream API's codes for a server that is no member, and for a change of members that is under way. */
const NOT_A_MEMBER = 10_044;
const CHANGE_IN_FLIGHT = 10_202;

function refused(name: string, why: string, hint: string): FulaError {
  return new FulaError("FULA_CONTROL_PLANE_PEER", `${name} is not taken out of the control plane: ${why}.`, {
    hint,
    details: { peer: name },
  });
}

/** True where a server that would be left has all of a bucket. */
function isHeldWithout({ leader, peers }: StreamView, name: string): boolean {
  return leader !== null && (leader !== name || peers.some((peer) => peer.name !== name && peer.current));
}

/** Buckets that nobody else has: what was acknowledged would be gone with the server. */
function heldAlone({ servers, streams }: ClusterView, name: string, buckets: readonly string[]): readonly string[] {
  const isSilent = servers.every((server) => server.name !== name);
  return buckets.filter((bucket) => {
    const stream = streams.find((each) => each.bucket === bucket);
    // A server that does not answer does not tell of what it alone has, either.
    return stream === undefined ? isSilent : !isHeldWithout(stream, name);
  });
}

/**
 * Refuses a removal that would do harm: of a server that runs, one after which those that are left cannot agree, or one
 * that alone has records.
 * @param force takes out a server that runs, too; never what breaks the quorum
 * @param buckets names of those that must not be lost
 * @throws FulaError FULA_CONTROL_PLANE_PEER, FULA_CONTROL_PLANE_UNREACHABLE where no leader is there to do it
 */
export function assertRemovable(
  view: ClusterView,
  name: string,
  { force, buckets }: { readonly force: boolean; readonly buckets: readonly string[] },
): void {
  const { metaLeader, members, servers } = view;
  if (metaLeader === null) {
    throw controlPlaneSilent(
      `${name} cannot be taken out of the control plane: its servers have no leader`,
      "no-quorum",
      "start as many servers as make more than half of them; fula-master status shows which are there.",
    );
  }
  const member = members.find((each) => each.name === name);
  if (member === undefined && name !== metaLeader) {
    const names = [metaLeader, ...members.map((each) => each.name)].toSorted();
    throw refused(name, `it is none of its servers, which are ${names.join(", ")}`, "give one of these names.");
  }
  const isAlive = name === metaLeader || servers.some((server) => server.name === name);
  if (isAlive && !force) {
    throw refused(
      name,
      "it runs, and would be back at its next start",
      `stop it first; fula-master leave does both on the box itself. Or add --force.`,
    );
  }
  const left = members.length;
  const wellLeft = wellServers(view).filter((each) => each !== name).length;
  if (left === 0) throw refused(name, "it is the last one", "fula-master leave ends a federation of one.");
  if (wellLeft <= left / 2) {
    throw refused(
      name,
      `of the ${left} that would be left only ${wellLeft} are there with everything, which is not more than half`,
      "start the others first; fula-master status shows them.",
    );
  }
  const alone = heldAlone(view, name, buckets);
  if (alone.length === 0) return;
  throw refused(
    name,
    `no other server has ${alone.join(", ")}`,
    "see that it runs, and that serve of a master does, until fula-master status shows more replicas; or export first.",
  );
}

/**
 * Leaves a bucket to one server alone, before the only other one that has it is taken out: a group of two of which one is
 * taken out elects nobody any more.
 * @param user a connection of the account that has the buckets
 * Where the one that goes leads it, it is only asked to hand that on: look again, and ask again.
 * @throws FulaError FULA_CONTROL_PLANE_UNREACHABLE, FULA_CONTROL_PLANE_UNREADABLE
 */
export async function leaveToOne(
  user: NatsConnection,
  { bucket, leader }: StreamView,
  gone: string,
  target: { readonly timeoutMs: number; readonly address: string },
): Promise<void> {
  const stream = `KV_${bucket}`;
  try {
    if (leader === gone) {
      await stepDown(user, bucket, target);
      return;
    }
    const manager = await jetstreamManager(user, { checkAPI: false, timeout: target.timeoutMs });
    const { config } = await manager.streams.info(stream);
    // It is the leader who keeps it.
    if (config.num_replicas > 1) await manager.streams.update(stream, { ...config, num_replicas: 1 });
  } catch (error) {
    throw explainNatsError(error, `leave bucket ${bucket} to one server`, target.address);
  }
}

/**
 * Has the leader of all servers hand that on: one that takes itself out tells nobody whether it did.
 * @throws FulaError FULA_CONTROL_PLANE_UNREACHABLE
 */
export async function handLeadOn(
  system: NatsConnection,
  target: { readonly timeoutMs: number; readonly address: string },
): Promise<void> {
  try {
    await system.request(STEP_DOWN, "", { timeout: target.timeoutMs });
  } catch (error) {
    throw explainNatsError(error, "have another server lead", target.address);
  }
}

/**
 * Takes a server that does not lead out of the group of all servers; what it holds is copied to others. One that is out
 * already is no error.
 * @param system a connection that is logged in to the system account
 * @throws FulaError FULA_CONTROL_PLANE_UNREACHABLE, FULA_CONTROL_PLANE_PEER where another change of members is under way
 */
export async function removePeer(
  system: NatsConnection,
  name: string,
  target: { readonly timeoutMs: number; readonly address: string },
): Promise<void> {
  const id = NAMELESS.exec(name)?.[1];
  const question = JSON.stringify({ peer: name, ...(id !== undefined && { peer_id: id }) });
  let answer: unknown;
  try {
    answer = (await system.request(REMOVE, question, { timeout: target.timeoutMs })).json();
  } catch (error) {
    throw explainNatsError(error, `take the server ${name} out`, target.address);
  }
  const { success, error } = removalSchema.parse(answer);
  if (success || error?.err_code === NOT_A_MEMBER) return;
  const hint = "try again in a moment; fula-master status shows the servers.";
  if (error?.err_code === CHANGE_IN_FLIGHT) throw refused(name, "another change of its servers is under way", hint);
  throw refused(name, error?.description ?? "the leader did not say why", hint);
}
