import { z } from "zod";
import { FulaError } from "../kernel/errors.ts";
import { RestConnection } from "./rest-connection.ts";

/** What the asked peer knows of another one's pings. */
export interface PeerPing {
  readonly peer: string;
  /** How long after a ping the peer still counts as alive, milliseconds. */
  readonly lifetimeMs: number;
  readonly alive: boolean;
}

// Nanoseconds since 1970 do not fit a number exactly; what is lost is less than the time a ping is on its way.
const metricsSchema = z
  .array(z.object({ peer: z.string(), expire: z.number(), received_at: z.number(), valid: z.boolean() }))
  .nullable();

const NANOSECONDS_PER_SECOND = 1e9;
const MS_PER_SECOND = 1_000;
const PATIENCE_MS = 10_000;

/**
 * The last ping of every peer as the asked one knows it. A peer that pings rarely still counts as alive long after its death.
 * @param url base URL of the REST API
 * @throws FulaError FULA_CLUSTER_UNREADABLE, FULA_CLUSTER_DENIED
 */
export async function readPings(url: string, signal: AbortSignal): Promise<readonly PeerPing[]> {
  using connection = new RestConnection(url, { answerMs: PATIENCE_MS, streamStartMs: PATIENCE_MS });
  const path = "/monitor/metrics/ping";
  const answer = await connection.ask("GET", path, signal);
  if (answer.status !== 200) throw connection.unexpected(path, answer);
  try {
    return (metricsSchema.parse(JSON.parse(answer.body)) ?? []).map(
      ({ peer, expire, received_at: received, valid }) => ({
        peer,
        lifetimeMs: Math.max(0, Math.round((expire - received) / NANOSECONDS_PER_SECOND)) * MS_PER_SECOND,
        alive: valid,
      }),
    );
  } catch (cause) {
    throw new FulaError("FULA_CLUSTER_UNREADABLE", `${url}${path} answers something that is no list of pings.`, {
      cause,
      hint: "see that cluster.api in fula-master.yaml is the REST API of an IPFS Cluster peer of version 1.x.",
    });
  }
}
