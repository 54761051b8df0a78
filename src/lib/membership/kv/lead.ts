import type { NatsConnection } from "@nats-io/transport-node";
import { explainNatsError } from "./explain.ts";
import type { ClusterView } from "./state.ts";

/** Has the server that leads a bucket hand that on; the others choose who is next. */
export async function stepDown(
  user: NatsConnection,
  bucket: string,
  { timeoutMs }: { readonly timeoutMs: number },
): Promise<void> {
  await user.request(`$JS.API.STREAM.LEADER.STEPDOWN.KV_${bucket}`, "", { timeout: timeoutMs });
}

/**
 * Buckets that a box leads and should not, because it has the ledger's primary: whoever has to choose another primary would
 * first wait until the servers have found another leader, which takes them seconds. Only where the others agree without the box,
 * and have everything.
 * @param own names of the box's servers
 */
export function leadsToHandOn({ streams }: ClusterView, own: ReadonlySet<string>): readonly string[] {
  return streams
    .filter(({ leader, replicas, peers }) => {
      const others = peers.filter(({ name, current, offline }) => !own.has(name) && current && !offline);
      return leader !== null && own.has(leader) && others.length > replicas / 2;
    })
    .map(({ bucket }) => bucket);
}

/**
 * Has another server lead a bucket.
 * @param user a connection of the account that has the buckets
 * @throws FulaError FULA_CONTROL_PLANE_UNREACHABLE, FULA_CONTROL_PLANE_UNREADABLE
 */
export async function handBucketOn(
  user: NatsConnection,
  bucket: string,
  target: { readonly timeoutMs: number; readonly address: string },
): Promise<void> {
  try {
    await stepDown(user, bucket, target);
  } catch (error) {
    throw explainNatsError(error, `have another server lead bucket ${bucket}`, target.address);
  }
}
