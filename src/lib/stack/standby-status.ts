import type { LoadedConfig } from "../config/load.ts";
import { isFulaError, messageOf } from "../kernel/errors.ts";
import { formatBytes } from "../kernel/units.ts";
import type {
  Attestation,
  FailoverRun,
  LedgerBox,
  LedgerEpochRecord,
  LedgerStore,
  Versioned,
} from "../membership/ledger-records.ts";
import { formatLsn } from "../recovery/lsn.ts";
import { diskRoom } from "../runtime/host.ts";
import type { PostgresSite } from "../runtime/postgres-site.ts";
import { openOwnServer } from "./own-server.ts";
import { ownPostgres } from "./own-postgres.ts";
import { type ShownEpoch, showEpoch } from "./shown-epoch.ts";
import { slotConcern } from "./slot-room.ts";
import type { StandbyBox } from "./standby-box.ts";
import {
  lookAtPrimary,
  lookAtStandby,
  type PrimarySeen,
  replicationOf,
  slotOf,
  type StandbySeen,
} from "./standby-look.ts";
import { readDockerDisk } from "./status-containers.ts";

/** A standby, as the primary's box sees it; `--json` prints it as it is. */
export interface StandbyLine {
  readonly node: string;
  readonly address: string;
  readonly state: LedgerBox["state"];
  /** `streaming`, `catchup` and others of PostgreSQL's; `absent`: no connection; null where this box cannot tell. */
  readonly replication: string | null;
  /** True where commits wait for it, and it may be promoted without loss. */
  readonly isSync: boolean;
  /** What it has not yet written down of what the primary has; null where that is not known. */
  readonly lagBytes: number | null;
  /** The same in time, by its own word; null also while nothing is written. */
  readonly lagSeconds: number | null;
  /** What its slot keeps; null where there is no slot, or this box cannot tell. */
  readonly slot: {
    readonly walStatus: string | null;
    readonly keptBytes: number;
    readonly safeBytes: number | null;
    /** What the disk of the primary's data has free; null where that could not be told. */
    readonly freeBytes: number | null;
  } | null;
}

/** What this box's own server is doing. */
export interface OwnLine {
  readonly role: "primary" | "standby" | "stopped" | "absent" | "unknown";
  /** Why it could not be asked; null where it could. */
  readonly error: string | null;
  /** Of a standby: whether it receives, and up to where it has received. */
  readonly isReceiving: boolean | null;
  readonly receivedLsn: string | null;
}

/** What `standby status` prints; `--json` keeps these fields. */
export interface StandbyStatus {
  readonly node: string;
  /** Null where the ledger never had a second server. */
  readonly epoch: ShownEpoch | null;
  /** Null where this box carries no server. */
  readonly own: OwnLine | null;
  readonly standbys: readonly StandbyLine[];
  /** Bytes of acknowledged log that a failover at this moment would lose: 0 while commits wait for one that streams; null where this box cannot tell. */
  readonly wouldLoseBytes: number | null;
  readonly failover: Pick<FailoverRun, "kind" | "state" | "step" | "from" | "to"> | null;
  readonly attestations: readonly Pick<Attestation, "node" | "number" | "what" | "receivedLsn">[];
  /** What is not as it should be. */
  readonly problems: readonly StandbyProblem[];
}

/** `bad`: the ledger or its copies are not as they must be; `attention`: somebody should look at it. */
export interface StandbyProblem {
  readonly severity: "bad" | "attention";
  readonly message: string;
}

const DISK_LIMIT_MS = 5_000;

interface OwnLook {
  readonly line: OwnLine | null;
  readonly primary: PrimarySeen | null;
  /** On the disk of its data; null where that could not be told. */
  readonly freeBytes: number | null;
}

function lineOf(role: OwnLine["role"], standby: StandbySeen | null, error: string | null = null): OwnLine {
  const received = standby?.receivedLsn ?? null;
  return {
    role,
    error,
    isReceiving: standby?.isReceiving ?? null,
    receivedLsn: received === null ? null : formatLsn(received),
  };
}

async function lookAtOwn(loaded: LoadedConfig, context: StandbyBox["context"]): Promise<OwnLook> {
  const nothing = { primary: null, freeBytes: null };
  if (ownPostgres(loaded.config) === null) return { ...nothing, line: null };
  const { clock, random, log, env } = context;
  try {
    const server = await openOwnServer(loaded, { clock, random, log, env, part: "look" });
    const state = await server.site.state();
    if (state !== "running") return { ...nothing, line: lineOf(state, null) };
    await using session = await server.connect();
    const primary = await lookAtPrimary(session);
    if (primary === null) return { ...nothing, line: lineOf("standby", await lookAtStandby(session)) };
    return { line: lineOf("primary", null), primary, freeBytes: await freeBytesOf(server.site, context) };
  } catch (error) {
    return { ...nothing, line: lineOf("unknown", null, messageOf(error)) };
  }
}

/** Docker's volumes lie on the disk of its root. */
async function freeBytesOf(
  { kind, dataDir }: PostgresSite,
  { clock, env, signal }: StandbyBox["context"],
): Promise<number | null> {
  if (kind === "container") return (await readDockerDisk(env, { clock, signal, limitMs: DISK_LIMIT_MS })).freeBytes;
  return (await diskRoom(dataDir)).bytesFree;
}

function standbyLine(
  box: LedgerBox,
  { primary: seen, freeBytes }: Pick<OwnLook, "primary" | "freeBytes">,
  epoch: LedgerEpochRecord | null,
): StandbyLine {
  const replication = seen === null ? null : replicationOf(seen, box.node);
  const slot = seen === null ? null : slotOf(seen, box.node);
  const flushed = replication?.flushedLsn ?? null;
  const lag = seen === null || flushed === null ? null : Number(seen.headLsn - flushed);
  const lagMs = replication?.lagMs ?? null;
  return {
    node: box.node,
    address: box.address,
    state: box.state,
    replication: seen === null ? null : (replication?.state ?? "absent"),
    isSync: epoch?.syncSet.includes(box.node) === true,
    lagBytes: lag === null ? null : Math.max(lag, 0),
    lagSeconds: lagMs === null ? null : lagMs / 1_000,
    slot:
      slot === null
        ? null
        : {
            walStatus: slot.walStatus,
            keptBytes: Number(slot.keptBytes),
            safeBytes: slot.safeBytes === null ? null : Number(slot.safeBytes),
            freeBytes,
          },
  };
}

/** What a failover would lose at this moment: nothing while somebody for whom commits wait streams. */
function wouldLose(standbys: readonly StandbyLine[]): number | null {
  if (standbys.some(({ isSync }) => isSync)) return 0;
  const lags = standbys.flatMap(({ lagBytes, state }) => (lagBytes === null || state !== "standby" ? [] : [lagBytes]));
  return lags.length === 0 ? null : Math.min(...lags);
}

function bad(message: string): StandbyProblem {
  return { severity: "bad", message };
}

function attention(message: string): StandbyProblem {
  return { severity: "attention", message };
}

function problemsOf(
  { standby: { maxLag, sync } }: LoadedConfig["config"],
  node: string,
  epoch: LedgerEpochRecord | null,
  own: OwnLine | null,
  standbys: readonly StandbyLine[],
): readonly StandbyProblem[] {
  if (epoch === null) return [];
  const isOpen = epoch.phase === "open";
  const problems: StandbyProblem[] = [];
  if (!isOpen) problems.push(bad(`epoch ${epoch.number} is ${epoch.phase}: the ledger takes no writes`));
  if (own !== null) problems.push(...ownProblems(own, epoch, epoch.primary === node));
  for (const line of standbys) problems.push(...standbyProblems(line, maxLag));
  if (sync !== "off" && isOpen && epoch.syncSet.length === 0 && standbys.some(({ state }) => state === "standby")) {
    problems.push(bad("commits wait for no standby: a failover may lose the last ones"));
  }
  return problems;
}

function ownProblems(
  { role, error, isReceiving }: OwnLine,
  { primary, phase }: LedgerEpochRecord,
  isPrimary: boolean,
): readonly StandbyProblem[] {
  if (error !== null) return [bad(`the server of this box cannot be asked: ${error}`)];
  if (isPrimary) {
    return phase === "open" && role !== "primary" ? [bad(`this box has the primary, and its server is ${role}`)] : [];
  }
  if (role === "primary") {
    return [bad(`the server of this box takes writes, and ${primary} has the primary: fula-master resync`)];
  }
  if (role === "standby" && isReceiving === true) return [];
  const what = role === "standby" ? "receives nothing" : `is ${role}`;
  return [bad(`the standby of this box ${what}: fula-master resync`)];
}

function standbyProblems(line: StandbyLine, maxLag: number): readonly StandbyProblem[] {
  const { node, state, replication, lagBytes, slot } = line;
  const problems: StandbyProblem[] = [];
  // Whoever has the primary is none of these lines.
  if (state === "primary" && replication !== "streaming") {
    problems.push(bad(`${node} had the primary before, and copies nothing now: fula-master resync on ${node}`));
  }
  if (state === "leaving") problems.push(attention(`${node} is being taken out`));
  if (state === "standby" && replication !== null && replication !== "streaming") {
    problems.push(bad(`${node} does not stream (${replication})`));
  }
  if (lagBytes !== null && lagBytes > maxLag) {
    problems.push(bad(`${node} is ${formatBytes(lagBytes)} behind, more than standby.maxLag`));
  }
  if (slot?.walStatus === "lost") {
    problems.push(bad(`the log that ${node} needs is gone: fula-master resync there copies the ledger anew`));
  }
  const concern = slot === null ? null : slotConcern(node, slot);
  if (concern !== null) problems.push(attention(concern));
  return problems;
}

/** Whether the quorum still has what one server told, which may be cut off from the others and tell of before. */
async function doubtOf(store: LedgerStore, told: Versioned<LedgerEpochRecord>): Promise<StandbyProblem | null> {
  try {
    const { revision } = await store.confirm("epoch");
    return revision === told.revision ? null : attention("the ledger's epoch was changed at this moment: look again");
  } catch (error) {
    if (!isFulaError(error, "FULA_CONTROL_PLANE_UNREACHABLE")) throw error;
    return bad(`the control plane does not confirm what it tells, which may be of before: ${messageOf(error)}`);
  }
}

/** Looks at the ledger's servers as this box can see them. Changes nothing. @throws FulaError FULA_CONTROL_PLANE_UNREACHABLE */
export async function readStandbyStatus({
  context,
  loaded,
  store,
  name,
}: Pick<StandbyBox, "context" | "loaded" | "store" | "name">): Promise<StandbyStatus> {
  const [told, boxes, attestations, { value: failover }, own] = await Promise.all([
    store.get("epoch"),
    store.list("box"),
    store.list("attest"),
    store.get("failover"),
    lookAtOwn(loaded, context),
  ]);
  const { value: epoch } = told;
  const doubt = await doubtOf(store, told);
  const others = boxes.map(({ value }) => value).filter(({ node }) => node !== epoch?.primary);
  const standbys = others.map((box) => standbyLine(box, own, epoch));
  return {
    node: name,
    epoch: showEpoch(epoch),
    own: own.line,
    standbys,
    wouldLoseBytes: epoch === null ? null : wouldLose(standbys),
    failover:
      failover === null || failover.state === "done" || failover.state === "aborted"
        ? null
        : { kind: failover.kind, state: failover.state, step: failover.step, from: failover.from, to: failover.to },
    attestations: attestations
      .filter(({ value }) => epoch !== null && value.number >= epoch.number)
      .map(({ value }) => ({
        node: value.node,
        number: value.number,
        what: value.what,
        receivedLsn: value.receivedLsn,
      })),
    problems: [...(doubt === null ? [] : [doubt]), ...problemsOf(loaded.config, name, epoch, own.line, standbys)],
  };
}
