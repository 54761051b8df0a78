import { z } from "zod";
import { formatUtc } from "../kernel/clock.ts";
import { parsePin } from "./pin-schema.ts";
import type { ClusterPeer, PeerPinStatus, Pin, PinStatus } from "./pins.ts";

/**
 * Reads what the REST API of IPFS Cluster sends (github.com/ipfs-cluster/ipfs-cluster/api): Go writes an empty list
 * or map as null, a time that was never set as the year 1, and every time in the time zone of the peer.
 */

/** The text of a CID; older versions wrapped it as dag-json does. */
const cidSchema = z.union([z.string(), z.object({ "/": z.string() }).transform((link) => link["/"])]);
const listSchema = z
  .array(z.string())
  .nullish()
  .transform((list) => list ?? []);
// Not `z.record`, which leaves out a key "__proto__" without a word.
const mapSchema = z
  .custom<Readonly<Record<string, string>> | null | undefined>(
    (value) => value === null || value === undefined || (typeof value === "object" && !Array.isArray(value)),
  )
  .transform((map) => map ?? {});
const timeSchema = z.string().transform((text, context) => {
  if (text.endsWith("Z")) return text;
  const ms = Date.parse(text);
  if (!Number.isNaN(ms)) return formatUtc(ms);
  context.addIssue(`${JSON.stringify(text)} is no time`);
  return z.NEVER;
});

const pinSchema = z.object({
  cid: cidSchema,
  type: z.enum(["pin", "meta-pin", "clusterdag-pin", "shard-pin"]),
  mode: z.enum(["recursive", "direct"]),
  name: z.string(),
  replication_factor_min: z.number(),
  replication_factor_max: z.number(),
  shard_size: z.number(),
  user_allocations: listSchema,
  allocations: listSchema,
  expire_at: timeSchema.nullish(),
  metadata: mapSchema,
  origins: listSchema,
  max_depth: z.number(),
  reference: cidSchema.nullish(),
  timestamp: timeSchema,
});

/** The year 1 is Go's "never"; 1970 is what its protobuf makes of it. */
const NEVER = /^(?:0001|1970)-01-01T00:00:00Z$/;

/** A pin of `GET /allocations`. `pin_update` is left out: it tells where the content came from, not how it is kept. @throws ZodError, FulaError FULA_PIN_INVALID */
export function readPin(value: unknown): Pin {
  const { expire_at: expiry, reference, ...pin } = pinSchema.parse(value);
  const hasExpiry = expiry !== null && expiry !== undefined && !NEVER.test(expiry);
  return parsePin({ ...pin, expire_at: hasExpiry ? expiry : null, reference: reference ?? null });
}

const PEER_STATUSES: ReadonlySet<string> = new Set<PeerPinStatus>([
  "undefined",
  "cluster_error",
  "pin_error",
  "unpin_error",
  "pinned",
  "pinning",
  "unpinning",
  "unpinned",
  "remote",
  "pin_queued",
  "unpin_queued",
  "sharded",
  "unexpectedly_unpinned",
]);

function isPeerStatus(text: string): text is PeerPinStatus {
  return PEER_STATUSES.has(text);
}

const statusSchema = z.object({
  cid: cidSchema,
  name: z.string().default(""),
  peer_map: z
    .record(z.string(), z.object({ status: z.string(), error: z.string().default("") }))
    .nullish()
    .transform((map) => map ?? {}),
});

/** A status of `GET /pins`. A status that this version does not know is "undefined", never "pinned". @throws ZodError */
export function readStatus(value: unknown): PinStatus {
  const { cid, name, peer_map: peers } = statusSchema.parse(value);
  return {
    cid,
    name,
    peers: Object.entries(peers).map(([peer, { status, error }]) =>
      isPeerStatus(status)
        ? { peer, status, error }
        : { peer, status: "undefined", error: `${status} ${error}`.trim() },
    ),
  };
}

const peerSchema = z.object({
  id: z.string().min(1),
  peername: z.string().default(""),
  addresses: listSchema,
  error: z.string().default(""),
  ipfs: z
    .object({ id: z.string().default(""), addresses: listSchema, error: z.string().default("") })
    .default({ id: "", addresses: [], error: "" }),
});

/** A peer of `GET /peers` or `GET /id`. @throws ZodError */
export function readPeer(value: unknown, selfId: string): ClusterPeer {
  const { id, peername, addresses, error, ipfs } = peerSchema.parse(value);
  return {
    id,
    name: peername,
    isSelf: id === selfId,
    state: error === "" ? "answers" : "failing",
    error: error === "" && ipfs.error !== "" ? `its Kubo does not answer: ${ipfs.error}` : error,
    kuboId: ipfs.id === "" ? null : ipfs.id,
    addresses,
    kuboAddresses: ipfs.addresses,
  };
}

const alertsSchema = z
  .array(z.object({ name: z.string(), peer: z.string(), triggered_at: timeSchema }))
  .nullish()
  .transform((alerts) => alerts ?? []);

/** Peers whose pings stopped, with the time when that was noticed, from `GET /health/alerts`. @throws ZodError */
export function readGonePeers(value: unknown): ReadonlyMap<string, string> {
  const pings = alertsSchema.parse(value).filter(({ name }) => name === "ping");
  return new Map(pings.map((alert) => [alert.peer, alert.triggered_at]));
}
