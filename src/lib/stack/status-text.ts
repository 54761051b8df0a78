import { formatBytes, formatCount, formatDuration } from "../kernel/units.ts";
import type { Part, PartState } from "./status-part.ts";
import type { PartName, ServePart, StatusParts, StatusReport } from "./status-report.ts";

/** How the words for a state are shown; identity where colours are off. */
export interface StatusStyle {
  readonly good: (text: string) => string;
  readonly attention: (text: string) => string;
  readonly bad: (text: string) => string;
}

const MARKS: Readonly<Record<PartState, string>> = { ok: "ok", attention: "look", bad: "BAD" };

/** How a part is called on the screen, and what is said of it on its line and below. */
interface Row<Name extends PartName> {
  readonly title: string;
  readonly facts: (part: NonNullable<StatusParts[Name]>) => string;
  readonly below?: (part: NonNullable<StatusParts[Name]>) => readonly string[];
}

function ago(ageMs: number | null): string {
  if (ageMs === null) return "";
  return ageMs < 0 ? "dated in the future" : `${formatDuration(ageMs)} ago`;
}

function short(id: string): string {
  return id.length > 16 ? `…${id.slice(-10)}` : id;
}

function sizeOf(bytes: number | null): string {
  return bytes === null ? "?" : formatBytes(bytes);
}

function room({ freeBytes, totalBytes, path }: NonNullable<StatusParts["disk"]>): string {
  if (freeBytes === null || totalBytes === null) return path;
  return `${formatBytes(freeBytes)} of ${formatBytes(totalBytes)} free`;
}

function serviceLines({ services }: NonNullable<StatusParts["containers"]>): readonly string[] {
  return services.map(({ service, state, health, image, restarts }) => {
    const how = health === "none" ? state : `${state}, ${health}`;
    return `${service.padEnd(9)} ${how}, ${formatCount(restarts, "restart")}, ${image}`;
  });
}

function peerLines({ peers }: NonNullable<StatusParts["cluster"]>): readonly string[] {
  const shown = peers.filter(({ state }) => state !== "answers");
  return shown.map(({ id, name, state, error }) => `${name || short(id)} ${state}${error === "" ? "" : `: ${error}`}`);
}

function clusterFacts({ peers, api }: NonNullable<StatusParts["cluster"]>): string {
  if (peers.length === 0) return api;
  const answering = peers.filter(({ state }) => state === "answers").length;
  const followers = peers.filter(({ role }) => role === "follower").length;
  return `${answering} of ${formatCount(peers.length, "peer")} answer, ${formatCount(followers, "follower")}`;
}

function controlPlaneFacts(part: NonNullable<StatusParts["controlPlane"]>): string {
  const { mode, servers, replicas, metaLeader, stampAgeMs, operators, admins, pools } = part;
  if (operators === null || admins === null) return mode;
  const who = `${formatCount(operators, "operator")} (${formatCount(admins, "admin")}), ${formatCount(pools.length, "pool")}`;
  if (mode === "sqlite") return `a file of this box, ${who}`;
  const leads = metaLeader === null ? "" : `, ${metaLeader} leads`;
  const copies = replicas === null ? "" : `, ${formatCount(replicas, "replica")}`;
  const stamp = stampAgeMs === null ? "" : `, confirmed ${formatDuration(stampAgeMs)} ago`;
  return `${formatCount(servers.length, "server")}${leads}${copies}, ${who}${stamp}`;
}

function controlPlaneLines({ servers, lagging }: NonNullable<StatusParts["controlPlane"]>): readonly string[] {
  return [
    ...servers
      .filter(({ state }) => state !== "current")
      .map(({ name, state, lag }) => (state === "offline" ? `${name} offline` : `${name} behind by ${lag}`)),
    ...lagging.map(
      ({ pool, epoch, member, appliedEpoch }) => `${member} uses epoch ${appliedEpoch} of ${pool}, newest ${epoch}`,
    ),
  ];
}

function standbyFacts({ epoch, primary, standbys, wouldLoseBytes }: NonNullable<StatusParts["standbys"]>): string {
  if (epoch === null || primary === null) return "";
  const lost = wouldLoseBytes === null || wouldLoseBytes === 0 ? "" : `, ${sizeOf(wouldLoseBytes)} would be lost`;
  return `epoch ${epoch}, ${primary} is the primary, ${formatCount(standbys.length, "standby", "standbys")}${lost}`;
}

function standbyLines({ standbys }: NonNullable<StatusParts["standbys"]>): readonly string[] {
  return standbys.map(({ node, replication, isSync, lagBytes }) => {
    const lag = lagBytes === null ? "" : `, ${sizeOf(lagBytes)} behind`;
    return `${node} ${replication ?? "as its primary sees it"}${lag}, ${isSync ? "synchronous" : "asynchronous"}`;
  });
}

const ALERTS_SHOWN = 5;

/** Every part with its line, in the order of the screen. */
const ROWS: { readonly [Name in PartName]: Row<Name> } = {
  serve: {
    title: "serve",
    facts: ({ pid, since }) => (pid === null ? "stopped" : `process ${pid} since ${since}`),
  },
  containers: { title: "containers", facts: ({ project }) => `project ${project}`, below: serviceLines },
  ledger: {
    title: "ledger",
    facts: ({ serverVersion, mode, schemaVersion }) =>
      serverVersion === null ? "" : `PostgreSQL ${serverVersion} (${mode}), schema ${schemaVersion ?? "none"}`,
  },
  billing: {
    title: "billing",
    facts: ({ on, leader, lastHour, hoursBehind, alerts }) => {
      if (on === null) return "";
      const who = leader === null ? (on ? "nobody leads" : "off") : `${leader} leads${on ? "" : ", off here"}`;
      const last = lastHour === null ? "no hour billed yet" : `billed through ${lastHour}`;
      const behind = hoursBehind === 0 ? "" : `, ${formatCount(hoursBehind ?? 0, "hour")} behind`;
      return `${who}, ${last}${behind}${alerts === 0 ? "" : `, ${formatCount(alerts ?? 0, "alert")}`}`;
    },
  },
  buckets: {
    title: "buckets",
    facts: ({ buckets, mode, garbage, holds }) => {
      if (buckets === null) return "";
      const waiting = (garbage ?? 0) === 0 ? "" : `, ${garbage} to be looked at by the collector`;
      const held = (holds ?? 0) === 0 ? "" : `, ${holds} held until peers have them`;
      return `${formatCount(buckets, "bucket")}, ${mode === null ? "nobody has served yet" : `saved by ${mode}`}${waiting}${held}`;
    },
  },
  pinning: {
    title: "pinning",
    facts: ({ waiting, failing, dead }) => {
      if (waiting === null) return "";
      const trouble = failing === 0 ? "" : `, ${failing ?? "?"} failing`;
      return `${formatCount(waiting, "content")} on the queue${trouble}${dead === 0 ? "" : `, ${dead ?? "?"} given up`}`;
    },
  },
  controlPlane: { title: "membership", facts: controlPlaneFacts, below: controlPlaneLines },
  standbys: { title: "standbys", facts: standbyFacts, below: standbyLines },
  kubo: {
    title: "kubo",
    facts: ({ version, api, peersConnected, repoBytes, storageMaxBytes }) =>
      version === null
        ? api
        : `${version}, ${peersConnected === null ? "? nodes" : formatCount(peersConnected, "node")} connected, ${sizeOf(repoBytes)} of ${sizeOf(storageMaxBytes)}`,
  },
  cluster: { title: "cluster", facts: clusterFacts, below: peerLines },
  trust: { title: "trust", facts: ({ trusted }) => `${formatCount(trusted.length, "master")} trusted` },
  storage: {
    title: "storage",
    facts: ({ claims }) =>
      `${claims.filter(({ holds }) => holds).length} of ${formatCount(claims.length, "claim holds", "claims hold")}`,
  },
  pins: {
    title: "pins",
    facts: ({ count, state }) => (count === null ? (state === "ok" ? "readable" : "not counted") : `${count}`),
  },
  disk: { title: "disk", facts: room },
  dockerDisk: { title: "docker", facts: room },
  backups: {
    title: "backups",
    facts: ({ due, count, newest, ageMs, tested, archivedTo }) => {
      if (newest === null) return count === null ? "" : due ? "none yet" : "none, none is due here";
      const test = tested === null ? "not tested" : tested ? "restored for a test" : "TEST FAILED";
      return `${ago(ageMs)}, ${test}${archivedTo === null ? "" : `, WAL up to ${archivedTo}`}`;
    },
  },
  snapshot: {
    title: "snapshot",
    facts: ({ sequence, ageMs, pinCount }) =>
      sequence === null || pinCount === null
        ? "none"
        : `number ${sequence}, ${ago(ageMs)}, ${formatCount(pinCount, "pin")}`,
  },
  sweep: {
    title: "sweep",
    facts: ({ time, ageMs, outcome, pins, below }) =>
      time === null
        ? "not yet"
        : `${ago(ageMs)}, ${outcome ?? "unknown"}: ${pins === null ? "? pins" : formatCount(pins, "pin")}, ${below ?? "?"} held by too few`,
  },
  alerts: {
    title: "alerts",
    facts: ({ standing, state }) => {
      if (standing === null) return state === "ok" ? "no sweep has looked yet" : "not known";
      return standing === 0 ? "none" : `${standing}`;
    },
    below: ({ worst }) =>
      worst
        .slice(0, ALERTS_SHOWN)
        .map(({ what, id, name, since }) => `${what} ${id}${name === "" ? "" : ` (${name})`} since ${since}`),
  },
  schedules: {
    title: "schedules",
    facts: ({ jobs }) => jobs.map(({ kind, state }) => `${kind} ${state}`).join(", "),
  },
  key: { title: "key", facts: ({ keyId }) => keyId ?? "none" },
};

const TITLE_WIDTH = 11;
const INDENT = " ".repeat(2 + TITLE_WIDTH + 6);

function styled(state: PartState, style: StatusStyle): string {
  const mark = MARKS[state].padEnd(5);
  if (state === "bad") return style.bad(mark);
  return state === "attention" ? style.attention(mark) : style.good(mark);
}

function linesOf<Name extends PartName>(name: Name, part: StatusParts[Name], style: StatusStyle): readonly string[] {
  if (part === null) return [];
  const { title, facts, below }: Row<Name> = ROWS[name];
  const { state, problem }: Part = part;
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- it is not null, which the compiler does not see of a generic
  const known = part as NonNullable<StatusParts[Name]>;
  const line = `  ${title.padEnd(TITLE_WIDTH - 1)} ${styled(state, style)} ${facts(known)}`.trimEnd();
  const more = [...(problem === null ? [] : [problem]), ...(below?.(known) ?? [])];
  return [line, ...more.map((text) => `${INDENT}${text}`)];
}

function endpointLines(serve: ServePart | null): readonly string[] {
  if (serve === null) return [];
  const checks = serve.checks.map(({ name, state }) => `${name} ${state}`).join(", ");
  const { gateway, api, ingest } = serve.endpoints;
  return [
    ...(gateway === null ? [] : [`  S3          ${gateway}`]),
    ...(api === null ? [] : [`  API         ${api}`]),
    ...(ingest === null ? [] : [`  blocks      ${ingest}`]),
    `  operations  ${serve.endpoints.operations}${checks === "" ? "" : `  (${checks})`}`,
  ];
}

/** The status on one screen. */
export function renderStatus(report: StatusReport, style: StatusStyle): string {
  const { node, serve, baseDir, healthy, warnings } = report;
  if (node === null) {
    return `Not joined: ${baseDir} holds no master.\n  Try: fula-master join`;
  }
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the keys of ROWS are the names of the parts
  const names = Object.keys(ROWS) as readonly PartName[];
  const verdict = node.leftAt !== null ? style.bad("LEFT") : healthy ? style.good("healthy") : style.bad("UNHEALTHY");
  return [
    `${node.name}: ${verdict} ${node.role === "storage" ? "storage node" : "master"}, ${node.runtime}, cluster ${node.clusterId}`,
    ...(node.leftAt === null ? [] : [`  It left at ${node.leftAt}; fula-master join brings it back.`]),
    "",
    ...names.flatMap((name) => linesOf(name, report[name], style)),
    "",
    ...endpointLines(serve),
    `  base dir    ${baseDir}`,
    ...(warnings.length === 0
      ? []
      : ["", ...warnings.map(({ message, remedy }) => `  WARNING  ${message}\n           Try: ${remedy}`)]),
  ].join("\n");
}
