import { formatBytes } from "../kernel/units.ts";

/** What a slot keeps, and what there is left for it. */
export interface SlotRoom {
  readonly keptBytes: number;
  /** Until it is given up by `standby.slotMax`; null where nothing bounds it. */
  readonly safeBytes: number | null;
  /** On the disk of the primary's data; null where that could not be told. */
  readonly freeBytes: number | null;
}

/** A slot that keeps more than this share of what it may, or of what its disk has room for, is told of. */
const SHARE = 0.5;

/** Why somebody should look at the slot of a box's standby, a sentence; null where nobody has to. */
export function slotConcern(node: string, { keptBytes, safeBytes, freeBytes }: SlotRoom): string | null {
  const left = Math.min(safeBytes ?? Number.POSITIVE_INFINITY, freeBytes ?? Number.POSITIVE_INFINITY);
  const whole = keptBytes + left;
  if (keptBytes <= whole * SHARE) return null;
  if (left === safeBytes) {
    const kept = `${formatBytes(keptBytes)} of ${formatBytes(whole)}`;
    return `the slot of ${node} keeps ${kept} of log; beyond that its standby has to be copied anew`;
  }
  const room = `${formatBytes(keptBytes)} of log, and the primary's disk has ${formatBytes(left)} free`;
  return `the slot of ${node} keeps ${room}: that is full before the slot is given up. Bring ${node} back, take it out (fula-master standby remove ${node}), or set a lower standby.slotMax`;
}
