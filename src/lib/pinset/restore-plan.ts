import type { Pin, PinField } from "../cluster/pins.ts";
import { FulaError } from "../kernel/errors.ts";
import { differingFields } from "./compare-pins.ts";
import { hasExpired } from "./judge-pin.ts";

/**
 * What a restore finds about one CID: `missing`, not pinned; `differs`, pinned with other options; `equal`; `extra`,
 * pinned but not in the snapshot, never touched; `expired`, its time is over in the snapshot, and it is not pinned or
 * pinned with other options: left out, because no cluster takes a pin whose time is over.
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
  | { readonly kind: "extra"; readonly cid: string };

/** How many CIDs of each kind. */
export type PlanCounts = Record<PlanItem["kind"], number>;

/** What a comparison leaves out of account. */
export interface PlanOptions {
  /** Fields that the cluster sets by itself. */
  readonly assignedFields?: readonly PinField[];
  /** What becomes of a record that is put; default: it is kept as it is. */
  readonly asStored?: (pin: Pin) => Pin;
  /** Wall time, to tell which pins have expired. */
  readonly nowMs: number;
}

/** A plan with nothing in it. */
export function emptyCounts(): PlanCounts {
  return { missing: 0, differs: 0, equal: 0, expired: 0, extra: 0 };
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
  await using left = new OrderedReader(wanted, "the snapshot");
  await using right = new OrderedReader(present, "the pinset");
  await left.advance();
  await right.advance();
  while (left.current !== null || right.current !== null) {
    const { current: want } = left;
    const { current: have } = right;
    if (want === null || (have !== null && have.cid < want.cid)) {
      if (have !== null) yield { kind: "extra", cid: have.cid };
      await right.advance();
      continue;
    }
    const isThere = have !== null && have.cid === want.cid;
    yield compare(want, isThere ? have : null, options);
    await left.advance();
    if (isThere) await right.advance();
  }
}

function compare(wanted: Pin, current: Pin | null, options: PlanOptions): PlanItem {
  const { cid } = wanted;
  const pin = options.asStored?.(wanted) ?? wanted;
  const isOver = hasExpired(pin, options.nowMs);
  if (current === null) return { kind: isOver ? "expired" : "missing", cid, pin };
  const fields = differingFields(pin, current, options.assignedFields);
  // When a pin was made says nothing about how it is kept; a re-pin by hand is no reason to write it again.
  if (fields.every((field) => field === "timestamp")) return { kind: "equal", cid, pin };
  return isOver ? { kind: "expired", cid, pin } : { kind: "differs", cid, pin, current, fields };
}

/** Gives one pin at a time and makes sure of the order: merging lists that are not in order would call pins missing. */
class OrderedReader implements AsyncDisposable {
  current: Pin | null = null;
  readonly #source: AsyncIterator<Pin>;
  readonly #name: string;

  constructor(source: AsyncIterable<Pin>, name: string) {
    this.#source = source[Symbol.asyncIterator]();
    this.#name = name;
  }

  async advance(): Promise<void> {
    const before = this.current;
    const next = await this.#source.next();
    this.current = next.done === true ? null : next.value;
    if (before === null || this.current === null || before.cid < this.current.cid) return;
    throw new FulaError(
      "FULA_RESTORE_UNORDERED",
      `Cannot compare: ${this.#name} gives ${this.current.cid} after ${before.cid}, so it is not in order.`,
      { hint: "verify the snapshot (fula-master verify); nothing was changed from here on." },
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#source.return?.();
  }
}
