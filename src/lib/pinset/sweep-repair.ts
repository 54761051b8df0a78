import { isPinningPin } from "../cluster/pin-source.ts";
import type { Pin, PinStatus } from "../cluster/pins.ts";
import { isFulaError, messageOf } from "../kernel/errors.ts";
import { mapOrdered } from "../kernel/map-ordered.ts";
import { type JudgedPin, judgePin } from "./judge-pin.ts";
import type { PeerWatch } from "./peer-watch.ts";
import type { SweepDeps, SweepOptions } from "./sweep.ts";
import type { Finding } from "./sweep-findings.ts";

const REPAIRS_AT_ONCE = 8;

/** Pins that are waited for; what is more than that is judged by its grace. */
const AWAITED_MAX = 10_000;

const BEFORE_REPAIR = "; before the repair: ";

/** Pause between two looks at pins that peers are fetching. */
const LOOK_AGAIN_MS = 2_000;

/** What the repair came to. */
export interface Repaired {
  /** Pins that are well again. */
  readonly recovered: number;
  /** Pins that were written again so that the cluster chose other peers for them. */
  readonly reallocated: number;
  /** Pins that were removed meanwhile. */
  readonly gone: number;
}

/** A pin that is on its way counts as well until the grace is over; what is stuck for longer is not on its way. */
export function isBelow({ verdict, sinceMs }: Finding, nowMs: number, graceMs: number): boolean {
  return verdict === "under" || verdict === "lost" || (verdict === "pinning" && nowMs - sinceMs > graceMs);
}

/** Has what is not well repaired, then looks at it until nothing is being fetched any more or the time is up. */
export async function repairAndLookAgain(deps: SweepDeps, options: SweepOptions, watch: PeerWatch): Promise<Repaired> {
  const repair = new Repair(deps, options, watch);
  const untilMs = deps.clock.monotonicMs() + options.waitMs;
  await repair.repairAll();
  while (repair.isFetching && deps.clock.monotonicMs() < untilMs) {
    await deps.clock.sleep(LOOK_AGAIN_MS, deps.signal);
    await repair.lookAtAwaited();
  }
  return repair.result();
}

interface Look {
  readonly finding: Finding;
  readonly pin: Pin | null;
  readonly status: PinStatus | null;
  /** True where the cluster was made to choose other peers. */
  readonly isReallocated: boolean;
  /** True where users asked for it, and none of them was told that it is pinned. */
  readonly isAwaited: boolean;
  /** What stood in the way of the repair; empty where nothing did. */
  readonly refused: string;
}

/** What findings are looked at for: to have them repaired, to see how they stand, or to see whether the repair worked. */
type Why = "repair" | "look" | "await";

class Repair {
  readonly #deps: SweepDeps;
  readonly #options: SweepOptions;
  readonly #working: ReadonlySet<string>;
  readonly #isMisled: boolean;
  readonly #members: number;
  #reallocated = 0;
  #recovered = 0;
  #gone = 0;
  /** Pins that peers began to fetch because of the repair. */
  #awaited = new Set<string>();

  constructor(deps: SweepDeps, options: SweepOptions, watch: PeerWatch) {
    this.#deps = deps;
    this.#options = options;
    this.#working = watch.working();
    this.#isMisled = watch.isMisled;
    this.#members = watch.members;
  }

  result(): Repaired {
    return { recovered: this.#recovered, reallocated: this.#reallocated, gone: this.#gone };
  }

  get isFetching(): boolean {
    return this.#awaited.size > 0;
  }

  async repairAll(): Promise<void> {
    const { findings } = this.#deps.memory;
    const total = findings.count("under") + findings.count("lost") + findings.count("pinning");
    await this.#lookAt(findings.ofThisRun(), total, this.#options.repair ? "repair" : "look");
  }

  async lookAtAwaited(): Promise<void> {
    const cids = [...this.#awaited];
    this.#awaited = new Set();
    const { findings } = this.#deps.memory;
    await this.#lookAt(
      cids.flatMap((cid) => findings.get(cid) ?? []),
      cids.length,
      "await",
    );
  }

  async #lookAt(findings: Iterable<Finding>, total: number, why: Why): Promise<void> {
    const { memory, clock, signal, onProgress } = this.#deps;
    let done = 0;
    const looks = mapOrdered(asStream(findings), REPAIRS_AT_ONCE, async (finding) => this.#look(finding, why));
    for await (const look of looks) {
      signal.throwIfAborted();
      done += 1;
      onProgress?.("repair", done, total);
      this.#note(look, clock.nowMs(), why);
    }
    memory.commit();
  }

  async #look(finding: Finding, why: Why): Promise<Look> {
    const { cluster, ledger, signal } = this.#deps;
    const { cid } = finding;
    const before = await cluster.pin(cid);
    let refused = "";
    let isReallocated = false;
    if (before !== null && why === "repair") {
      try {
        isReallocated = await this.#repair(before);
      } catch (error) {
        // The status that is read next tells how it stands; one pin that cannot be repaired must not end the sweep.
        if (!isFulaError(error)) throw error;
        refused = messageOf(error);
      }
    }
    const status = before === null ? null : await cluster.status(cid, { deep: this.#options.deep, signal });
    const isAwaited = before !== null && isPinningPin(before) && (await ledger?.isAwaited(cid)) === true;
    return { finding, pin: before, status, isReallocated, isAwaited, refused };
  }

  /**
   * Peers that failed are asked to try again. Where fewer peers than the pin asks for are there to hold it, that helps
   * nobody: the whole record is written again, with every option, which makes the cluster choose other peers.
   */
  async #repair(pin: Pin): Promise<boolean> {
    const { cluster } = this.#deps;
    const able = pin.allocations.filter((peer) => this.#working.has(peer));
    const isShort = pin.allocations.length > 0 && able.length < pin.replication_factor_min;
    if (isShort) {
      // The cluster asks those that a record names first. Where it still takes a peer for well that is not, it is told
      // whom to choose; otherwise it knows better than we who has room.
      await cluster.put({ ...pin, allocations: this.#isMisled ? [...new Set([...able, ...this.#working])] : able });
      this.#reallocated += 1;
    }
    await cluster.recover(pin.cid);
    return isShort;
  }

  #note({ finding, pin, status, isReallocated, isAwaited, refused }: Look, nowMs: number, why: Why): void {
    const { findings } = this.#deps.memory;
    const { cid, name } = finding;
    if (pin === null) {
      this.#gone += 1;
      // What is well again or gone keeps its row for the moment: `settle` tells the log and forgets it.
      findings.note(cid, name, { ...finding, verdict: "ok", reason: "it is no longer pinned" }, nowMs);
      return;
    }
    const counts = { replMin: this.#options.replMin, members: this.#members };
    const judged = judgePin(pin, status, counts, nowMs);
    if (judged.verdict === "ok") this.#recovered += 1;
    if (isAwaited && judged.verdict !== "ok") {
      // The pin queue has it in hand, and gives it up if nobody has it: anybody may ask for a content that there is not.
      findings.note(cid, name, { ...judged, verdict: "awaited" }, nowMs);
      return;
    }
    // A peer that was chosen a moment ago may not have heard of it yet.
    const isBegun = isReallocated || (judged.verdict === "pinning" && finding.verdict !== "pinning");
    const isExpected = why === "await" || (why === "repair" && isBegun);
    if (judged.verdict !== "ok" && isExpected && this.#awaited.size < AWAITED_MAX) this.#awaited.add(cid);
    findings.note(cid, name, withReasons(judged, finding, refused), nowMs);
  }
}

async function* asStream<T>(items: Iterable<T>): AsyncGenerator<T> {
  yield* items;
}

/** Keeps what was seen first beside what is seen now: a block that was found rotten is missing when it is looked for again. */
function withReasons(judged: JudgedPin, finding: Finding, refused: string): JudgedPin {
  const first = finding.reason.split(BEFORE_REPAIR).at(-1) ?? "";
  const now = refused === "" ? judged.reason : `${judged.reason}; the repair was refused: ${refused}`;
  return { ...judged, reason: now === "" || now === first ? now : `${now}${BEFORE_REPAIR}${first}` };
}
