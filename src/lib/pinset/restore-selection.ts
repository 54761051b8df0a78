import type { PinField } from "../cluster/pins.ts";
import { emptyCounts, type PlanCounts, type PlanItem } from "./restore-plan.ts";

/** Which CIDs of a snapshot a restore is about. */
export interface RestoreSelection {
  /** Only these; null = all. */
  readonly only: ReadonlySet<string> | null;
  /** Write at most that many pins, the first in order of their CIDs; null = all. */
  readonly limit: number | null;
  /** True writes a pin that is there with other options as the snapshot has it. */
  readonly overwrite: boolean;
}

/** A pin whose options are other than in the snapshot. */
interface DifferingPin {
  readonly cid: string;
  readonly name: string;
  readonly fields: readonly PinField[];
}

/** What a restore would do. Lists hold the first few; the counts count all. */
export interface RestorePlan {
  readonly counts: PlanCounts;
  /** Pins that would be written. */
  readonly toWrite: number;
  readonly missing: readonly { readonly cid: string; readonly name: string }[];
  readonly differing: readonly DifferingPin[];
  /** CIDs that were asked for and are not in the snapshot. */
  readonly notInSnapshot: readonly string[];
  /** The last CID that `--limit` takes in; null where it does not cut. */
  readonly lastCid: string | null;
}

/** How many CIDs of one kind a plan names. */
const LISTED_MAX = 20;

/** True for an item that this selection writes. */
export function isWritten(item: PlanItem, overwrite: boolean): item is PlanItem & { kind: "missing" | "differs" } {
  return item.kind === "missing" || (item.kind === "differs" && overwrite);
}

/**
 * The items of a plan that a selection takes in: those of `only`, and up to the last one that `limit` lets be written.
 * Ends there, without reading the rest.
 */
export async function* selectItems(
  items: AsyncIterable<PlanItem>,
  selection: RestoreSelection,
): AsyncGenerator<PlanItem> {
  let written = 0;
  for await (const item of items) {
    if (selection.only?.has(item.cid) === false) continue;
    if (isWritten(item, selection.overwrite)) {
      if (written === selection.limit) return;
      written += 1;
    }
    yield item;
  }
}

/** Counts what a restore would do. @param onProgress called with the number of CIDs that have been compared */
export async function summarizePlan(
  items: AsyncIterable<PlanItem>,
  selection: RestoreSelection,
  onProgress: (compared: number) => void = () => {},
): Promise<RestorePlan> {
  const counts = emptyCounts();
  const missing: { cid: string; name: string }[] = [];
  const differing: DifferingPin[] = [];
  const notFound = new Set(selection.only);
  let toWrite = 0;
  let compared = 0;
  let lastCid: string | null = null;
  for await (const item of selectItems(items, selection)) {
    counts[item.kind] += 1;
    compared += 1;
    lastCid = item.cid;
    if (item.kind !== "extra") notFound.delete(item.cid);
    if (isWritten(item, selection.overwrite)) toWrite += 1;
    if (item.kind === "missing" && missing.length < LISTED_MAX) missing.push({ cid: item.cid, name: item.pin.name });
    if (item.kind === "differs" && differing.length < LISTED_MAX) {
      differing.push({ cid: item.cid, name: item.current.name, fields: item.fields });
    }
    onProgress(compared);
  }
  const cutAt = selection.limit !== null && toWrite === selection.limit ? lastCid : null;
  return {
    counts,
    toWrite,
    missing,
    differing,
    // What comes after the cut was not looked for.
    notInSnapshot: [...notFound].filter((cid) => cutAt === null || cid < cutAt),
    lastCid: cutAt,
  };
}
