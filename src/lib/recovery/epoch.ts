/**
 * One reign of one primary. The arbiter's number decides the order; the UUID, which the new primary writes as its first
 * row, tells two promotions apart that got the same number or the same timeline.
 */
export interface Epoch {
  readonly number: bigint;
  readonly uuid: string;
}

/** How one epoch stands to another: `foreign` is the same number under another UUID, so another lineage. */
export type EpochRelation = "older" | "same" | "newer" | "foreign";

/** How `epoch` stands to `reference`. */
export function relateEpoch(epoch: Epoch, reference: Epoch): EpochRelation {
  if (epoch.number < reference.number) return "older";
  if (epoch.number > reference.number) return "newer";
  return epoch.uuid === reference.uuid ? "same" : "foreign";
}

/** Renders an epoch for messages and logs: `7 (3f2a9c1e)`. */
export function formatEpoch({ number, uuid }: Epoch): string {
  return `${number} (${uuid.slice(0, 8)})`;
}
