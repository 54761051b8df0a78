import type { Attestation, LedgerEpoch, LedgerEpochRecord } from "../membership/ledger-records.ts";
import { type Lsn, formatLsn, parseLsn } from "../recovery/lsn.ts";

/** What the operator lets be lost: at most so many bytes of log, or everything above a position. */
export type AllowedLoss =
  | { readonly kind: "bytes"; readonly bytes: bigint }
  | { readonly kind: "above"; readonly lsn: Lsn };

/** What a choice rests on. */
export interface ChoiceFacts {
  /** The epoch that was raised. */
  readonly epoch: LedgerEpoch;
  /** The one that it ends. */
  readonly replaces: LedgerEpoch & Pick<LedgerEpochRecord, "primary" | "syncSet" | "syncNeeded">;
  readonly attestations: readonly Attestation[];
  /** The node that the operator named; null leaves the choice to the log. */
  readonly wanted: string | null;
  readonly allowedLoss: AllowedLoss | null;
  /** Nodes that must not be promoted, with the reason: a marker, a full disk, no answer. */
  readonly unfit: ReadonlyMap<string, string>;
}

/** The answer, and why. */
export type PrimaryChoice =
  | {
      readonly kind: "chosen";
      readonly node: string;
      readonly receivedLsn: Lsn;
      /** Standbys of the old synchronous set that can follow it at once, without the chosen one. By name. */
      readonly followers: readonly string[];
      /** Bytes of log that some other server is known to have and the chosen one does not. */
      readonly knownLossBytes: bigint;
      /** Whether it is certain that every acknowledged commit is there. */
      readonly lossless: boolean;
      readonly why: string;
    }
  | { readonly kind: "refused"; readonly missing: "attestations" | "candidate" | "consent"; readonly why: string };

/**
 * How many standbys of a synchronous set have to have detached before the rest is too few for the old primary to acknowledge
 * a commit: one more than those that it could do without. Every commit that it did acknowledge is on one of them.
 */
export function attestationsNeeded({ syncSet, syncNeeded }: Pick<LedgerEpochRecord, "syncSet" | "syncNeeded">): number {
  return syncSet.length - syncNeeded + 1;
}

/** Standbys whose word counts: they detached for this very epoch, with data of the one before. */
function detached({ epoch, replaces, attestations }: ChoiceFacts): readonly Attestation[] {
  return attestations.filter(
    ({ number, uuid, what, lineage }) =>
      number === epoch.number &&
      uuid === epoch.uuid &&
      what === "standby-detached" &&
      lineage?.number === replaces.number &&
      lineage.uuid === replaces.uuid,
  );
}

/** Whether the old primary's acknowledgements have come to an end, by the word of its standbys. */
export function isQuorumDetached(facts: ChoiceFacts): boolean {
  const { syncSet, syncNeeded } = facts.replaces;
  if (syncNeeded === 0) return false;
  return countDetached(facts) >= attestationsNeeded({ syncSet, syncNeeded });
}

/** How many of the synchronous set have detached. */
export function countDetached(facts: ChoiceFacts): number {
  const members = new Set(facts.replaces.syncSet);
  return new Set(
    detached(facts)
      .map(({ node }) => node)
      .filter((node) => members.has(node)),
  ).size;
}

function describeAttested(attested: readonly Attestation[]): string {
  return attested.length === 0
    ? "none has detached yet"
    : attested.map(({ node, receivedLsn }) => `${node} has the log up to ${receivedLsn}`).join(", ");
}

/** Where the last record of the old primary's log begins, if it said so. */
function ended({ epoch, replaces, attestations }: ChoiceFacts): Lsn | null {
  const last = attestations.find(
    ({ node, number, uuid, what }) =>
      node === replaces.primary && number === epoch.number && uuid === epoch.uuid && what === "primary-stopped",
  );
  return last === undefined ? null : parseLsn(last.receivedLsn);
}

function max(values: readonly Lsn[]): Lsn {
  return values.reduce((highest, value) => (value > highest ? value : highest), 0n);
}

function candidateOf(facts: ChoiceFacts, eligible: readonly Attestation[]): Attestation | null {
  const { wanted } = facts;
  if (wanted !== null) return eligible.find(({ node }) => node === wanted) ?? null;
  const byLog = eligible.toSorted((a, b) => {
    const [left, right] = [parseLsn(a.receivedLsn), parseLsn(b.receivedLsn)];
    if (left !== right) return left > right ? -1 : 1;
    return a.node < b.node ? -1 : 1;
  });
  return byLog[0] ?? null;
}

function noCandidate(facts: ChoiceFacts, attested: readonly Attestation[]): PrimaryChoice {
  const { wanted, unfit } = facts;
  const unfitText = [...unfit].map(([node, why]) => `${node}: ${why}`).join("; ");
  const detail = unfitText === "" ? describeAttested(attested) : `${describeAttested(attested)}; ${unfitText}`;
  const whom = wanted === null ? "no standby" : wanted;
  return { kind: "refused", missing: "candidate", why: `${whom} can be promoted: ${detail}` };
}

/** Why what may be missing above `received` is more than the operator let be lost; null where it is not. */
function lossRefusal(facts: ChoiceFacts, received: Lsn, highest: Lsn): string | null {
  const { allowedLoss } = facts;
  const behind = highest - received;
  const position = formatLsn(received);
  if (allowedLoss === null) {
    return `it has the log up to ${position}, and commits that were acknowledged may lie beyond, up to ${formatLsn(highest)} at least`;
  }
  if (allowedLoss.kind === "above") {
    return received >= allowedLoss.lsn
      ? null
      : `it has the log up to ${position}, and ${formatLsn(allowedLoss.lsn)} was to be kept`;
  }
  if (!isQuorumDetached(facts) && ended(facts) === null) {
    return `where the old primary's log ended is not known, so that the loss cannot be told in bytes; it has the log up to ${position}`;
  }
  return behind <= allowedLoss.bytes
    ? null
    : `it lacks ${behind} bytes of the known log, and ${allowedLoss.bytes} may be lost`;
}

/** Where the old primary waited for nobody: whether it stopped in order, and somebody has all of its log. */
function isWholeLogThere(facts: ChoiceFacts, attested: readonly Attestation[]): boolean {
  const end = ended(facts);
  if (facts.replaces.syncNeeded > 0 || end === null) return false;
  return attested.some(({ receivedLsn }) => parseLsn(receivedLsn) > end);
}

/** Whether every acknowledged commit is at or below `received`, whatever became of the rest of the log. */
function isLossless(facts: ChoiceFacts, attested: readonly Attestation[], received: Lsn): boolean {
  const end = ended(facts);
  // A primary that stopped has acknowledged nothing beyond its last record, whoever else has detached.
  if (end !== null && received > end) return true;
  const { syncSet, syncNeeded } = facts.replaces;
  if (syncNeeded === 0) return false;
  const members = new Set(syncSet);
  const covered = attested.filter(({ node, receivedLsn }) => members.has(node) && parseLsn(receivedLsn) <= received);
  return covered.length >= attestationsNeeded({ syncSet, syncNeeded });
}

/**
 * Chooses whom to promote: lineage first, then the most log. Without consent to a loss, only where as many standbys have
 * detached as are needed for every acknowledged commit to be on one of them, and only the one with the most log of these.
 */
export function choosePrimary(facts: ChoiceFacts): PrimaryChoice {
  const attested = detached(facts);
  const { syncSet, syncNeeded } = facts.replaces;
  if (facts.allowedLoss === null && !isQuorumDetached(facts) && !isWholeLogThere(facts, attested)) {
    const why =
      syncNeeded === 0
        ? `the old primary waited for no standby, so that its last commits may be lost; ${describeAttested(attested)}`
        : `${countDetached(facts)} of ${attestationsNeeded({ syncSet, syncNeeded })} standbys that are needed of ${syncSet.join(", ")} have detached; ${describeAttested(attested)}`;
    return { kind: "refused", missing: "attestations", why };
  }
  const eligible = attested.filter(({ node }) => !facts.unfit.has(node));
  const candidate = candidateOf(facts, eligible);
  if (candidate === null) return noCandidate(facts, attested);
  const received = parseLsn(candidate.receivedLsn);
  const highest = max([...attested.map(({ receivedLsn }) => parseLsn(receivedLsn)), ended(facts) ?? 0n]);
  const lossless = isLossless(facts, attested, received);
  const refusal = lossless ? null : lossRefusal(facts, received, highest);
  if (refusal !== null) return { kind: "refused", missing: "consent", why: `${candidate.node}: ${refusal}` };
  return {
    kind: "chosen",
    node: candidate.node,
    receivedLsn: received,
    followers: followersOf(facts, attested, candidate),
    knownLossBytes: lossless ? 0n : highest - received,
    lossless,
    why: `${describeAttested(attested)}; ${lossless ? "every acknowledged commit is on the chosen one" : "the operator let the rest be lost"}`,
  };
}

function followersOf(
  { replaces }: ChoiceFacts,
  attested: readonly Attestation[],
  candidate: Attestation,
): readonly string[] {
  const received = parseLsn(candidate.receivedLsn);
  return attested
    .filter(({ node }) => node !== candidate.node && replaces.syncSet.includes(node))
    .filter(({ receivedLsn }) => parseLsn(receivedLsn) <= received)
    .map(({ node }) => node)
    .toSorted();
}
