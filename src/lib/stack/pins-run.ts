import { isFulaError, FulaError } from "../kernel/errors.ts";
import { noteAudit } from "../identity/audit.ts";
import type { PinCluster } from "../cluster/pins.ts";
import { contentKey } from "../pinning/content-key.ts";
import type { PinQueueFigures } from "../pinning/queue/figures.ts";
import { readPinQueueFigures } from "../pinning/queue/figures.ts";
import { judgeStatus } from "../pinning/queue/judge-status.ts";
import {
  findPinJob,
  findPinRequests,
  listPinJobs,
  type PinJobView,
  type PinRequestView,
} from "../pinning/queue/look.ts";
import { planRedrive, redrive, type RedrivenJob, type RedriveWish } from "../pinning/queue/redrive.ts";
import { withMasterLedger } from "./billing-ledger.ts";
import { type BucketContext, withBucketStores } from "./bucket-ledger.ts";
import { actorOf } from "./operators.ts";

/** What `pins queue --json` prints. */
export interface PinQueueListing extends PinQueueFigures {
  readonly jobs: readonly PinJobView[];
}

/** How the queue stands, and the jobs that wait longest or were given up. @throws FulaError as `withMasterLedger` */
export async function runPinsQueue(
  context: BucketContext,
  options: { readonly dead: boolean; readonly limit: number },
): Promise<PinQueueListing> {
  return await withMasterLedger(context, "pins", async (pool) => {
    const [figures, jobs] = await Promise.all([readPinQueueFigures(pool), listPinJobs(pool, options)]);
    return { ...figures, jobs };
  });
}

/** The pin of a content in the pinset. */
export interface PinsetView {
  /** Who made it: `pinning`, `gateway`, or null for an operator's own. */
  readonly source: string | null;
  readonly name: string;
  readonly mode: string;
  /** Peers that hold all of it, and how many must. */
  readonly held: number;
  readonly needed: number;
  readonly peers: readonly { readonly peer: string; readonly status: string; readonly error: string }[];
}

/** What `pins show --json` prints. */
export interface PinShow {
  /** CIDv1; null for a request whose row has no CID that can be read. */
  readonly cid: string | null;
  readonly requests: readonly PinRequestView[];
  /** Null where nothing is to be done. */
  readonly job: PinJobView | null;
  /** Null where the pinset has no such pin. */
  readonly pin: PinsetView | null;
}

function keyOrNull(text: string): string | null {
  try {
    return contentKey(text);
  } catch (error) {
    if (isFulaError(error, "FULA_CID_INVALID")) return null;
    throw error;
  }
}

async function lookAtPinset(pins: PinCluster, cid: string, signal: AbortSignal): Promise<PinsetView | null> {
  const [pin, status] = await Promise.all([pins.pin(cid, signal), pins.status(cid, { signal })]);
  if (pin === null) return null;
  const peers = status?.peers ?? [];
  const { held, needed } = judgeStatus(pin, { cid, name: pin.name, peers });
  return { source: pin.metadata["source"] ?? null, name: pin.name, mode: pin.mode, held, needed, peers };
}

function unknown(text: string): FulaError {
  return new FulaError(
    "FULA_PIN_NOT_QUEUED",
    `Neither a request, nor a job, nor a pin is known of ${JSON.stringify(text.slice(0, 100))}.`,
    { hint: "give a request id or a CID; fula-master pins queue lists what waits." },
  );
}

/**
 * Everything that is known of a request or a content.
 * @throws FulaError FULA_PIN_NOT_QUEUED, and as `withBucketStores`
 */
export async function runPinsShow(context: BucketContext, text: string): Promise<PinShow> {
  return await withBucketStores(context, async ({ pool, pins }) => {
    const key = keyOrNull(text);
    const requests = await findPinRequests(pool, key === null ? { requestId: text } : { cid: key });
    const [first] = requests;
    const cid = key ?? (first === undefined ? null : keyOrNull(first.cid));
    const job = cid === null ? null : await findPinJob(pool, cid);
    const pin = cid === null ? null : await lookAtPinset(pins, cid, context.signal);
    if (requests.length === 0 && job === null && pin === null) throw unknown(text);
    return { cid, requests, job, pin };
  });
}

/** What `pins retry --json` prints. */
export interface PinsRetry {
  readonly dryRun: boolean;
  readonly jobs: readonly RedrivenJob[];
}

function wishOf(cid: string | null, allDead: boolean): RedriveWish {
  if (allDead !== (cid === null)) {
    throw new FulaError("FULA_USAGE", "pins retry takes a CID, or --all-dead, and not both.", {
      hint: "fula-master pins queue --dead",
    });
  }
  return cid === null ? "all-dead" : { cid: contentKey(cid) };
}

/** Of an identity CID, which has its bytes in it, as much as the log takes. */
const TARGET_LENGTH_MAX = 64;

/**
 * Drives jobs again, at once.
 * @throws FulaError FULA_USAGE, FULA_CID_INVALID, FULA_PIN_NOT_QUEUED, and as `withMasterLedger`
 */
export async function runPinsRetry(
  context: BucketContext,
  { cid, allDead, dryRun }: { readonly cid: string | null; readonly allDead: boolean; readonly dryRun: boolean },
): Promise<PinsRetry> {
  const wish = wishOf(cid, allDead);
  return await withMasterLedger(context, "pins", async (pool, { config }) => {
    const planned = await planRedrive(pool, wish);
    if (planned.length === 0 && wish !== "all-dead") throw unknown(wish.cid);
    if (dryRun) return { dryRun, jobs: planned };
    const jobs = await redrive(pool, wish, async (client, { length: count }) => {
      const target = wish === "all-dead" ? "all-dead" : wish.cid.slice(0, TARGET_LENGTH_MAX);
      await noteAudit(client, {
        actor: actorOf(context, { config }),
        action: "pins.retry",
        target,
        details: { count },
      });
    });
    return { dryRun, jobs };
  });
}
