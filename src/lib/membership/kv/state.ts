import { errors, type NatsConnection } from "@nats-io/transport-node";
import { z } from "zod";
import type { Clock } from "../../kernel/clock.ts";
import { controlPlaneSilent } from "./budget.ts";
import { explainNatsError } from "./explain.ts";
import { SELF_TEST } from "./buckets.ts";

/** A server as the leader of a group sees it. */
export interface PeerView {
  /** Its `server_name`. */
  readonly name: string;
  /** Heard lately, and has everything. */
  readonly current: boolean;
  /** Not heard lately. */
  readonly offline: boolean;
  /** Operations that it is behind. */
  readonly lag: number;
  /** Since it was last heard; null where the leader has never heard it. */
  readonly silentMs: number | null;
}

/** What a server tells of itself. */
export interface ServerView {
  readonly name: string;
  readonly version: string;
  /** Whether what it acknowledges is on its disk; null where it does not tell. */
  readonly syncAlways: boolean | null;
  /** Its clock beside this box's: above 0 where it is ahead; null where it does not tell. */
  readonly clockOffsetMs: number | null;
}

/** A stream that records lie in. */
export interface StreamView {
  /** Name of the KV bucket. */
  readonly bucket: string;
  /** Name of the server that leads it; null where none does that answered. */
  readonly leader: string | null;
  /** How many servers are to have it. */
  readonly replicas: number;
  /** Those beside the leader, as it sees them; empty where there is none. */
  readonly peers: readonly PeerView[];
  readonly storage: "file" | "memory";
  /** Whether a server answers reads that does not lead. */
  readonly directGets: boolean;
}

/** What the servers of a control plane tell, all of it at about one moment. */
export interface ClusterView {
  /** Servers that answered, by name. */
  readonly servers: readonly ServerView[];
  /** Whether they form a cluster; a server alone leads everything by itself. */
  readonly clustered: boolean;
  /**
   * Name of the server that leads the group of all (the meta group); null where none does that answered, or where fewer
   * answered than agree on anything.
   */
  readonly metaLeader: string | null;
  /** All servers of that group beside its leader, as it sees them, by name; empty where there is none. */
  readonly members: readonly PeerView[];
  /** Those of the buckets that are there, by name. */
  readonly streams: readonly StreamView[];
}

const NS_PER_MS = 1e6;

const peerSchema = z
  .object({
    name: z.string(),
    current: z.boolean(),
    offline: z.boolean().default(false),
    active: z.number().default(0),
    lag: z.number().default(0),
  })
  .transform(
    ({ active, current, offline, ...peer }): PeerView => ({
      ...peer,
      offline,
      // The group takes a server that went a moment ago for current a while longer.
      current: current && !offline,
      silentMs: active > 0 ? Math.round(active / NS_PER_MS) : null,
    }),
  );

const groupSchema = z.object({ leader: z.string().default(""), replicas: z.array(peerSchema).default([]) });

const streamSchema = z.object({
  name: z.string(),
  cluster: groupSchema.optional(),
  config: z.object({
    num_replicas: z.number(),
    storage: z.enum(["file", "memory"]),
    allow_direct: z.boolean().default(false),
  }),
});

/** What a server answers to JSZ; nats-server, `server/monitor.go`, `JSInfo`. */
const answerSchema = z.object({
  server: z.object({ name: z.string(), ver: z.string(), time: z.string().optional() }),
  data: z.object({
    disabled: z.boolean().default(false),
    config: z.object({ sync_interval: z.number().optional(), sync_always: z.boolean().optional() }).default({}),
    meta_cluster: groupSchema.extend({ cluster_size: z.number() }).optional(),
    account_details: z.array(z.object({ stream_detail: z.array(streamSchema).default([]) })).default([]),
  }),
});

interface Answer extends z.infer<typeof answerSchema> {
  readonly receivedMs: number;
}

function byName<T>(items: readonly T[], nameOf: (item: T) => string): readonly T[] {
  return items.toSorted((a, b) => (nameOf(a) < nameOf(b) ? -1 : 1));
}

function serverView({ server, data, receivedMs }: Answer, askedMs: number): ServerView {
  const { sync_interval: interval, sync_always: always } = data.config;
  const toldMs = Date.parse(server.time ?? "");
  return {
    name: server.name,
    version: server.ver,
    // A server that knows the setting tells an interval at least.
    syncAlways: always ?? (interval === undefined ? null : false),
    clockOffsetMs: Number.isNaN(toldMs) ? null : Math.round(toldMs - (askedMs + receivedMs) / 2),
  };
}

/** Followers know little of one another: only what a leader says of its group counts. */
function groupOf(
  answers: readonly Answer[],
  read: (answer: Answer) => z.infer<typeof groupSchema> | undefined,
): { readonly leader: string | null; readonly peers: readonly PeerView[] } {
  const own = answers.find((answer) => read(answer)?.leader === answer.server.name);
  const peers = own === undefined ? [] : (read(own)?.replicas ?? []);
  return { leader: own?.server.name ?? null, peers: byName(peers, ({ name }) => name) };
}

type StreamAnswer = z.infer<typeof streamSchema>;

function streamViews(answers: readonly Answer[], prefix: string): readonly StreamView[] {
  const streamsOf = ({ data }: Answer): readonly StreamAnswer[] =>
    data.account_details.flatMap(({ stream_detail: streams }) => streams);
  const start = `KV_${prefix}_`;
  const names = new Set(
    answers
      .flatMap((answer) => streamsOf(answer).map(({ name }) => name))
      // A bucket that clients race for comes and goes.
      .filter((name) => name.startsWith(start) && !name.startsWith(`${start}${SELF_TEST}`)),
  );
  return [...names].toSorted().map((name) => {
    const find = (answer: Answer): StreamAnswer | undefined => streamsOf(answer).find((each) => each.name === name);
    const { leader, peers } = groupOf(answers, (answer) => find(answer)?.cluster);
    const led = answers.find(({ server }) => server.name === leader);
    const config = (led === undefined ? undefined : find(led))?.config ?? answers.map(find).find(Boolean)?.config;
    return {
      bucket: name.slice("KV_".length),
      leader,
      peers,
      replicas: config?.num_replicas ?? 0,
      storage: config?.storage ?? "file",
      directGets: config?.allow_direct ?? false,
    };
  });
}

const QUESTION = "$SYS.REQ.SERVER.PING.JSZ";

async function askAll(
  system: NatsConnection,
  { clock, timeoutMs }: { readonly clock: Clock; readonly timeoutMs: number },
): Promise<readonly Answer[]> {
  const options = JSON.stringify({ accounts: true, streams: true, config: true });
  // The library ends 300 ms after the last answer: servers that are down are not waited for.
  const limits = { strategy: "stall" as const, maxWait: Math.ceil(timeoutMs), noMux: true };
  const answers: Answer[] = [];
  for await (const message of await system.requestMany(QUESTION, options, limits)) {
    const parsed = answerSchema.safeParse(message.json());
    if (!parsed.success || parsed.data.data.disabled) continue;
    answers.push({ ...parsed.data, receivedMs: clock.nowMs() });
    const size = Math.max(...answers.map(({ data }) => data.meta_cluster?.cluster_size ?? 1));
    if (answers.length >= size) break;
  }
  return answers;
}

/**
 * Asks all servers at once how they are, through any one of them. A server that does not answer is no error: it is not
 * among `servers`, and its leader tells of it.
 * @param system a connection that is logged in to the system account
 * @throws FulaError FULA_CONTROL_PLANE_UNREACHABLE where none answers
 */
export async function readClusterView(
  system: NatsConnection,
  target: { readonly prefix: string; readonly timeoutMs: number; readonly address: string },
  clock: Clock,
): Promise<ClusterView> {
  const askedMs = clock.nowMs();
  const answers = await askAll(system, { clock, timeoutMs: target.timeoutMs }).catch((error: unknown) => {
    if (error instanceof errors.NoRespondersError) return [];
    throw explainNatsError(error, "tell how its servers are", target.address);
  });
  if (answers.length === 0) {
    throw controlPlaneSilent(
      `No server of the control plane at ${target.address} tells how it is`,
      "unreachable",
      "check that this box's system key is one of the servers' system account.",
    );
  }
  const { leader, peers } = groupOf(answers, ({ data }) => data.meta_cluster);
  // A leader that has lost the others goes on calling itself one for half a minute.
  const isHeard = answers.length > (peers.length + 1) / 2;
  return {
    servers: byName(
      answers.map((answer) => serverView(answer, askedMs)),
      ({ name }) => name,
    ),
    clustered: answers.some(({ data }) => data.meta_cluster !== undefined),
    metaLeader: isHeard ? leader : null,
    members: peers,
    streams: streamViews(answers, target.prefix),
  };
}
