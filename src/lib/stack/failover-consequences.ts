import { attestationsNeeded } from "../failover/choose-primary.ts";
import type { RunWish } from "../failover/failover-run.ts";
import { endedEpoch } from "../failover/failover-states.ts";
import type { LedgerEpochRecord } from "../membership/ledger-records.ts";

/** What follows from how commits are acknowledged, in words for whoever decides. */
function ofSyncSet(epoch: LedgerEpochRecord): string {
  const { primary, syncSet, syncNeeded } = endedEpoch(epoch) ?? epoch;
  if (syncNeeded === 0) {
    return `${primary} acknowledges commits without waiting for a standby: the last of them may be on no other box.`;
  }
  const needed = attestationsNeeded({ syncSet, syncNeeded });
  const spare = syncSet.length - needed;
  return `A commit is acknowledged once ${syncNeeded} of ${syncSet.join(", ")} has it, so ${needed} of ${syncSet.length} must detach to be sure that one of them has every such commit; ${
    spare === 0 ? "not one of them may be missing" : `${spare} may be missing`
  }, unless it was given up before, as standby.sync=preferred does after standby.degradeAfter.`;
}

function ofForce({ forced, from }: RunWish): readonly string[] {
  return forced
    ? [
        `You attest that ${from} is off and stays off until fula-master resync runs there; your operator id goes into the run's record.`,
      ]
    : [];
}

function ofLoss({ allowedLoss }: RunWish): readonly string[] {
  if (allowedLoss === null) return [];
  return /^\d+$/.test(allowedLoss)
    ? [`Up to ${allowedLoss} bytes of log may be lost, acknowledged commits among them.`]
    : [`Acknowledged commits above ${allowedLoss} may be lost.`];
}

function ofMissing(allowedMissing: number | null): readonly string[] {
  if (allowedMissing === null) return [];
  return [
    `Up to ${allowedMissing} contents may be on no box any more: the flip is made all the same, and whoever stored them has lost them unless a box with a copy comes back.`,
  ];
}

/** What an operator should know before it is done. @param allowedMissing contents that may be missing everywhere */
export function consequencesOf(
  wish: RunWish,
  epoch: LedgerEpochRecord,
  allowedMissing: number | null,
): readonly string[] {
  const { kind, from } = wish;
  return [
    ofSyncSet(epoch),
    kind === "switchover"
      ? `Writes wait for the time between the stop of ${from} and the promotion, a second or two; none is lost.`
      : `Writes that ${from} had not acknowledged may or may not be there afterwards; whoever made them asks, or makes them again under the same key.`,
    kind === "switchover"
      ? `${from} comes back as a standby by itself.`
      : `${from} stays fenced when it comes back; fula-master resync there makes it a standby.`,
    ...ofForce(wish),
    ...ofLoss(wish),
    ...ofMissing(allowedMissing),
  ];
}
