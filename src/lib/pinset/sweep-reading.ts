import type { Pin, PinStatus } from "../cluster/pins.ts";
import { FulaError, isFulaError, messageOf } from "../kernel/errors.ts";
import { judgePin, type JudgedPin } from "./judge-pin.ts";
import type { LedgerCid } from "./ledger-pins.ts";
import { type Merged, mergeByCid } from "./merge-by-cid.ts";
import { isHeldSomewhere } from "./listing-check.ts";
import { PeerWatch } from "./peer-watch.ts";
import type { SweepDeps, SweepOptions } from "./sweep.ts";

/** What was read of pinset, statuses and ledger; what is not well is in the memory of the sweep. */
export interface Reading {
  readonly pins: number;
  readonly statuses: number;
  readonly expired: number;
  /** CIDs that peers hold although they are not in the pinset. */
  readonly withoutPin: number;
  /** Null where the ledger was left out. */
  readonly ledger: LedgerReading | null;
}

/** How the ledger compares with the pinset. */
export interface LedgerReading {
  readonly cids: number;
  /** Queued or being pinned for no longer than the grace, and not in the pinset yet. */
  readonly waiting: number;
  readonly notInLedger: number;
  /** The first few of them. */
  readonly notInLedgerShown: readonly string[];
}

/** More pins than that without a status mean that the list was cut off, not that single pins are forgotten. */
const UNLISTED_MAX = 1_000;

/** A pinset that changes while it is counted is read again that often. */
const READINGS_MAX = 3;

/** More CIDs than this share that only other peers know mean that the peer that we ask has not caught up. */
const UNKNOWN_SHARE_MAX = 0.01;
const UNKNOWN_ALWAYS_ALLOWED = 10;

const NOT_IN_LEDGER_SHOWN_MAX = 20;

/** Reads everything; again where the pinset changed so much meanwhile that its count cannot be matched. */
export async function readInFull(deps: SweepDeps, options: SweepOptions, watch: PeerWatch): Promise<Reading> {
  for (let attempt = 1; ; attempt += 1) {
    const before = await deps.cluster.count(deps.signal);
    watch.beginReading();
    const reading = await new Reader(deps, options, watch).read();
    const after = await deps.cluster.count(deps.signal);
    const isWhole =
      before === null ||
      after === null ||
      (reading.pins >= Math.min(before, after) && reading.pins <= Math.max(before, after));
    if (isWhole) return reading;
    if (attempt >= READINGS_MAX) {
      throw unreadable(`the list of pins gave ${reading.pins} pins, but the pinset counts ${after}`);
    }
  }
}

function unreadable(what: string, cause?: unknown): FulaError {
  return new FulaError("FULA_CLUSTER_UNREADABLE", `Nothing is known about the pins: ${what}.`, {
    cause,
    hint: "this is no all-clear. Run fula-master sweep again; if it stays like this, fula-master status shows what is wrong.",
  });
}

async function* nothing(): AsyncGenerator<never> {}

/** Reads pinset, statuses and ledger once, side by side. */
class Reader {
  readonly #deps: SweepDeps;
  readonly #options: SweepOptions;
  readonly #watch: PeerWatch;
  readonly #nowMs: number;
  readonly #unlisted: Pin[] = [];
  readonly #unowned: string[] = [];
  readonly #notInLedgerShown: string[] = [];
  #pins = 0;
  #statuses = 0;
  #expired = 0;
  #withoutPin = 0;
  #ledgerCids = 0;
  #waiting = 0;
  #notInLedger = 0;

  constructor(deps: SweepDeps, options: SweepOptions, watch: PeerWatch) {
    this.#deps = deps;
    this.#options = options;
    this.#watch = watch;
    this.#nowMs = deps.clock.nowMs();
  }

  async read(): Promise<Reading> {
    const { sources, ledger, memory, signal } = this.#deps;
    const { deep } = this.#options;
    try {
      // The ledger first, then the pins: what is promised is pinned before, and what is in the list of pins must then
      // have a status, however late the statuses are read.
      const merged = mergeByCid(
        { name: "the ledger", items: ledger?.cids(signal) ?? nothing() },
        { name: "pins", items: sources.pins(signal) },
        { name: "statuses", items: sources.statuses({ deep, signal }) },
      );
      for await (const item of merged) this.#take(item);
      await this.#askForUnlisted();
      await this.#judgeUnowned();
    } catch (error) {
      signal.throwIfAborted();
      if (isFulaError(error) && error.kind !== "failed") throw error;
      throw unreadable(messageOf(error), error);
    } finally {
      memory.commit();
    }
    const compared = { cids: this.#ledgerCids, waiting: this.#waiting };
    const notInLedger = { notInLedger: this.#notInLedger, notInLedgerShown: this.#notInLedgerShown };
    return {
      pins: this.#pins,
      statuses: this.#statuses,
      expired: this.#expired,
      withoutPin: this.#withoutPin,
      ledger: ledger === null ? null : { ...compared, ...notInLedger },
    };
  }

  #take({ cid, first: promised, second: pin, third: status }: Merged<LedgerCid, Pin, PinStatus>): void {
    if (status !== null) {
      this.#statuses += 1;
      this.#watch.noteStatus(status);
    }
    if (promised !== null) this.#ledgerCids += 1;
    if (pin === null) {
      if (promised !== null) this.#takeMissing(promised);
      if (status === null || !isHeldSomewhere(status)) return;
      this.#withoutPin += 1;
      if (this.#unowned.length < UNLISTED_MAX) this.#unowned.push(cid);
      return;
    }
    this.#pins += 1;
    this.#watch.notePin(pin);
    this.#deps.onProgress?.("check", this.#pins, null);
    if (promised === null && this.#deps.ledger !== null && pin.type === "pin") this.#takeNotInLedger(cid);
    if (status !== null) this.#judge(pin, status);
    else this.#unlisted.push(pin);
    if (this.#unlisted.length > UNLISTED_MAX) throw unreadable(`more than ${UNLISTED_MAX} pins have no status at all`);
  }

  #takeMissing(promised: LedgerCid): void {
    const { cid, text, isCid, state, changedMs } = promised;
    if (state === "waiting" && this.#nowMs - changedMs <= this.#options.graceMs) {
      this.#waiting += 1;
      return;
    }
    // `name` carries the text of the ledger until the ledger is asked for the name.
    const problem = isCid ? "missing" : "not-a-cid";
    this.#deps.memory.troubles.note("ledger", { id: cid, name: text, problem, reason: "" }, this.#nowMs);
  }

  #takeNotInLedger(cid: string): void {
    this.#notInLedger += 1;
    if (this.#notInLedgerShown.length < NOT_IN_LEDGER_SHOWN_MAX) this.#notInLedgerShown.push(cid);
  }

  #judge(pin: Pin, status: PinStatus | null): JudgedPin["verdict"] {
    const counts = { replMin: this.#options.replMin, members: this.#watch.members };
    const judged = judgePin(pin, status, counts, this.#nowMs);
    if (judged.verdict === "expired") this.#expired += 1;
    else if (judged.verdict !== "ok") this.#deps.memory.findings.note(pin.cid, pin.name, judged, this.#nowMs);
    return judged.verdict;
  }

  /**
   * Asks one by one for the pins that the list of statuses left out. An answer means that the list was not whole: then
   * nothing that it said, or did not say, can be trusted.
   */
  async #askForUnlisted(): Promise<void> {
    const { cluster, signal } = this.#deps;
    for (const pin of this.#unlisted) {
      if ((await cluster.pin(pin.cid)) === null) {
        this.#pins -= 1;
        continue;
      }
      const status = await cluster.status(pin.cid, { signal });
      if (status !== null && status.peers.length > 0) {
        throw unreadable(`the list of statuses ended without ${pin.cid}, whose status is known when asked for alone`);
      }
      this.#judge(pin, status);
    }
  }

  /** A pin that was made after the list of pins was read has a status, but that is no stray one. */
  async #judgeUnowned(): Promise<void> {
    const { cluster } = this.#deps;
    for (const cid of this.#unowned) if ((await cluster.pin(cid)) !== null) this.#withoutPin -= 1;
    const known = this.#pins + this.#withoutPin;
    if (this.#withoutPin <= Math.max(UNKNOWN_ALWAYS_ALLOWED, known * UNKNOWN_SHARE_MAX)) return;
    throw unreadable(
      `the cluster peer that was asked has ${this.#pins} pins, other peers hold ${this.#withoutPin} more: it has not caught up with them`,
    );
  }
}
