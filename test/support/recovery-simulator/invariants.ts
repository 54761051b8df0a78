import { RUNGS, type ReplicaId } from "../../../src/lib/recovery/types.ts";
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
  const { session } = sender;
  if (session === null || session.phase !== "completed") return;
  if (BigInt(replica.log.length) < session.targetLsn) complain(`at ${replica.log.length} of ${session.targetLsn}`);
  if (session.recoveredTo > BigInt(replica.log.length)) complain(`recorded ${session.recoveredTo}`);
  if (session.recoveredTo === 0n || session.targetLsn === 0n) complain("nothing was committed");
}

/** Every plan has its proof, and says of each cheaper rung why it was refused. */
export function checkPlan({ report }: Ground, plan: RecoveryPlan): void {
  const cheaper = RUNGS.slice(0, RUNGS.indexOf(plan.rung));
  const said = plan.refused.filter(({ because }) => because !== "").map(({ rung }) => rung);
  if (said.join() !== cheaper.join()) report(new Violation("undecided rung", `${plan.rung}: ${said.join()}`));
  if (plan.proof.reason === "") report(new Violation("no proof", plan.rung));
  if (!Object.isFrozen(plan)) report(new Violation("plan can be changed", plan.rung));
}

/** What the log of a whole schedule has to tell: each session's beginning and one end, each hold's release and its cause. */
export function checkLog({ engine, report }: Ground): void {
  const bySession = Map.groupBy(
    engine()
      .log.events()
      .filter(({ sessionId }) => sessionId !== null),
    ({ sessionId }) => sessionId,
  );
  for (const [id, events] of bySession) {
    const count = (...names: readonly string[]): number => events.filter(({ event }) => names.includes(event)).length;
    const complain = (detail: string): void => report(new Violation("log is torn", `session ${id}: ${detail}`));
    if (events.some(({ detail }) => detail === "")) complain("an event without its cause");
    if (count("session_created", "session_superseded") !== 1) complain("it has not one beginning");
    const ends = count("session_invalidated", "exec_completed", "plan_zero_gap");
    if (ends !== 1) complain(`it has ${ends} ends`);
    const held = count("pin_acquired") > 0 || count("exec_started") > 0 || count("plan_truncate_only") > 0;
    if (held && count("exec_resources_released") !== 1) complain("what it held was not released once");
  }
}
