import {
  DiscardPolicy,
  type JetStreamManager,
  jetstreamManager,
  PersistMode,
  RetentionPolicy,
  StorageType,
  type StreamInfo,
} from "@nats-io/jetstream";
import { FulaError, isFulaError } from "../../kernel/errors.ts";
import { membershipNotFound } from "../refusals.ts";
import { type Budget, isWorthAnotherAttempt, type Silence } from "./budget.ts";
import { BUCKET_KINDS, type BucketKind, bucketName, streamName } from "./buckets.ts";
import type { NatsLink } from "./connect.ts";
import { isNameTaken, isTooFewServers } from "./explain.ts";
import type { KvDeps, KvTarget } from "./target.ts";

/** Replicas where the settings leave it to us and there are as many servers. */
const REPLICAS = 3;

/**
 * A request that is sent before a server has met the meta leader is lost, and waiting for its answer only waits: so each
 * attempt is short, and the next one is a new request.
 */
const ATTEMPT_MS = [1_000, 1_000, 2_000, 3_000];
const ATTEMPT_MS_MAX = 5_000;
const PAUSE_MS = 250;

/**
 * Brings the six buckets into being, or finds them as they must be, while the servers may still be looking for one
 * another. Every step may be repeated.
 * @param finish what is to be done with them before anybody uses them
 * @throws FulaError FULA_CONTROL_PLANE_UNREACHABLE when the time is over, FULA_CONTROL_PLANE_UNFIT
 */
export async function bootstrapBuckets(
  link: NatsLink,
  target: KvTarget,
  deps: KvDeps,
  finish: () => Promise<void>,
): Promise<void> {
  const whole = link.budget(target.bootstrapTimeoutMs);
  let last: Wait | null = null;
  for (const step of stepsOf(link, target, deps, finish)) {
    for (let attempt = 0; ; attempt += 1) {
      const fullMs = ATTEMPT_MS[attempt] ?? ATTEMPT_MS_MAX;
      const leftMs = whole.leftMs();
      const wait = await attemptOf(step, link, Math.min(fullMs, leftMs), deps);
      if (wait === null) break;
      // One that the end cuts short may not even connect, which says nothing of servers that were reached before.
      if (last === null || leftMs >= fullMs || wait.silence !== "unreachable") {
        if (wait.for !== last?.for) {
          deps.log.info("control-plane.waiting", { for: wait.for });
          deps.onWait?.(wait.for);
        }
        last = wait;
      }
      if (whole.leftMs() <= PAUSE_MS) throw tooLate(last, target);
      await deps.clock.sleep(PAUSE_MS, deps.signal);
    }
  }
}

/** What is being waited for, and what `details` say of it when the time is over. */
interface Wait {
  readonly for: string;
  readonly silence: Silence;
  readonly cause?: unknown;
}

/** Gives null when it is done, else what is being waited for. */
type Step = (budget: Budget) => Promise<string | null>;

function stepsOf(link: NatsLink, target: KvTarget, deps: KvDeps, finish: () => Promise<void>): readonly Step[] {
  return [
    ...BUCKET_KINDS.map((kind) => async (budget: Budget) => await ensureBucket(link, budget, target, kind, deps)),
    async () => {
      await finish();
      return null;
    },
  ];
}

/** @returns null where the step is done */
async function attemptOf(step: Step, link: NatsLink, attemptMs: number, deps: KvDeps): Promise<Wait | null> {
  try {
    const sentence = await step(link.budget(attemptMs));
    return sentence === null ? null : { for: sentence, silence: "no-quorum" };
  } catch (error) {
    if (!isWorthAnotherAttempt(error) || deps.signal.aborted) throw error;
    return isFulaError(error) && error.details?.["silence"] === "unreachable"
      ? { for: `waiting for a NATS server to answer at ${link.address}`, silence: "unreachable", cause: error }
      : { for: "waiting for the NATS servers to elect a leader", silence: "no-quorum", cause: error };
  }
}

function tooLate(wait: Wait, target: KvTarget): FulaError {
  const seconds = Math.round(target.bootstrapTimeoutMs / 100) / 10;
  return new FulaError(
    "FULA_CONTROL_PLANE_UNREACHABLE",
    `The control plane at ${target.servers.join(", ")} is not ready after ${seconds} s: ${wait.for}.`,
    {
      hint: "fula-master status shows its servers: more than half of them must run and reach one another.",
      details: { silence: wait.silence },
      cause: wait.cause,
    },
  );
}

/** @returns null where the bucket is ready, else what is being waited for */
async function ensureBucket(
  link: NatsLink,
  budget: Budget,
  target: KvTarget,
  kind: BucketKind,
  deps: KvDeps,
): Promise<string | null> {
  const bucket = bucketName(target.prefix, kind);
  const info = await link.ask(budget, `open bucket ${bucket}`, async (connection, timeout) => {
    const manager = await jetstreamManager(connection, { timeout, checkAPI: false });
    const present = await findStream(manager, streamName(target.prefix, kind));
    if (present === null && target.readOnly === true) throw membershipNotFound("bucket", bucket);
    return present ?? (await createStream(manager, target, kind));
  });
  assertFit(bucket, info);
  const replicas = info.config.num_replicas;
  if (target.replicas > 0 && replicas !== target.replicas) {
    deps.log.warn("control-plane.replicas", { bucket, wanted: target.replicas, is: replicas });
  }
  if (info.cluster === undefined || info.cluster.leader !== undefined) return null;
  return `waiting for bucket ${bucket} to elect a leader among its ${replicas} servers`;
}

async function findStream(manager: JetStreamManager, name: string): Promise<StreamInfo | null> {
  try {
    return await manager.streams.info(name);
  } catch (error) {
    if (error instanceof Error && error.name === "StreamNotFoundError") return null;
    throw error;
  }
}

async function createStream(manager: JetStreamManager, target: KvTarget, kind: BucketKind): Promise<StreamInfo> {
  const bucket = bucketName(target.prefix, kind);
  const create = async (replicas: number): Promise<StreamInfo> =>
    await manager.streams.add({
      name: streamName(target.prefix, kind),
      subjects: [`$KV.${bucket}.>`],
      retention: RetentionPolicy.Limits,
      storage: StorageType.File,
      discard: DiscardPolicy.New,
      max_msgs_per_subject: 1,
      num_replicas: replicas,
      // Another server than the leader may be behind, and would answer with what was.
      allow_direct: false,
      allow_rollup_hdrs: true,
      deny_delete: true,
    });
  try {
    return await create(target.replicas === 0 ? REPLICAS : target.replicas);
  } catch (error) {
    // Another box made it meanwhile, with as many replicas as it saw servers.
    if (isNameTaken(error)) return await manager.streams.info(streamName(target.prefix, kind));
    if (target.replicas === 0 && isTooFewServers(error)) return await create(1);
    throw error;
  }
}

/** What a bucket must not be, whoever made it. @throws FulaError FULA_CONTROL_PLANE_UNFIT */
function assertFit(bucket: string, { config }: StreamInfo): void {
  const wrong = [
    config.storage === StorageType.File ? [] : ["it lies in memory and is gone with its servers"],
    config.allow_direct ? ["servers that are behind may answer for it (allow_direct)"] : [],
    config.max_age > 0 ? ["its records expire (max_age)"] : [],
    config.discard === DiscardPolicy.Old && (config.max_msgs > 0 || config.max_bytes > 0)
      ? ["it drops its oldest records when it is full (discard)"]
      : [],
    config.retention === RetentionPolicy.Limits ? [] : ["it drops what was read (retention)"],
    config.persist_mode === PersistMode.Async ? ["it acknowledges what is not on disk yet (persist_mode)"] : [],
    config.sealed ? ["it is sealed"] : [],
    config.mirror === undefined && (config.sources ?? []).length === 0 ? [] : ["it copies another one"],
  ].flat();
  if (wrong.length === 0) return;
  throw new FulaError(
    "FULA_CONTROL_PLANE_UNFIT",
    `Bucket ${bucket} is not fit for a control plane: ${wrong.join("; ")}.`,
    {
      hint: `somebody else made or changed it: mend it with nats stream edit KV_${bucket}, or choose another controlPlane.prefix.`,
      details: { bucket, wrong },
    },
  );
}
