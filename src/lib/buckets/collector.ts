import type { CID } from "multiformats/cid";
import { isGatewayPin } from "../cluster/pin-source.ts";
import type { Pin, PinCluster } from "../cluster/pins.ts";
import { isFulaError } from "../kernel/errors.ts";
import { mapOrdered } from "../kernel/map-ordered.ts";
import type { Pool } from "../postgres/pool.ts";
import type { BucketName } from "./roots/root-pointer.ts";
import { announceCids } from "./roots/root-queries.ts";
import {
  type Candidate,
  CandidateSet,
  readPromised,
  letGo,
  readCandidates,
  takeOffReferenced,
} from "./collector-queue.ts";

/** A block that a bucket refers to, and whether a root that is current does. */
export type Reached =
  /** `recent`: only a root that was current within the grace time; somebody may still be reading it. */
  | { readonly cid: CID; readonly by: "current" | "recent" }
  /** A current root names it for a key that has something newer: who follows its links asks for it, until a compaction. */
  | { readonly cid: CID; readonly by: "hidden"; readonly bucket: BucketName };

/** What the collector works with. */
export interface CollectorParts {
  readonly pool: Pool;
  readonly pins: Pick<PinCluster, "pin" | "put" | "remove">;
  /** Everything that buckets refer to, read from the roots as they are when it is called. Throws where any cannot be read. */
  readonly reach: (signal: AbortSignal) => AsyncIterable<Reached>;
}

/** How a run is made. */
export interface CollectOptions {
  /** What was queued or current later than this ago is left alone. */
  readonly graceMs: number;
  /** True looks only. */
  readonly dryRun: boolean;
  readonly signal: AbortSignal;
}

/** What a run found and did; in a dry run, what it would do. */
export interface CollectReport {
  readonly dryRun: boolean;
  /** CIDs that had been on the queue since before the grace time. */
  readonly candidates: number;
  /** Their pins were taken away. */
  readonly unpinned: number;
  /** Nothing refers to them, and they had no pin of the gateway. */
  readonly notPinned: number;
  /** A bucket refers to them: taken off the queue. */
  readonly referenced: number;
  /** A root that was current within the grace time refers to them; they wait. */
  readonly spared: number;
  /** Only the log's past of a bucket names them; they wait for its compaction. */
  readonly hidden: number;
  /** A user of the pinning API was promised to have them kept; taken off the queue, the pin stays. */
  readonly promised: number;
  /** Announced again or claimed while the roots were read. */
  readonly claimed: number;
}

const UNPINS_AT_ONCE = 8;
/** Buckets to compact that a run tells of; the next one tells of the others. */
const TO_COMPACT_MAX = 1_000;

/** What a run found, and the buckets whose compaction some of it waits for. */
export interface Collection {
  readonly report: CollectReport;
  readonly toCompact: readonly BucketName[];
}

/**
 * Takes away the pins of what no bucket refers to any more. Memory does not grow with the queue or the buckets.
 *
 * Candidates are read first and the roots afterwards; then each is let go in a transaction that takes its row, as it was
 * read, off the queue. Whoever makes use of such a block meanwhile has announced it before he pinned it, which made it
 * another row or waits for that transaction. Where any root cannot be read in full, nothing is unpinned at all.
 * @throws FulaError what the ledger, the pinset and the walk throw; what was let go before stays so
 */
export async function collectGarbage(parts: CollectorParts, options: CollectOptions): Promise<Collection> {
  const { pool } = parts;
  const { graceMs, dryRun, signal } = options;
  using candidates = new CandidateSet();
  for await (const page of readCandidates(pool, graceMs)) {
    signal.throwIfAborted();
    for (const candidate of page) candidates.add(candidate);
  }
  const toCompact = new Map<string, BucketName>();
  // Nothing to ask the roots for.
  if (candidates.size > 0) {
    for await (const reached of parts.reach(signal)) {
      const isCandidate = candidates.mark(reached.cid, reached.by);
      if (!isCandidate || reached.by !== "hidden" || toCompact.size === TO_COMPACT_MAX) continue;
      toCompact.set(`${reached.bucket.ownerId}/${reached.bucket.bucket}`, reached.bucket);
    }
  }
  signal.throwIfAborted();
  const counts = { unpinned: 0, notPinned: 0, promised: 0, claimed: 0 };
  for await (const outcome of mapOrdered(each(candidates, "unreached"), UNPINS_AT_ONCE, async (candidate) => {
    signal.throwIfAborted();
    return dryRun ? await foresee(parts, candidate) : await letGoOf(parts, candidate);
  })) {
    counts[outcome] += 1;
  }
  let referenced = 0;
  for (const page of candidates.of("referenced")) {
    referenced += dryRun ? page.length : await takeOffReferenced(pool, page);
  }
  const [spared, hidden] = [countOf(candidates, "spared"), countOf(candidates, "hidden")];
  const report = { dryRun, candidates: candidates.size, ...counts, referenced, spared, hidden };
  return { report, toCompact: [...toCompact.values()] };
}

function countOf(candidates: CandidateSet, kind: "spared" | "hidden"): number {
  let count = 0;
  for (const page of candidates.of(kind)) count += page.length;
  return count;
}

async function* each(candidates: CandidateSet, kind: "unreached"): AsyncGenerator<Candidate> {
  for (const page of candidates.of(kind)) yield* page;
}

type Outcome = "unpinned" | "notPinned" | "promised" | "claimed";

/** An operator's own pin is nobody else's to take away. */
async function pinOfOurs({ pins }: CollectorParts, cid: string): Promise<Pin | null> {
  const pin = await pins.pin(cid);
  return pin !== null && isGatewayPin(pin) ? pin : null;
}

async function foresee(parts: CollectorParts, { cid }: Candidate): Promise<Outcome> {
  if (await readPromised(parts.pool, cid)) return "promised";
  return (await pinOfOurs(parts, cid)) === null ? "notPinned" : "unpinned";
}

/**
 * Puts a pin back that was taken away while the transaction that kept everybody else from it was lost: somebody may have
 * found it there in between, and trusted in it. It stands on the queue again, for the case that nobody has.
 */
async function putBack({ pool, pins }: CollectorParts, pin: Pin): Promise<void> {
  try {
    await announceCids(pool, [pin.cid]);
  } finally {
    // A pin that nobody knows of is found by a sweep; one that is missing is not made again by anybody.
    await pins.put(pin);
  }
}

async function letGoOf(parts: CollectorParts, candidate: Candidate): Promise<Outcome> {
  const taken: Pin[] = [];
  try {
    const outcome = await letGo(parts.pool, candidate, async () => {
      const pin = await pinOfOurs(parts, candidate.cid);
      if (pin === null) return taken.length > 0;
      taken.push(pin);
      return await parts.pins.remove(candidate.cid);
    });
    const [pin] = taken;
    if (outcome === "kept" && pin !== undefined) await putBack(parts, pin);
    return outcome === "not-pinned" ? "notPinned" : outcome === "kept" ? "claimed" : outcome;
  } catch (error) {
    const isLost = isFulaError(error, "FULA_COMMIT_UNKNOWN") || isFulaError(error, "FULA_DATABASE_UNREACHABLE");
    const [pin] = taken;
    if (isLost && pin !== undefined) await putBack(parts, pin);
    throw error;
  }
}
