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

/** Pause between two looks at content that is still being fetched. */
const POLL_MS = 5_000;

const STATUS_CALLS_AT_ONCE = 8;

function planned({ cluster, sources, wanted, clock, signal }: RestoreDeps): AsyncGenerator<PlanItem> {
  const options = { assignedFields: cluster.assignedFields, nowMs: clock.nowMs() };
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
  const written = await writePins(deps, options, plan, outcome.journal);
  await outcome.journal.append("written", { pins: written });
  const { verified, problems } = await readAgain(deps, options, plan, outcome.problems);
  await outcome.journal.append("read-again", { verified, problems: problems.total, problemsFile: problems.path });
  return { written, verified, problems };
}

async function writePins(
  deps: RestoreDeps,
  options: RestoreOptions,
  plan: RestorePlan,
  journal: Journal,
): Promise<number> {
  if (plan.toWrite === 0) return 0;
  const queue = new PQueue({ concurrency: options.concurrency });
  const writer = new PinWriter(deps, journal, plan.toWrite);
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
  return writer.written;
}

/** Writes pins one by one, and tells a bad pin from a cluster that is gone. Its `write` never rejects. */
class PinWriter {
  written = 0;
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
    this.#failuresInARow += 1;
    if (!isFulaError(error) || this.#failuresInARow >= FAILURES_IN_A_ROW_MAX) this.#stoppedBy ??= { error };
    try {
      await this.#journal.append("pin-failed", { cid: pin.cid, error: messageOf(error) });
    } catch (journalError) {
      this.#stoppedBy ??= { error: journalError };
    }
  }
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
  newList: () => ProblemList,
): Promise<{ readonly verified: number; readonly problems: ProblemList }> {
  const untilMs = deps.clock.monotonicMs() + options.waitMs;
  for (let isFirst = true; ; isFirst = false) {
    const problems = newList();
    try {
      const { verified, pending } = await checkSelection(deps, options, plan, problems, isFirst);
      if (pending === 0 || deps.clock.monotonicMs() >= untilMs) return { verified, problems };
    } finally {
      await problems.close();
    }
    await deps.clock.sleep(POLL_MS, deps.signal);
  }
}

async function checkSelection(
  deps: RestoreDeps,
  options: RestoreOptions,
  plan: RestorePlan,
  problems: ProblemList,
  mayRecover: boolean,
): Promise<{ readonly verified: number; readonly pending: number }> {
  const total = countOfSelection(plan);
  const nowMs = deps.clock.nowMs();
  let checked = 0;
  let verified = 0;
  let pending = 0;
  for await (const { item, status } of standingOf(deps, selectedPins(deps, options, plan), options.only !== null)) {
    checked += 1;
    deps.onProgress?.("check", checked, total);
    const record = recordProblem(item, options.overwrite);
    const judged = judgePin(item.pin, status, options.replMin, nowMs);
    const isFetched = judged.verdict === "pinning";
    if (record !== null) {
      await problems.add({ cid: item.cid, name: item.pin.name, ...record });
    } else if (judged.verdict === "ok" || judged.verdict === "expired") {
      verified += 1;
    } else {
      if (isFetched) pending += 1;
      else if (mayRecover) await deps.cluster.recover(item.cid);
      const detail = `held by ${judged.pinned} of ${judged.required} peers: ${judged.reason}`;
      await problems.add({ cid: item.cid, name: item.pin.name, problem: isFetched ? "pinning" : "not-held", detail });
    }
  }
  for (const cid of plan.notInSnapshot) {
    await problems.add({ cid, name: "", problem: "not-in-snapshot", detail: "it is not in the snapshot" });
  }
  return { verified, pending };
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

function recordProblem(item: WantedItem, overwrite: boolean): Pick<Problem, "problem" | "detail"> | null {
  switch (item.kind) {
    case "missing":
      return { problem: "missing", detail: "it is not pinned" };
    case "differs":
      if (!overwrite) return null;
      return { problem: "differs", detail: `it is pinned with other values of ${item.fields.join(", ")}` };
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
