import { formatCount, formatDuration } from "../kernel/units.ts";
import type { ClusterView, PeerView, ServerView, StreamView } from "../membership/kv/state.ts";
import { NATS_VERSION_MIN, reasonsAgainst } from "../membership/kv/versions.ts";
import type { PartProblem } from "./status-part.ts";

/** What a control plane should be like. */
export interface WantedCluster {
  readonly buckets: readonly string[];
  /** How many servers are to have each record. */
  readonly replicas: number;
  /** Name of the first master's second server; null where the settings have none. */
  readonly witness: string | null;
}

/** Whoever is silent for longer has not just been restarted. */
const LONG_SILENCE_MS = 600_000;
/** Masters beside the witness from which on it is not needed. */
const MASTERS_WITHOUT_WITNESS = 3;
const UPGRADE = "fula-master upgrade brings a container of ours to the image of the settings (docker.images.nats).";

function bad(message: string, remedy: string): PartProblem {
  return { severity: "bad", message, remedy };
}

function attention(message: string, remedy: string): PartProblem {
  return { severity: "attention", message, remedy };
}

/** Refuses versions that are known to lose records or to let several writers win, and tells of a mixture. */
export function judgeVersions(servers: readonly ServerView[]): readonly PartProblem[] {
  const refused = servers.flatMap(({ name, version }) => {
    const reasons = reasonsAgainst(version);
    if (reasons.length === 0) return [];
    const message = `${name} is nats-server ${version || "of no version"}: ${reasons.join("; ")}.`;
    return [bad(message, `run ${NATS_VERSION_MIN} or newer there. ${UPGRADE}`)];
  });
  const versions = [...new Set(servers.map(({ version }) => version))].toSorted();
  if (versions.length < 2) return refused;
  return [
    ...refused,
    attention(`Servers of ${versions.length} versions form one control plane: ${versions.join(", ")}.`, UPGRADE),
  ];
}

/** Checks that what a server acknowledges is on its disk. */
export function judgeSync(servers: readonly ServerView[]): readonly PartProblem[] {
  const remedy = 'set "sync_interval: always" in its jetstream block and restart it; fula-master join renders it so.';
  return servers
    .filter(({ syncAlways }) => syncAlways !== true)
    .map(({ name, syncAlways }) =>
      syncAlways === null
        ? bad(`${name} does not tell whether what it acknowledges is on its disk.`, remedy)
        : bad(`${name} acknowledges writes that are not on its disk yet: a power cut can take them back.`, remedy),
    );
}

const CLOCK_WARN_MS = 1_000;
const CLOCK_MAX_MS = 5_000;

/** Compares the clock of each server with this box's. */
export function judgeClocks(servers: readonly ServerView[]): readonly PartProblem[] {
  const remedy = "turn a time service on, on both boxes: timedatectl set-ntp true.";
  return servers.flatMap(({ name, clockOffsetMs: offset }) => {
    if (offset === null) return [bad(`The clock of ${name} could not be read.`, "see whether it answers.")];
    if (Math.abs(offset) <= CLOCK_WARN_MS) return [];
    const text = `The clock of ${name} is ${formatDuration(Math.abs(offset))} ${offset < 0 ? "behind" : "ahead of"} this box's.`;
    return [Math.abs(offset) > CLOCK_MAX_MS ? bad(text, remedy) : attention(text, remedy)];
  });
}

function judgeMember({ name, offline, current, lag, silentMs }: PeerView): readonly PartProblem[] {
  if (offline) {
    const since = silentMs === null ? "since its leader began" : `for ${formatDuration(silentMs)}`;
    const silence = `${name} is a server of the control plane and has not been heard ${since}.`;
    if (silentMs !== null && silentMs <= LONG_SILENCE_MS)
      return [attention(silence, "see whether its box and its container run.")];
    return [
      bad(silence, `bring it back; if it is gone for good, take it out: fula-master membership peer remove ${name}`),
    ];
  }
  if (current) return [];
  return [
    attention(`${name} is ${formatCount(lag, "operation")} behind in the list of streams.`, "wait; it catches up."),
  ];
}

/** Checks that somebody leads, and that every server of the group is heard. */
export function judgeMembers({ clustered, metaLeader, members }: ClusterView): readonly PartProblem[] {
  if (!clustered) return [];
  if (metaLeader === null) {
    return [
      bad(
        "The servers of the control plane have no leader: more than half of them must be up and reach one another.",
        "see which run (fula-master status on each master), and whether route ports are reachable (controlPlane.routePort).",
      ),
    ];
  }
  return members.flatMap(judgeMember);
}

/** A server of the group that is silent is told of once; one that is none of them any more is to be told of here. */
function judgeAbsent({ bucket, peers }: StreamView, { metaLeader, members }: ClusterView): readonly PartProblem[] {
  if (metaLeader === null) return [];
  return peers
    .filter(({ name, offline }) => offline && name !== metaLeader && members.every((member) => member.name !== name))
    .map(({ name }) =>
      attention(
        `${name} is to hold ${bucket}, and is not heard.`,
        "bring it back, or join another master: it takes its place.",
      ),
    );
}

function judgeStream(stream: StreamView, wanted: number): readonly PartProblem[] {
  const { bucket, leader, replicas, peers, storage, directGets } = stream;
  const remake = `fula-master membership export --output control-plane.json; delete ${bucket}; fula-master membership import control-plane.json`;
  const late = peers.filter(({ current, offline }) => !current && !offline);
  // Where one was taken out and nobody is there to take its place, the setting of the bucket stays as it was.
  const held = leader === null ? replicas : Math.min(replicas, peers.length + 1);
  return [
    ...(leader === null
      ? [bad(`Nobody leads ${bucket}: it takes no writes.`, "see which servers run (fula-master status).")]
      : []),
    ...(storage === "memory" ? [bad(`${bucket} lies in memory: a restart of its servers loses it.`, remake)] : []),
    ...(directGets ? [bad(`${bucket} answers reads from servers that may be behind (direct gets).`, remake)] : []),
    ...(replicas < wanted
      ? [
          attention(
            `${bucket} lies on ${formatCount(replicas, "server")} and should on ${wanted}.`,
            "serve of any master sees to it within a minute; its log tells why where it does not.",
          ),
        ]
      : []),
    ...(held < replicas
      ? [
          attention(
            `${bucket} lies on ${formatCount(held, "server")} and should on ${replicas}.`,
            "join another master: its server takes the place of the one that was taken out.",
          ),
        ]
      : []),
    ...late.map(({ name, lag }) =>
      attention(`${name} is ${formatCount(lag, "operation")} behind in ${bucket}.`, "wait; it catches up."),
    ),
  ];
}

/** Checks that every bucket is there, on disks of as many servers as it should be, and that all of them are current. */
export function judgeStreams(view: ClusterView, { buckets, replicas }: WantedCluster): readonly PartProblem[] {
  const { streams } = view;
  const missing = buckets.filter((bucket) => streams.every((stream) => stream.bucket !== bucket));
  return [
    ...missing.map((bucket) =>
      bad(`The control plane has no bucket ${bucket}.`, "fula-master join makes it; what was in it is in a backup."),
    ),
    ...streams
      .filter(({ bucket }) => buckets.includes(bucket))
      .flatMap((stream) => [...judgeStream(stream, replicas), ...judgeAbsent(stream, view)]),
  ];
}

/** Tells where a witness is still a member although the masters do without. */
export function judgeWitness({ metaLeader, members }: ClusterView, { witness }: WantedCluster): readonly PartProblem[] {
  if (witness === null || metaLeader === null) return [];
  const names = [metaLeader, ...members.filter(({ offline }) => !offline).map(({ name }) => name)];
  const masters = names.filter((name) => name !== witness);
  if (masters.length < MASTERS_WITHOUT_WITNESS || !names.includes(witness)) return [];
  return [
    attention(
      `${witness} is still a server of the control plane, and ${masters.length} masters do without: an even number survives no more than one less.`,
      "serve on its box takes it out within a minute; its log tells why where it does not.",
    ),
  ];
}

/** Everything that is wrong with the servers, the worst first. */
export function judgeCluster(view: ClusterView, wanted: WantedCluster): readonly PartProblem[] {
  const found = [
    ...judgeMembers(view),
    ...judgeStreams(view, wanted),
    ...judgeVersions(view.servers),
    ...judgeSync(view.servers),
    ...judgeClocks(view.servers),
    ...judgeWitness(view, wanted),
  ];
  return [...found.filter(({ severity }) => severity === "bad"), ...found.filter(({ severity }) => severity !== "bad")];
}
