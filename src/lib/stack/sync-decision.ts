import type { Lsn } from "../recovery/lsn.ts";

/** What the operator wants of synchronous commits; the setting `standby.sync`. */
export type SyncMode = "preferred" | "strict" | "off";

/** A set of standbys, and how many of them something rests on: of PostgreSQL, or of the control plane's record. */
export interface SyncSet {
  /** Node names, by name. */
  readonly members: readonly string[];
  readonly needed: number;
}

/** A standby that streams, as its primary sees it. */
export interface StreamingStandby {
  readonly flushedLsn: Lsn;
  /** True where commits may wait for it: `sync` or `quorum`. */
  readonly isSync: boolean;
}

/** All that the next step is decided by. */
export interface SyncFacts {
  readonly mode: SyncMode;
  /** The control plane's: who may be promoted without loss. */
  readonly record: SyncSet;
  /** PostgreSQL's: whom a commit waits for. */
  readonly server: SyncSet;
  /** Boxes that have a standby which is to be counted. */
  readonly boxes: readonly string[];
  readonly streaming: ReadonlyMap<string, StreamingStandby>;
  /** Members of the record that have not streamed for longer than `standby.degradeAfter`. */
  readonly lost: readonly string[];
  /** Whether a member that is lost may be given up: nobody else can have become the primary meanwhile. */
  readonly mayShrink: boolean;
  /** The end of the log when PostgreSQL's present set had taken effect everywhere; null where that is not known. */
  readonly barrierLsn: Lsn | null;
}

/** The next step. Whoever has done it looks again. */
export type SyncStep =
  | { readonly do: "nothing"; readonly waits: string | null }
  /** Tell PostgreSQL whom to wait for. */
  | { readonly do: "server"; readonly to: SyncSet; readonly because: string }
  /** Find out where the log ends now that PostgreSQL's set is in effect. */
  | { readonly do: "settle" }
  /** Write into the control plane's record who may be promoted. */
  | { readonly do: "record"; readonly to: SyncSet; readonly because: string };

function byName(names: Iterable<string>): readonly string[] {
  return [...new Set(names)].toSorted((a, b) => (a < b ? -1 : 1));
}

/** True where both are the same. */
function isSameSet(one: SyncSet, other: SyncSet): boolean {
  return (
    one.needed === other.needed &&
    one.members.length === other.members.length &&
    byName(one.members).every((name, index) => byName(other.members)[index] === name)
  );
}

/** What the record says of a set: one member's word is enough for a commit. */
function recordOf(members: readonly string[]): SyncSet {
  return { members: byName(members), needed: Math.min(members.length, 1) };
}

/** Members of the record that are to go. */
function leavers({ mode, record, boxes, lost, mayShrink }: SyncFacts): readonly string[] {
  const gone = record.members.filter((name) => mode === "off" || !boxes.includes(name));
  const silent = mayShrink ? record.members.filter((name) => lost.includes(name) && !gone.includes(name)) : [];
  // Strict means that somebody is waited for, though nobody is there.
  const isLast = gone.length + silent.length === record.members.length;
  return mode === "strict" && isLast ? gone : [...gone, ...silent];
}

/**
 * Decides the next step towards the set of standbys that commits wait for. What holds before and after each step, and
 * makes a failover safe that comes between any two: of those whom PostgreSQL waits for, more are members of the record than
 * a failover may go without. With `k` names of PostgreSQL that the record does not have, PostgreSQL waits for `needed + k`.
 *
 * So a standby grows in by PostgreSQL first, with one more to wait for, and by the record when it has everything; and one
 * that is lost goes out of PostgreSQL first, and out of the record when somebody who stays has everything that it may have
 * acknowledged alone. The last one goes out of the record first: what is not waited for must not be relied on.
 */
export function decideSync(facts: SyncFacts): SyncStep {
  const leaving = leavers(facts);
  if (leaving.length > 0) return shrink(facts, leaving);
  return grow(facts);
}

function shrink({ record, server, streaming, barrierLsn }: SyncFacts, leaving: readonly string[]): SyncStep {
  const staying = recordOf(record.members.filter((name) => !leaving.includes(name)));
  const because = `${leaving.join(", ")} ${leaving.length === 1 ? "is" : "are"} not waited for any more`;
  if (staying.members.length === 0) return { do: "record", to: staying, because };
  if (!isSameSet(server, staying)) return { do: "server", to: staying, because };
  if (barrierLsn === null) return { do: "settle" };
  const hasAll = staying.members.some((name) => (streaming.get(name)?.flushedLsn ?? -1n) >= barrierLsn);
  if (hasAll) return { do: "record", to: staying, because };
  return { do: "nothing", waits: `${staying.members.join(" or ")} to have all that ${leaving.join(", ")} may have` };
}

function grow({ mode, record, server, boxes, streaming, barrierLsn }: SyncFacts): SyncStep {
  const candidates =
    mode === "off" ? [] : boxes.filter((name) => streaming.has(name) && !record.members.includes(name));
  // The one that PostgreSQL is told of already goes first; it would be begun with again otherwise.
  const next = candidates.find((name) => server.members.includes(name)) ?? byName(candidates)[0];
  const extra = next === undefined ? [] : [next];
  const wanted: SyncSet = {
    members: byName([...record.members, ...extra]),
    needed: record.needed + extra.length,
  };
  if (!isSameSet(server, wanted)) {
    const because = next === undefined ? "the record says whom commits wait for" : `${next} streams`;
    return { do: "server", to: wanted, because };
  }
  if (next === undefined) return { do: "nothing", waits: null };
  if (barrierLsn === null) return { do: "settle" };
  const seen = streaming.get(next);
  if (seen?.isSync === true && seen.flushedLsn >= barrierLsn) {
    return { do: "record", to: recordOf([...record.members, next]), because: `${next} has everything` };
  }
  return { do: "nothing", waits: `${next} to have everything` };
}

const NAMES = /^ANY (\d+) \(((?:"[^"]+"(?:, )?)+)\)$/;

/** PostgreSQL's setting `synchronous_standby_names`. Names of boxes hold no quotes. */
export function renderSyncNames({ members, needed }: SyncSet): string {
  if (members.length === 0) return "";
  return `ANY ${needed} (${members.map((name) => `"${name}"`).join(", ")})`;
}

/** Reads what `renderSyncNames` wrote; null where somebody else wrote it. */
export function parseSyncNames(text: string): SyncSet | null {
  if (text === "") return { members: [], needed: 0 };
  const [, needed, list] = NAMES.exec(text) ?? [];
  if (needed === undefined || list === undefined) return null;
  return { members: list.split(", ").map((name) => name.slice(1, -1)), needed: Number(needed) };
}
