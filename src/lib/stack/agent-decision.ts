import type { Attestation, LedgerEpoch, LedgerEpochRecord } from "../membership/ledger-records.ts";
import { parseLsn } from "../recovery/lsn.ts";

/** What this box's server of the ledger is at the moment. */
export type OwnServerState =
  /** There is no data directory. */
  | { readonly kind: "absent" }
  /** @property isStandby whether it would be a standby if it were started */
  | { readonly kind: "stopped"; readonly isStandby: boolean }
  /** It runs and does not answer: it may be starting. */
  | { readonly kind: "silent" }
  /** @property follows whose log it asks for: that of the epoch's primary, another server's, or nobody's since it detached */
  | { readonly kind: "standby"; readonly follows: "primary" | "other" | "nobody" }
  /** It takes writes. @property newest the newest epoch of its data */
  | { readonly kind: "primary"; readonly newest: LedgerEpoch | null };

/** What a box decides by, about its own server. */
export interface AgentFacts {
  readonly node: string;
  /** As the quorum has it. */
  readonly epoch: LedgerEpochRecord;
  readonly server: OwnServerState;
  /** What this box said last. */
  readonly attested: Attestation | null;
}

/** What is to be done with this box's server; each may be done again. */
export type AgentAct =
  | "nothing"
  /** Stop the primary in order, so that its standbys get all it has, and say so. */
  | "drain"
  /** Stop what takes writes and has no right to, and say where its log ends where that is known. */
  | "stop"
  /** Say that the former primary has stopped, and where its log ends. */
  | "attest"
  /** Cut the standby off from the epoch before, for good, and say what it has. */
  | "detach"
  /** Make the detached standby the primary of the epoch. */
  | "promote"
  /** Give this primary its right back under the epoch. */
  | "reaffirm"
  /** Start the primary. */
  | "start-primary"
  /** Start the standby as it is. */
  | "start-standby"
  /** Have the standby, or the former primary that has nothing more than the new one, follow it. */
  | "follow";

/** A decision with its reason, a sentence without its stop. */
export interface AgentDecision {
  readonly act: AgentAct;
  readonly because: string;
}

function isSame(a: LedgerEpoch | null, b: LedgerEpoch): boolean {
  return a !== null && a.number === b.number && a.uuid === b.uuid;
}

/** True where this box has said, for this very epoch, that it is out of the one before. */
function hasAttested({ epoch, attested }: AgentFacts, what: Attestation["what"]): boolean {
  return attested !== null && attested.what === what && isSame(attested, epoch);
}

/** True where this box has said, for this very epoch, that its primary is gone. */
function hasSaidItEnded(facts: AgentFacts): boolean {
  return hasAttested(facts, "primary-stopped") || hasAttested(facts, "primary-halted");
}

/** Before an epoch is open, nobody but its chosen primary takes writes, and standbys of the one before let go of it. */
function decideFencing(facts: AgentFacts): AgentDecision {
  const { node, epoch, server } = facts;
  const wasPrimary = epoch.previous?.primary === node;
  if (server.kind === "primary")
    return { act: "stop", because: `the ledger is at epoch ${epoch.number}, of which it is not the primary` };
  if (server.kind === "standby" || (server.kind === "stopped" && server.isStandby)) {
    return hasAttested(facts, "standby-detached")
      ? { act: "nothing", because: "it has detached" }
      : { act: "detach", because: `epoch ${epoch.number} begins` };
  }
  if (server.kind === "stopped" && wasPrimary && !hasSaidItEnded(facts)) {
    return { act: "attest", because: "it has stopped" };
  }
  return { act: "nothing", because: server.kind === "silent" ? "it does not answer yet" : "nothing of it runs" };
}

function decideDraining(facts: AgentFacts): AgentDecision {
  const { node, epoch, server } = facts;
  if (epoch.previous?.primary === node) {
    if (server.kind === "primary") return { act: "drain", because: `it hands over to ${epoch.primary}` };
    if (server.kind === "stopped" && !server.isStandby && !hasSaidItEnded(facts)) {
      return { act: "attest", because: "it has stopped" };
    }
    return { act: "nothing", because: "it has stopped" };
  }
  if (server.kind === "primary")
    return { act: "stop", because: `${epoch.previous?.primary ?? "another box"} has the primary` };
  return { act: "nothing", because: "it stays with the old primary until that has stopped" };
}

function decidePromoting(facts: AgentFacts): AgentDecision {
  const { node, epoch, server } = facts;
  if (epoch.primary !== node) {
    // The chosen one has all that those have who were counted in, and nobody else can be chosen any more: they need not wait.
    const isCounted = epoch.syncSet.includes(node) && hasAttested(facts, "standby-detached");
    if (!isCounted || server.kind !== "standby") return decideFencing(facts);
    return server.follows === "primary"
      ? { act: "nothing", because: `it follows ${epoch.primary}` }
      : { act: "follow", because: `${epoch.primary} was chosen for epoch ${epoch.number}` };
  }
  if (server.kind === "standby" || (server.kind === "stopped" && server.isStandby)) {
    return { act: "promote", because: `it was chosen for epoch ${epoch.number}` };
  }
  if (server.kind === "primary" && isSame(server.newest, epoch)) {
    return { act: "promote", because: "it was promoted, and that is not written down yet" };
  }
  if (server.kind === "primary" || server.kind === "stopped") {
    return { act: "reaffirm", because: `it has its right back under epoch ${epoch.number}` };
  }
  return { act: "nothing", because: server.kind === "silent" ? "it does not answer yet" : "it has no data" };
}

/** Whether it is known that this box's server has nothing that the epoch's primary has not. */
function mayFollow({ node, epoch, attested }: AgentFacts): boolean {
  // The old primary's right was reaffirmed, and its log goes on; or this box was counted in when the primary was chosen.
  if (epoch.switchLsn === null || epoch.syncSet.includes(node)) return true;
  if (attested === null || !isSame(attested, epoch)) return false;
  if (isSame(attested.lineage, epoch)) return true;
  if (epoch.previous === null || !isSame(attested.lineage, epoch.previous)) return false;
  // Where its log ends is not known.
  if (attested.what === "primary-halted") return false;
  const [received, left] = [parseLsn(attested.receivedLsn), parseLsn(epoch.switchLsn)];
  // Of a former primary the position is where its last record begins.
  return attested.what === "standby-detached" ? received <= left : received < left;
}

function decideOpenPrimary({ epoch, server }: AgentFacts): AgentDecision {
  if (server.kind === "stopped" && !server.isStandby) return { act: "start-primary", because: "it is the primary" };
  if (server.kind === "primary" && !isSame(server.newest, epoch)) {
    const has = server.newest === null ? "no epoch" : `epoch ${server.newest.number}`;
    return { act: "stop", because: `its data is of ${has}, and the ledger is at epoch ${epoch.number}` };
  }
  return { act: "nothing", because: "it is the primary" };
}

function decideOpenOther(facts: AgentFacts): AgentDecision {
  const { epoch, server } = facts;
  if (server.kind === "primary")
    return { act: "stop", because: `${epoch.primary} has the primary of epoch ${epoch.number}` };
  if (server.kind === "standby") {
    if (server.follows === "primary") return { act: "nothing", because: `it follows ${epoch.primary}` };
    if (mayFollow(facts))
      return { act: "follow", because: `${epoch.primary} has the primary of epoch ${epoch.number}` };
    return hasAttested(facts, "standby-detached")
      ? { act: "nothing", because: `it has what ${epoch.primary} has not, until fula-master resync brings it back` }
      : { act: "detach", because: `what it has is compared with what ${epoch.primary} has` };
  }
  if (server.kind === "stopped" && server.isStandby) return { act: "start-standby", because: "it is a standby" };
  if (server.kind === "stopped" && hasAttested(facts, "primary-stopped") && mayFollow(facts)) {
    return { act: "follow", because: `all that it had is with ${epoch.primary}` };
  }
  return { act: "nothing", because: "it is out of the ledger until fula-master resync brings it back" };
}

/** Decides what a box does with its own server. Reads no clock and asks nobody. */
export function decideAgent(facts: AgentFacts): AgentDecision {
  const { epoch, server, node } = facts;
  if (server.kind === "absent") return { act: "nothing", because: "this box has no data of the ledger" };
  if (epoch.phase === "draining") return decideDraining(facts);
  if (epoch.phase === "fencing") return decideFencing(facts);
  if (epoch.phase === "promoting") return decidePromoting(facts);
  return epoch.primary === node ? decideOpenPrimary(facts) : decideOpenOther(facts);
}
