import {
  type ProofReason,
  type RecoveryEvent,
  type RecoveryEventName,
  type ReplicaId,
  RUNGS,
} from "../../../src/lib/recovery/types.ts";
import type { RecoveryPlan } from "../../../src/lib/recovery/plan.ts";
import type { Ground } from "./adapters.ts";
import { Violation } from "./violation.ts";

/** What has to hold after every step. */
export function checkInvariants({ world, engine, report }: Ground): void {
  const live = world.pins.size === 0 ? new Set() : engine().liveSessions();
  for (const { name, sessionId, excused } of world.pins.values()) {
    if (!excused && !live.has(sessionId)) report(new Violation("pin leaked", name));
  }
  for (const id of world.replicas.keys()) checkInSync({ world, engine, report }, id);
}

type InSyncGround = Pick<Ground, "world" | "engine" | "report">;

function checkInSync({ world, engine, report }: InSyncGround, id: ReplicaId): void {
  const sender = engine().sender(id);
  if (sender === null || sender.stopped || sender.state !== "in_sync") return;
  const replica = world.replica(id);
  const complain = (detail: string): void => report(new Violation("in sync and different", `${id}: ${detail}`));
  if (replica.corrupt) complain("its data are not what its log says");
  if (world.commonPrefix(replica) < replica.log.length) complain("its log is not the primary's");
  if (sender.floor !== null) complain(`its floor is ${sender.floor.rung}`);
  const { session } = sender;
  if (session === null || session.phase !== "completed") {
    complain("no session has completed");
    return;
  }
  const committed = world.committedAt(session.id);
  if (replica.log.length < committed) complain(`at ${replica.log.length}, committed before were ${committed}`);
  if (BigInt(replica.log.length) < session.targetLsn) complain(`at ${replica.log.length} of ${session.targetLsn}`);
  if (session.recoveredTo > BigInt(replica.log.length)) complain(`recorded ${session.recoveredTo}`);
  if (session.recoveredTo === 0n || session.targetLsn === 0n) complain("nothing was committed");
}

/** Nobody changes a plan once it is made. */
export function checkPlan({ report }: Ground, plan: RecoveryPlan): void {
  if (!Object.isFrozen(plan)) report(new Violation("plan can be changed", plan.rung));
}

/** With which proof a plan may be made that is no rebuild. */
const PROOFS: Readonly<Partial<Record<RecoveryEventName, ProofReason>>> = {
  plan_zero_gap: "zero_gap",
  plan_catchup: "gap_within_retention",
  plan_truncate_only: "replica_ahead_needs_truncation",
  plan_halt: "epoch_above_arbiter",
};

/**
 * What the log of an engine has to tell of each session that holds nothing any more: its beginning and one end, every
 * decision with its proof and what speaks against each cheaper rung, one release, and of all of it the cause.
 */
export function checkLog({ engine, report }: Ground): void {
  const live = engine().liveSessions();
  const bySession = Map.groupBy(engine().log.events(), ({ sessionId }) => sessionId);
  for (const [id, events] of bySession) {
    if (id === null || live.has(id)) continue;
    const complain = (detail: string): void => report(new Violation("log is torn", `session ${id}: ${detail}`));
    const count = (...names: readonly string[]): number => events.filter(({ event }) => names.includes(event)).length;
    if (events.some(({ detail }) => detail === "")) complain("an event without its cause");
    if (count("session_created", "session_superseded") !== 1) complain("it has not one beginning");
    const ends = count("session_invalidated", "exec_completed", "plan_zero_gap");
    if (ends !== 1) complain(`it has ${ends} ends`);
    const held = count("pin_acquired") > 0 || count("exec_started") > 0 || count("plan_truncate_only") > 0;
    if (held && count("exec_resources_released") !== 1) complain("what it held was not released once");
    checkDecision(events, complain);
  }
}

function checkDecision(events: readonly RecoveryEvent[], complain: (detail: string) => void): void {
  const plans = events.filter(({ event }) => event.startsWith("plan_") && event !== "plan_cancelled");
  const refused = events.flatMap(({ event, detail }) => (event === "rung_refused" ? [detail.split(":")[0]] : []));
  if (plans.length > 1) complain("it was decided twice");
  const [plan] = plans;
  if (plan === undefined) {
    if (events.some(({ event }) => event === "exec_started")) complain("carried out without a plan");
    return;
  }
  if (events.every(({ event }) => event !== "handshake")) complain("decided without a proof");
  const proof = PROOFS[plan.event];
  if (proof !== undefined && plan.detail.split(":")[0] !== proof) complain(`${plan.event} by ${plan.detail}`);
  const rung = RUNGS.findIndex((name) => plan.event === `plan_${name}`);
  // A plan that a rebuild is needed does not say which: one above those that keep the data.
  const cheaper = RUNGS.slice(0, rung === -1 ? Math.max(refused.length, RUNGS.indexOf("rewind")) : rung);
  if (refused.join() !== cheaper.join()) complain(`${plan.event} after a word about ${refused.join()} alone`);
}
