import { formatUtc } from "../kernel/clock.ts";
import { FulaError, isFulaError, messageOf } from "../kernel/errors.ts";
import { retry } from "../kernel/retry.ts";
import { RecoveryEngine } from "../recovery/engine.ts";
import { parseLsn } from "../recovery/lsn.ts";
import { followPrimary, type Following } from "../recovery/postgres/follow.ts";
import { lookInSync } from "../recovery/postgres/in-sync.ts";
import { type LedgerServer, waitUntil } from "../recovery/postgres/ledger-server.ts";
import {
  assertNoReplacement,
  removeOldData,
  settleLeftovers,
  type Unsettled,
  unsettledBy,
} from "../recovery/postgres/leftovers.ts";
import type { PrimaryLink } from "../recovery/postgres/primary-link.ts";
import { PostgresReplica } from "../recovery/postgres/replica-io.ts";
import { ensureSlot } from "../recovery/postgres/slots.ts";
import { standbySlot } from "../recovery/postgres/standby-names.ts";
import { type Recovery, recoverReplica } from "../recovery/recover.ts";
import { RecoveryLog } from "../recovery/recovery-log.ts";
import type { CatchUpBudget, RecoveryEvent, Rung } from "../recovery/types.ts";
import { ResyncEnd } from "./resync-end.ts";
import { openEyes, type ResyncEyes } from "./resync-eyes.ts";
import { type MadePlan, planResync, type ResyncPlan } from "./resync-plan.ts";
import { Retreat } from "./resync-retreat.ts";
import { type Allowable, assertAllowed, replacesData, withAllowed } from "./resync-rungs.ts";
import { readResyncScene, type ResyncScene } from "./resync-scene.ts";
import { ResyncSessions } from "./resync-session.ts";
import { confirmEpoch, watchEpoch } from "./resync-watch.ts";
import { openStandbyBox, type StandbyBox, type StandbyContext } from "./standby-box.ts";
import { linkTo } from "./standby-link.ts";
import { serverOf } from "./standby-copy.ts";
import { acquireJoinLock } from "./step-run.ts";

/** What an operator chose, and who is told. */
export interface ResyncChoice {
  readonly allowed: ReadonlySet<Allowable>;
  /** Asked before anything is changed, and before a way that replaces data where the plan's did not; throws where it is not meant. */
  readonly confirm: (plan: ResyncPlan) => Promise<void>;
  /** Told of what is being done, a line each. */
  readonly onProgress: (line: string) => void;
}

/** What was done; `--json` keeps these fields. */
export interface ResyncReport {
  readonly outcome: "planned" | "in_sync";
  readonly plan: ResyncPlan;
  /**
   * What a run puts right first that a dead one left, and then decides anew: the plan is of the data as they lie there now, and
   * no way is dearer. Null of what was done, and where there is nothing of that.
   */
  readonly settles: Unsettled | null;
  /** The ways that were tried, in order; empty of a plan. */
  readonly rungs: readonly Rung[];
  /** Names of the directories beside the data that replaced ones were left in: they may be the only ones of their kind. */
  readonly keptOldData: readonly string[];
  /** How long it took, in milliseconds; 0 of a plan. */
  readonly durationMs: number;
  /** The engine's own account, from the session's beginning to its end. */
  readonly events: readonly { readonly at: string; readonly event: string; readonly detail: string }[];
}

/** A server that starts after a crash may replay for long before it says anything; one that does nothing is given up. */
const BUDGET: CatchUpBudget = { maxDurationMs: 0, maxEntries: 0n, progressDeadlineMs: 600_000 };
const LIMITS = { programMs: 24 * 3_600_000, silenceMs: 600_000 };
const LET_IN_DELAYS_MS = Array.from({ length: 60 }, () => 250);
const STREAM_PATIENCE_MS = 300_000;
const PART = "resync";

interface Opened {
  readonly box: StandbyBox;
  readonly scene: ResyncScene;
  readonly server: LedgerServer;
  readonly following: Following;
  readonly eyes: ResyncEyes;
  readonly end: ResyncEnd;
}

async function open(box: StandbyBox): Promise<Opened> {
  const end = new ResyncEnd();
  end.by(box.context.signal);
  const scene = await readResyncScene(box);
  const server = await serverOf(box);
  const other = { node: scene.primary, address: scene.address };
  const primary = linkTo(box.loaded, server.site, other, {
    clock: box.context.clock,
    part: PART,
    ends: end.signal,
  });
  await letIn(primary, box.context);
  const following: Following = { primary, epoch: scene.epoch, slot: standbySlot(box.name), settings: {} };
  return { box, scene, server, following, eyes: await openEyes(box, { scene, server, following }), end };
}

/**
 * Waits until the primary lets this box in: its serve makes the roles of the other boxes within seconds of a promotion.
 * @throws FulaError FULA_DATABASE_LOGIN, FULA_DATABASE_UNREACHABLE
 */
async function letIn(primary: PrimaryLink, { clock, signal }: StandbyContext): Promise<void> {
  await retry(
    async () => {
      await using _ = await primary.connect();
    },
    { delaysMs: LET_IN_DELAYS_MS, clock, signal, shouldRetry: (error) => isFulaError(error, "FULA_DATABASE_LOGIN") },
  );
}

/** Looks how this box's server would come back; changes nothing. @throws FulaError FULA_RESYNC_REFUSED and what looking throws */
export async function planResyncRun(context: StandbyContext): Promise<ResyncReport> {
  await using box = await openStandbyBox(context);
  const { scene, server, eyes } = await open(box);
  await using files = await server.site.open(context.signal);
  const settles = unsettledBy(await assertNoReplacement(files, server.site));
  const { plan } = await planResync(box.name, scene, eyes, context.signal);
  return { outcome: "planned", plan, settles, rungs: [], keptOldData: [], durationMs: 0, events: [] };
}

/**
 * Brings this box's server of the ledger back, by the cheapest way that is proven to be safe. Run again after whatever ended
 * it, it goes on or begins anew, and leaves nothing held.
 * @throws FulaError FULA_RESYNC_REFUSED, FULA_RESYNC_SUPERSEDED where the primary was changed meanwhile, FULA_RESYNC_STOPPED,
 * FULA_LOCKED, and what the rungs throw
 */
export async function resync(context: StandbyContext, choice: ResyncChoice): Promise<ResyncReport> {
  const { clock, signal } = context;
  await using box = await openStandbyBox(context);
  using _ = await acquireJoinLock(box.loaded.paths.locksDir, "resync", context);
  const opened = await open(box);
  const { scene, server, eyes } = opened;
  const startedMs = clock.monotonicMs();
  {
    // What a run that was killed left is put right first: it would be taken for more than it is.
    await using files = await server.site.open(signal);
    await settleLeftovers(files, server);
  }
  const made = await planResync(box.name, scene, eyes, signal);
  assertAllowed(made.plan.rung, choice.allowed);
  await choice.confirm(made.plan);
  const log = new RecoveryLog(clock, context.log);
  const done = await work(opened, made, log, choice);
  const events = log.events().map(eventOf);
  return {
    outcome: "in_sync",
    plan: made.plan,
    settles: null,
    ...done,
    durationMs: clock.monotonicMs() - startedMs,
    events,
  };
}

/** The part that changes something: under a session of its own, and only as long as the epoch is the one of the plan. */
async function work(
  opened: Opened,
  made: MadePlan,
  log: RecoveryLog,
  choice: ResyncChoice,
): Promise<Pick<ResyncReport, "rungs" | "keptOldData">> {
  const { box, scene, following } = opened;
  await letGo(opened);
  await using sessions = new ResyncSessions(box, scene);
  await using watch = watchEpoch(box, scene);
  opened.end.by(watch.signal);
  const signal = AbortSignal.any([box.context.signal, watch.signal]);
  try {
    {
      await using session = await following.primary.connect();
      await ensureSlot(session, following.slot);
    }
    const rungs = await recover(opened, made, { sessions, log, choice, signal });
    return { rungs, keptOldData: await settle(opened, made.plan, signal) };
  } catch (error) {
    signal.throwIfAborted();
    throw error;
  } finally {
    await letGo(opened);
  }
}

/** Collects what nobody holds any more. What cannot be let go now is no failure of the work: the next run tries again. */
async function letGo({ box, scene, eyes }: Opened): Promise<void> {
  const { log } = box.context;
  try {
    const { collected, failed } = await eyes.collect();
    if (collected.length > 0) log.info("resync.collected", { pins: collected });
    for (const { name, because } of failed) log.warn("resync.still_held", { name, because });
  } catch (error) {
    log.warn("resync.still_held", { at: scene.primary, because: messageOf(error) });
  }
}

interface Recovering {
  readonly sessions: ResyncSessions;
  readonly log: RecoveryLog;
  readonly choice: ResyncChoice;
  readonly signal: AbortSignal;
}

async function recover(
  opened: Opened,
  made: MadePlan,
  { sessions, log, choice, signal }: Recovering,
): Promise<readonly Rung[]> {
  const { box, scene, server, following, eyes } = opened;
  const { name, context, loaded } = box;
  const engine = new RecoveryEngine(context.clock, log);
  const endpoint = { dataAddr: scene.own.address, ctrlAddr: scene.own.address, version: 1 };
  const replicas = [{ replicaId: name, endpoint }];
  await engine.assign({ epoch: scene.epoch, replicas, recoveryTargets: new Map() }, new Map());
  const replica = new PostgresReplica(
    () => ({
      server,
      database: loaded.config.postgres.database,
      session: sessions.current ?? 0n,
      following,
      epoch: scene.epoch,
      tail: made.tail,
      archive: eyes.archive,
      limits: LIMITS,
      onProgress: choice.onProgress,
    }),
    eyes.shelf,
    made.mayDiscard,
  );
  const notAllowed = new AbortController();
  const io = withAllowed(replica, {
    allowed: choice.allowed,
    ask: asker(made.plan, choice),
    stop: (error) => {
      notAllowed.abort(error);
    },
  });
  const cancel = AbortSignal.any([signal, notAllowed.signal]);
  const retreat = new Retreat();
  const [probe, storage] = [retreat.probe(eyes.probe), retreat.storage(eyes.storage)];
  const edge = { probe, storage, budget: BUDGET, cancel, io, sessions };
  const rungs: Rung[] = [];
  let end: Recovery;
  do {
    end = await recoverReplica(engine, name, edge);
    rungs.push(...end.rungs);
    cancel.throwIfAborted();
  } while (end.outcome === "stopped" && (retreat.note(end.because) || eyes.archive.giveUp()));
  const { outcome, because } = end;
  if (outcome === "in_sync") return rungs;
  const tried = rungs.length === 0 ? "nothing" : rungs.join(", then ");
  throw new FulaError(
    outcome === "halted" ? "FULA_RESYNC_REFUSED" : "FULA_RESYNC_STOPPED",
    `${name} is not back in sync: ${because}. Tried: ${tried}.`,
    {
      hint:
        outcome === "halted"
          ? "somebody has to look: docs/resync.md, “What stops it”."
          : "mend what it names, then run the command again: it holds nothing, and begins with what is there.",
      details: { rungs, because },
    },
  );
}

/** What was asked about is the plan's way. One that replaces data, where that does not, is asked about when it comes to that. */
function asker(plan: ResyncPlan, { confirm }: ResyncChoice): (rung: Rung) => Promise<void> {
  let isMeant = replacesData(plan.rung);
  return async (rung) => {
    if (!isMeant) await confirm({ ...plan, rung });
    isMeant = true;
  };
}

/**
 * Follows the primary, waits until both sides say so, and gives up what was only kept for the case that they do not.
 * @returns the names of the replaced data that stay
 */
async function settle(
  { box, scene, server, following }: Opened,
  plan: ResyncPlan,
  signal: AbortSignal,
): Promise<readonly string[]> {
  const { store, name, context } = box;
  await followPrimary(server, following, { withinMs: STREAM_PATIENCE_MS, signal });
  await waitUntil(`${name} is in sync`, context.clock, { withinMs: STREAM_PATIENCE_MS, signal }, async () => {
    const { ok } = await lookInSync(server, following, parseLsn(plan.targetLsn));
    return ok ? true : null;
  });
  await confirmEpoch(box, scene);
  await using files = await server.site.open(signal);
  const left = await removeOldData(files, server);
  const { revision, value } = await store.get("box", name);
  if (value === null || value.state === "standby" || value.state === "leaving") return left;
  // Whoever wrote it meanwhile has looked too.
  await store.put("box", { ...value, state: "standby", at: formatUtc(context.clock.nowMs()) }, revision, name);
  return left;
}

function eventOf({ at, event, detail }: RecoveryEvent): ResyncReport["events"][number] {
  return { at: formatUtc(at), event, detail };
}
