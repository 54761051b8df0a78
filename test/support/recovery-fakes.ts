import { silentLog } from "../../src/lib/kernel/log.ts";
import type { CatchUpIO, Pin, RebuildIO, ReplicaProbe, StorageAdapter } from "../../src/lib/recovery/adapters.ts";
import { RecoveryEngine } from "../../src/lib/recovery/engine.ts";
import type { Epoch } from "../../src/lib/recovery/epoch.ts";
import type { Lsn } from "../../src/lib/recovery/lsn.ts";
import { type PinKind, pinName } from "../../src/lib/recovery/pins.ts";
import type { CatchUpPlan, RebuildPlan } from "../../src/lib/recovery/plan.ts";
import type { PlanEdge } from "../../src/lib/recovery/planner.ts";
import { RecoveryLog } from "../../src/lib/recovery/recovery-log.ts";
import type { Authority } from "../../src/lib/recovery/sender.ts";
import type {
  AssignmentIntent,
  CatchUpBudget,
  Handshake,
  RetainedHistory,
  SessionId,
  SessionKind,
} from "../../src/lib/recovery/types.ts";
import { FakeClock } from "./clock.ts";
import { aHandshake, aHistory } from "./recovery-facts.ts";

const NO_LIMITS: CatchUpBudget = { maxDurationMs: 0, maxEntries: 0n, progressDeadlineMs: 0 };
export const EPOCH: Epoch = { number: 1n, uuid: "one" };

/** What a test hands to the engine; each field may be changed before a call. */
export class RecoveryBench {
  readonly clock = new FakeClock();
  readonly log = new RecoveryLog(this.clock, silentLog);
  readonly engine = new RecoveryEngine(this.clock, this.log);
  /** Pins in force, and why each of the others was let go. */
  readonly pins = new Set<string>();
  readonly released: string[] = [];
  handshake: Handshake = aHandshake();
  /** What the primary says of itself, in turn; the last one again and again. */
  histories: (RetainedHistory | null)[] = [aHistory()];
  budget: CatchUpBudget = NO_LIMITS;
  onPin: (name: string) => Promise<void> = async () => {};
  #sessions = 0n;

  readonly storage: StorageAdapter = {
    getRetainedHistory: async () => (this.histories.length > 1 ? this.histories.shift() : this.histories[0]) ?? null,
    pinWal: (_start, id) => this.#pin(id, "wal"),
    pinSnapshot: (_lsn, id) => this.#pin(id, "snapshot"),
    pinFullBase: (_lsn, id) => this.#pin(id, "base"),
  };

  readonly probe: ReplicaProbe = { handshake: async () => this.handshake };

  get edge(): PlanEdge {
    return { storage: this.storage, probe: this.probe, budget: this.budget };
  }

  newSessionId(): SessionId {
    this.#sessions += 1n;
    return this.#sessions;
  }

  /** Assigns the replica `r`, with a session of that kind where one is named. */
  async assign(
    told: { readonly kind?: SessionKind; readonly epoch?: Epoch; readonly port?: number } = {},
  ): Promise<void> {
    const { kind, epoch = EPOCH, port = 5_432 } = told;
    const intent: AssignmentIntent = {
      epoch,
      replicas: [{ replicaId: "r", endpoint: { dataAddr: `r:${port}`, ctrlAddr: "r:9", version: port } }],
      recoveryTargets: new Map(kind === undefined ? [] : [["r", kind]]),
    };
    await this.engine.assign(intent, new Map([["r", this.newSessionId()]]));
  }

  /** Begins a session of that kind. */
  async session(kind: SessionKind): Promise<Authority> {
    await this.assign({ kind });
    const authority = this.engine.authorityOf("r");
    if (!authority.ok) throw new Error(authority.refusal.detail);
    return authority.value;
  }

  /** Plans to catch up; whatever else comes of it is an error. */
  async catchUpPlan(): Promise<CatchUpPlan> {
    const plan = await this.engine.planRecovery(await this.session("catchup"), this.edge);
    if (!plan.ok || plan.value.outcome !== "catchup")
      throw new Error(`No catch-up: ${plan.ok ? plan.value.outcome : plan.refusal.detail}`);
    return plan.value;
  }

  /** Plans to rebuild; whatever else comes of it is an error. */
  async rebuildPlan(): Promise<RebuildPlan> {
    const plan = await this.engine.planRebuild(await this.session("rebuild"), this.edge);
    if (!plan.ok || plan.value.outcome !== "rebuild")
      throw new Error(`No rebuild: ${plan.ok ? plan.value.outcome : plan.refusal.detail}`);
    return plan.value;
  }

  /** The events of the log by name, with their details. */
  details(event: string): readonly string[] {
    return this.log
      .events()
      .filter((entry) => entry.event === event)
      .map(({ detail }) => detail);
  }

  async #pin(sessionId: SessionId, kind: PinKind): Promise<Pin> {
    const name = pinName(sessionId, kind);
    await this.onPin(name);
    this.pins.add(name);
    const release = async (reason: string): Promise<void> => {
      this.pins.delete(name);
      this.released.push(`${name}: ${reason}`);
    };
    return { name, release, [Symbol.asyncDispose]: () => release("disposed") };
  }
}

/** A replica that reaches these positions in turn; `each` is called before every one. */
export function chunks(
  reached: readonly Lsn[],
  each: (lsn: Lsn) => void | Promise<void> = () => {},
): CatchUpIO["streamWal"] {
  return async function* streamWal() {
    for (const lsn of reached) {
      await each(lsn);
      yield lsn;
    }
  };
}

/** A replica on which everything works and ends where it was asked to; but for what is told. */
export function anIo(told: Partial<CatchUpIO & RebuildIO> = {}): CatchUpIO & RebuildIO {
  return {
    async *streamWal(_start, end) {
      yield end;
    },
    truncate: async () => {},
    rewind: async (from) => from,
    transferSnapshot: async (lsn) => lsn,
    transferFullBase: async (lsn) => lsn,
    ...told,
  };
}
