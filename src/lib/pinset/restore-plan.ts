import type { Pin, PinField } from "../cluster/pins.ts";
import { FulaError } from "../kernel/errors.ts";
import { differingFields } from "./compare-pins.ts";
import { hasExpired } from "./judge-pin.ts";

/**
 * What a restore finds about one CID: `missing`, not pinned; `differs`, pinned with other options; `equal`; `extra`,
 * pinned but not in the snapshot, never touched; `expired`, not pinned and its time is over, left out; `conflict`, the
 * snapshot itself holds two different records, so nobody can say which one is right.
 */
export type PlanItem =
  | { readonly kind: "missing"; readonly cid: string; readonly pin: Pin }
  | {
      readonly kind: "differs";
      readonly cid: string;
      readonly pin: Pin;
      readonly current: Pin;
      readonly fields: readonly PinField[];
    }
  | { readonly kind: "equal"; readonly cid: string; readonly pin: Pin }
  | { readonly kind: "expired"; readonly cid: string; readonly pin: Pin }
  | { readonly kind: "conflict"; readonly cid: string; readonly pin: Pin }
  | { readonly kind: "extra"; readonly cid: string };

/** How many CIDs of each kind. */
export type PlanCounts = Record<PlanItem["kind"], number>;

/** What a comparison leaves out of account. */
export interface PlanOptions {
  /** Fields that the cluster sets by itself. */
  readonly assignedFields?: readonly PinField[];
  /** Wall time, to tell which pins have expired. */
  readonly nowMs: number;
}

/** A plan with nothing in it. */
export function emptyCounts(): PlanCounts {
  return { missing: 0, differs: 0, equal: 0, expired: 0, conflict: 0, extra: 0 };
}

/**
 * Compares two lists of pins that are both in ascending order of their CIDs, and tells what a restore would do about
 * each CID, in that order. Holds one pin of each list, however long they are.
 * @throws FulaError FULA_RESTORE_UNORDERED
 */
export async function* planRestore(
  wanted: AsyncIterable<Pin>,
  present: AsyncIterable<Pin>,
  options: PlanOptions,
): AsyncGenerator<PlanItem> {
  await using left = new OrderedReader(withoutRepeats(wanted), "the snapshot");
  await using right = new OrderedReader(asEntries(present), "the pinset");
  await left.advance();
  await right.advance();
  while (left.current !== null || right.current !== null) {
    const { current: want } = left;
    const { current: have } = right;
    if (want === null || (have !== null && have.pin.cid < want.pin.cid)) {
      if (have !== null) yield { kind: "extra", cid: have.pin.cid };
      await right.advance();
      continue;
    }
    const isThere = have !== null && have.pin.cid === want.pin.cid;
    yield compare(want, isThere ? have.pin : null, options);
    await left.advance();
    if (isThere) await right.advance();
  }
}

function compare({ pin, conflict }: Entry, current: Pin | null, options: PlanOptions): PlanItem {
  const { cid } = pin;
  if (conflict) return { kind: "conflict", cid, pin };
  if (current === null) return { kind: hasExpired(pin, options.nowMs) ? "expired" : "missing", cid, pin };
  const fields = differingFields(pin, current, options.assignedFields);
  // When a pin was made says nothing about how it is kept; a re-pin by hand is no reason to write it again.
  if (fields.every((field) => field === "timestamp")) return { kind: "equal", cid, pin };
  return { kind: "differs", cid, pin, current, fields };
}

interface Entry {
  readonly pin: Pin;
  /** True when the list holds another record of the same CID that says something else. */
  readonly conflict: boolean;
}

async function* asEntries(pins: AsyncIterable<Pin>): AsyncGenerator<Entry> {
  for await (const pin of pins) yield { pin, conflict: false };
}

/** Old-format snapshots may hold a CID twice: the same record once is enough, different ones are a conflict. */
async function* withoutRepeats(pins: AsyncIterable<Pin>): AsyncGenerator<Entry> {
  let held: Entry | null = null;
  for await (const pin of pins) {
    if (held?.pin.cid === pin.cid) {
      held = { pin, conflict: held.conflict || differingFields(held.pin, pin).length > 0 };
      continue;
    }
    if (held !== null) yield held;
    held = { pin, conflict: false };
  }
  if (held !== null) yield held;
}

/** Gives one entry at a time and makes sure of the order: merging lists that are not in order would call pins missing. */
class OrderedReader implements AsyncDisposable {
  current: Entry | null = null;
  readonly #source: AsyncIterator<Entry>;
  readonly #name: string;

  constructor(source: AsyncIterable<Entry>, name: string) {
    this.#source = source[Symbol.asyncIterator]();
    this.#name = name;
  }

  async advance(): Promise<void> {
    const before = this.current;
    const next = await this.#source.next();
    this.current = next.done === true ? null : next.value;
    if (before === null || this.current === null || before.pin.cid < this.current.pin.cid) return;
    throw new FulaError(
      "FULA_RESTORE_UNORDERED",
      `Cannot compare: ${this.#name} gives ${this.current.pin.cid} after ${before.pin.cid}, so it is not in order.`,
      { hint: "verify the snapshot (fula-master verify); nothing was changed from here on." },
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#source.return?.();
  }
}
