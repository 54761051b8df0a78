import PQueue from "p-queue";
import type { Pin, PinCluster, PinStatus } from "../cluster/pins.ts";
import { unreachable } from "../kernel/assert.ts";
import type { Clock } from "../kernel/clock.ts";
import { isFulaError, messageOf } from "../kernel/errors.ts";
import type { Journal } from "../kernel/journal.ts";
import { mapOrdered } from "../kernel/map-ordered.ts";
import { retry } from "../kernel/retry.ts";
import type { OrderedSources } from "./in-order.ts";
import { judgePin } from "./judge-pin.ts";
import type { Problem, ProblemList } from "./problem-list.ts";
import { planRestore, type PlanItem } from "./restore-plan.ts";
import { isWritten, type RestorePlan, type RestoreSelection, selectItems, summarizePlan } from "./restore-selection.ts";

/** Which part of a restore is under way. */
export type RestorePhase = "compare" | "pin" | "check";

/** What a restore works with. */
export interface RestoreDeps {
  readonly cluster: PinCluster;
  /** What is pinned now, and where it stands. */
  readonly sources: OrderedSources;
  /** The pins of a verified snapshot in ascending order of their CIDs; each call reads from the start. */
  readonly wanted: (signal: AbortSignal) => AsyncIterable<Pin>;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  readonly onProgress?: ((phase: RestorePhase, done: number, total: number | null) => void) | undefined;
}

/** How a restore goes about it. */
export interface RestoreOptions extends RestoreSelection {
  /** Pins written at the same time. */
  readonly concurrency: number;
  /** How many peers must hold a pin that names no minimum of its own. */
  readonly replMin: number;
  /** How long peers may take to fetch what was pinned before it counts as not restored. */
  readonly waitMs: number;
}

/** What a restore did, and what it found when it read everything again. */
export interface RestoreResult {
  readonly written: number;
  /** Pins of the selection whose record and content were read again and are as they should be. */
  readonly verified: number;
  /** Everything of the selection that is not. */
  readonly problems: ProblemList;
}

/** Pauses before a put is tried again. */
const PUT_DELAYS_MS: readonly number[] = [100, 500, 2_000];

/** That many failed puts one after the other say that the cluster is gone, not that single pins are bad. */
const FAILURES_IN_A_ROW_MAX = 25;

/** Pause before the next look at content that is still being fetched; it doubles each time up to the longest. */
const POLL_FIRST_MS = 1_000;
const POLL_LONGEST_MS = 15_000;
/** A peer that is still removing what was unpinned before may forget a pin that comes meanwhile, and has to be told again. */
const RECOVER_AGAIN_MS = 10_000;

/** Refused pins whose reason is told; the journal has all of them. */
const REASONS_KEPT_MAX = 10_000;

const STATUS_CALLS_AT_ONCE = 8;

function planned({ cluster, sources, wanted, clock, signal }: RestoreDeps): AsyncGenerator<PlanItem> {
  const options = {
    assignedFields: cluster.assignedFields,
    asStored: (pin: Pin) => cluster.asStored(pin),
    nowMs: clock.nowMs(),
  };
  return planRestore(wanted(signal), sources.pins(signal), options);
}

/** Tells what a restore would do. Writes nothing. */
export async function planOf(deps: RestoreDeps, selection: RestoreSelection): Promise<RestorePlan> {
  return summarizePlan(planned(deps), selection, (compared) => deps.onProgress?.("compare", compared, null));
}

/**
 * Pins what is missing or differs, then reads the whole selection again: every record field by field, and whether its
 * content is really held. What to do is found by comparing with what is pinned now, so a run that was killed is
 * finished by running it again.
 * @param problems takes what is not as it should be in the end; its length is the verdict
 */
export async function executeRestore(
  deps: RestoreDeps,
  options: RestoreOptions,
  plan: RestorePlan,
  outcome: { readonly journal: Journal; readonly problems: () => ProblemList },
): Promise<RestoreResult> {
  const { written, reasons } = await writePins(deps, options, plan, outcome.journal);
  await outcome.journal.append("written", { pins: written });
  const { verified, problems } = await readAgain(deps, options, plan, { reasons, newList: outcome.problems });
  await outcome.journal.append("read-again", { verified, problems: problems.total, problemsFile: problems.path });
  return { written, verified, problems };
}

async function writePins(
  deps: RestoreDeps,
  options: RestoreOptions,
  plan: RestorePlan,
  journal: Journal,
): Promise<Pick<PinWriter, "written" | "reasons">> {
  const queue = new PQueue({ concurrency: options.concurrency });
  const writer = new PinWriter(deps, journal, plan.toWrite);
  if (plan.toWrite === 0) return writer;
  try {
    for await (const item of selectItems(planned(deps), options)) {
      deps.signal.throwIfAborted();
      if (writer.isStopped) break;
      if (!isWritten(item, options.overwrite)) continue;
      void queue.add(async () => writer.write(item.pin));
      await queue.onSizeLessThan(options.concurrency);
    }
  } finally {
    await queue.onIdle();
  }
  writer.throwIfStopped();
  return writer;
}

/** Writes pins one by one, and tells a bad pin from a cluster that is gone. Its `write` never rejects. */
class PinWriter {
  written = 0;
  /** Why a pin could not be written, by its CID. */
  readonly reasons = new Map<string, string>();
  #failuresInARow = 0;
  #stoppedBy: { readonly error: unknown } | null = null;
  readonly #deps: RestoreDeps;
  readonly #journal: Journal;
  readonly #total: number;

  constructor(deps: RestoreDeps, journal: Journal, total: number) {
    this.#deps = deps;
    this.#journal = journal;
    this.#total = total;
  }

  get isStopped(): boolean {
    return this.#stoppedBy !== null;
  }

  throwIfStopped(): void {
    if (this.#stoppedBy !== null) throw this.#stoppedBy.error;
  }

  async write(pin: Pin): Promise<void> {
    if (this.isStopped) return;
    try {
      await putWithRetry(this.#deps, pin);
      this.written += 1;
      this.#failuresInARow = 0;
      this.#deps.onProgress?.("pin", this.written, this.#total);
    } catch (error) {
      await this.#noteFailure(pin, error);
    }
  }

  async #noteFailure(pin: Pin, error: unknown): Promise<void> {
    if (this.reasons.size < REASONS_KEPT_MAX) this.reasons.set(pin.cid, messageOf(error));
    if (isAboutThePin(error)) this.#failuresInARow = 0;
    else this.#failuresInARow += 1;
    const isFatal = !isFulaError(error) || isFulaError(error, "FULA_CLUSTER_READ_ONLY");
    if (isFatal || this.#failuresInARow >= FAILURES_IN_A_ROW_MAX) this.#stoppedBy ??= { error };
    try {
      await this.#journal.append("pin-failed", { cid: pin.cid, error: messageOf(error) });
    } catch (journalError) {
      this.#stoppedBy ??= { error: journalError };
    }
  }
}

/** A cluster that refuses a single pin is there and answers. */
function isAboutThePin(error: unknown): boolean {
  return isFulaError(error, "FULA_PIN_REFUSED") || isFulaError(error, "FULA_PIN_INVALID");
}

async function putWithRetry({ cluster, clock, signal }: RestoreDeps, pin: Pin): Promise<void> {
  await retry(async () => cluster.put(pin), {
    delaysMs: PUT_DELAYS_MS,
    clock,
    signal,
    shouldRetry: (error) => isFulaError(error) && error.kind === "unavailable",
  });
}

/** Looks again until nothing is being fetched any more or the time is up. */
async function readAgain(
  deps: RestoreDeps,
  options: RestoreOptions,
  plan: RestorePlan,
  { reasons, newList }: { readonly reasons: ReadonlyMap<string, string>; readonly newList: () => ProblemList },
): Promise<{ readonly verified: number; readonly problems: ProblemList }> {
  const untilMs = deps.clock.monotonicMs() + options.waitMs;
  const peers = await deps.cluster.peers(deps.signal);
  const members = peers.filter(({ state }) => state !== "gone").length;
  let recoveredMs = Number.NEGATIVE_INFINITY;
  for (let pauseMs = POLL_FIRST_MS; ; pauseMs = Math.min(pauseMs * 2, POLL_LONGEST_MS)) {
    const problems = newList();
    const check = new SelectionCheck(deps, options, { problems, reasons, members });
    try {
      const mayRecover = deps.clock.monotonicMs() >= recoveredMs + RECOVER_AGAIN_MS;
      if (mayRecover) recoveredMs = deps.clock.monotonicMs();
      const { verified, pending } = await check.run(plan, mayRecover);
      if (pending === 0 || deps.clock.monotonicMs() >= untilMs) return { verified, problems };
    } finally {
      await problems.close();
    }
    await deps.clock.sleep(pauseMs, deps.signal);
  }
}

interface CheckParts {
  readonly problems: ProblemList;
  /** Why pins could not be written. */
  readonly reasons: ReadonlyMap<string, string>;
  /** Peers of the cluster. */
  readonly members: number;
}

/** One look at the whole selection. */
class SelectionCheck {
  #verified = 0;
  #pending = 0;
  readonly #deps: RestoreDeps;
  readonly #options: RestoreOptions;
  readonly #parts: CheckParts;

  constructor(deps: RestoreDeps, options: RestoreOptions, parts: CheckParts) {
    this.#deps = deps;
    this.#options = options;
    this.#parts = parts;
  }

  async run(plan: RestorePlan, mayRecover: boolean): Promise<{ readonly verified: number; readonly pending: number }> {
    const { only } = this.#options;
    const total = countOfSelection(plan);
    let checked = 0;
    for await (const standing of standingOf(this.#deps, selectedPins(this.#deps, this.#options, plan), only !== null)) {
      checked += 1;
      this.#deps.onProgress?.("check", checked, total);
      await this.#check(standing, mayRecover);
    }
    for (const cid of plan.notInSnapshot) {
      const detail = "it is not in the snapshot";
      await this.#parts.problems.add({ cid, name: "", problem: "not-in-snapshot", detail });
    }
    return { verified: this.#verified, pending: this.#pending };
  }

  async #check({ item, status }: Standing, mayRecover: boolean): Promise<void> {
    const { problems, reasons, members } = this.#parts;
    const { cid, pin } = item;
    const record = recordProblem(item, this.#options.overwrite, reasons.get(cid));
    if (record !== null) {
      await problems.add({ cid, name: pin.name, ...record });
      return;
    }
    const judged = judgePin(pin, status, { replMin: this.#options.replMin, members }, this.#deps.clock.nowMs());
    if (judged.verdict === "ok" || judged.verdict === "expired") {
      this.#verified += 1;
      return;
    }
    const isFetched = judged.verdict === "pinning";
    // Peers that have not heard of a new pin yet say that they do not have it; a box by itself knows at once.
    if (isFetched || members > 1) this.#pending += 1;
    if (!isFetched && mayRecover) await this.#recover(cid);
    const detail = `held by ${judged.pinned} of ${judged.required} peers: ${judged.reason}`;
    await problems.add({ cid, name: pin.name, problem: isFetched ? "pinning" : "not-held", detail });
  }

  async #recover(cid: string): Promise<void> {
    try {
      await this.#deps.cluster.recover(cid);
    } catch (error) {
      // Where it stands is what the list tells; a peer that cannot be asked to try again must not end the look.
      if (!isFulaError(error)) throw error;
    }
  }
}

function countOfSelection({ counts }: RestorePlan): number {
  return counts.missing + counts.differs + counts.equal;
}

type WantedItem = Exclude<PlanItem, { kind: "extra" | "expired" }>;

/** Compares the selection again with what is pinned by now. Its end is where `--limit` cut it when it was planned. */
async function* selectedPins(
  deps: RestoreDeps,
  { only }: RestoreSelection,
  { lastCid }: RestorePlan,
): AsyncGenerator<WantedItem> {
  for await (const item of planned(deps)) {
    if (lastCid !== null && item.cid > lastCid) return;
    if (item.kind === "extra" || item.kind === "expired" || only?.has(item.cid) === false) continue;
    yield item;
  }
}

function recordProblem(
  item: WantedItem,
  overwrite: boolean,
  reason: string | undefined,
): Pick<Problem, "problem" | "detail"> | null {
  switch (item.kind) {
    case "missing":
      return { problem: "missing", detail: reason === undefined ? "it is not pinned" : `it is not pinned: ${reason}` };
    case "differs":
      if (!overwrite) return null;
      return {
        problem: "differs",
        detail: `it is pinned with other values of ${item.fields.join(", ")}${reason === undefined ? "" : `: ${reason}`}`,
      };
    case "equal":
      return null;
    default:
      return unreachable(item, "plan item");
  }
}

interface Standing {
  readonly item: WantedItem;
  readonly status: PinStatus | null;
}

/** Puts beside each pin where it stands: asked one by one for a few, from the list of all statuses otherwise. */
async function* standingOf(
  { cluster, sources, signal }: RestoreDeps,
  items: AsyncIterable<WantedItem>,
  oneByOne: boolean,
): AsyncGenerator<Standing> {
  const ask = async (item: WantedItem): Promise<Standing> => ({
    item,
    status: await cluster.status(item.cid, { signal }),
  });
  if (oneByOne) {
    yield* mapOrdered(items, STATUS_CALLS_AT_ONCE, ask);
    return;
  }
  const statuses = sources.statuses({ signal })[Symbol.asyncIterator]();
  try {
    let next = await statuses.next();
    for await (const item of items) {
      while (next.done !== true && next.value.cid < item.cid) next = await statuses.next();
      yield next.done !== true && next.value.cid === item.cid ? { item, status: next.value } : await ask(item);
    }
  } finally {
    await statuses.return?.();
  }
}
