import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { silentLog } from "../../../src/lib/kernel/log.ts";
import type { Epoch } from "../../../src/lib/recovery/epoch.ts";
import { RecoveryLog } from "../../../src/lib/recovery/recovery-log.ts";
import { Registry } from "../../../src/lib/recovery/registry.ts";
import type { Authority } from "../../../src/lib/recovery/sender.ts";
import type { SessionStep } from "../../../src/lib/recovery/session.ts";
import type { AssignmentResult, SessionKind } from "../../../src/lib/recovery/types.ts";
import { FakeClock } from "../../support/clock.ts";
import { property } from "../../support/property.ts";

const KINDS: readonly SessionKind[] = ["bootstrap", "catchup", "rebuild", "reassign"];
const REPLICAS = ["a", "b", "c"];

/** One replica as the reference knows it: no phases, only who may act and how far the session is. */
interface Known {
  stopped: boolean;
  version: number;
  session: { id: bigint; epoch: Epoch; kind: SessionKind; phase: number; active: boolean } | null;
}

/** What the registry has to agree with, written down without its code. */
interface Model {
  epoch: Epoch | null;
  ids: bigint;
  readonly replicas: Map<string, Known>;
}

/** The steps of a session that is no rebuild, in the one order in which they are allowed; and their range. */
const STEPS: readonly SessionStep[] = [
  { step: "connect" },
  { step: "handshake", range: { startLsn: 10n, targetLsn: 20n, truncateToLsn: null } },
  { step: "begin_catchup", budget: null, nowMs: 1 },
  { step: "progress", reachedLsn: 20n, nowMs: 2 },
  { step: "complete" },
];

class Assign implements fc.Command<Model, Registry> {
  readonly members: readonly string[];
  readonly targets: ReadonlyMap<string, SessionKind>;
  readonly bump: number;
  readonly uuid: number;
  readonly moved: string;

  constructor(
    members: readonly string[],
    targets: ReadonlyMap<string, SessionKind>,
    bump: number,
    uuid: number,
    moved: string,
  ) {
    this.members = members;
    this.targets = targets;
    this.bump = bump;
    this.uuid = uuid;
    this.moved = moved;
  }

  check(): boolean {
    return true;
  }

  run(model: Model, registry: Registry): void {
    const number = (model.epoch?.number ?? 1n) + BigInt(this.bump);
    const epoch = { number, uuid: `${number}-${this.uuid}` };
    if (model.epoch !== null && model.epoch.number === number && this.uuid === 0) epoch.uuid = model.epoch.uuid;
    const ids = new Map([...this.targets.keys()].map((id) => [id, (model.ids += 1n)]));
    const version = (id: string): number => (model.replicas.get(id)?.version ?? 0) + (id === this.moved ? 1 : 0);
    const replicas = this.members.map((replicaId) => ({
      replicaId,
      endpoint: { dataAddr: `${replicaId}:${version(replicaId)}`, ctrlAddr: "c", version: version(replicaId) },
    }));
    const result = registry.assign({ epoch, replicas, recoveryTargets: this.targets }, ids);
    if (
      model.epoch !== null &&
      (number < model.epoch.number || (number === model.epoch.number && epoch.uuid !== model.epoch.uuid))
    ) {
      expect(result).toMatchObject({ added: [], removed: [], sessionsCreated: [], sessionsSuperseded: [] });
      expect(result.sessionsFailed).toHaveLength(this.targets.size);
      return;
    }
    const isNewer = model.epoch === null || number > model.epoch.number;
    model.epoch = epoch;
    for (const [id, known] of model.replicas) {
      if (this.members.includes(id)) continue;
      known.stopped = true;
      if (known.session !== null) known.session.active = false;
    }
    for (const id of this.members) {
      const known = model.replicas.get(id);
      const isFresh = known === undefined || known.stopped;
      const hasMoved = id === this.moved;
      if (isFresh) model.replicas.set(id, { stopped: false, version: version(id), session: null });
      else if ((isNewer || hasMoved) && known.session !== null) known.session.active = false;
      const now = model.replicas.get(id);
      if (now !== undefined && hasMoved && !isFresh) now.version += 1;
    }
    for (const [id, kind] of this.targets) {
      const known = model.replicas.get(id);
      if (known === undefined || known.stopped) continue;
      known.session = { id: ids.get(id) ?? 0n, epoch, kind, phase: 0, active: true };
    }
  }

  toString(): string {
    return `assign(${this.members.join("")} ${[...this.targets.keys()].join("")} +${this.bump}/${this.uuid} ${this.moved})`;
  }
}

/** A call by somebody who may make it, or who may not; `at` is the step, or null for the one that is due. */
class Act implements fc.Command<Model, Registry> {
  readonly replicaId: string;
  readonly at: number | null;
  readonly idOff: number;
  readonly epochOff: number;

  constructor(replicaId: string, at: number | null, idOff: number, epochOff: number) {
    this.replicaId = replicaId;
    this.at = at;
    this.idOff = idOff;
    this.epochOff = epochOff;
  }

  check(model: Readonly<Model>): boolean {
    return model.epoch !== null;
  }

  run(model: Model, registry: Registry): void {
    const known = model.replicas.get(this.replicaId);
    const session = known?.session ?? null;
    const at = this.at ?? Math.min(session?.phase ?? 0, STEPS.length - 1);
    const step = STEPS[at];
    if (step === undefined || model.epoch === null) return;
    const authority: Authority = {
      replicaId: this.replicaId,
      sessionId: (session?.id ?? 1n) + BigInt(this.idOff),
      epoch: { ...model.epoch, number: model.epoch.number + BigInt(this.epochOff) },
    };
    const before = registry.sender(this.replicaId);
    const result = registry.act(authority, step);
    const isAllowed =
      session !== null && session.active && known?.stopped === false && this.idOff === 0 && this.epochOff === 0;
    const isInOrder = session !== null && (session.phase === at || (at === 3 && session.phase === 4));
    const isKind = session !== null && (session.kind !== "rebuild" || at < 2);
    expect(result.ok).toBe(isAllowed && isInOrder && isKind);
    if (!result.ok) expect(registry.sender(this.replicaId)).toEqual(before);
    if (result.ok && session !== null) {
      session.phase = at + 1;
      if (step.step === "complete") session.active = false;
    }
  }

  toString(): string {
    return `${this.at === null ? "next" : STEPS[this.at]?.step}(${this.replicaId} id${this.idOff} epoch${this.epochOff})`;
  }
}

const anyTargets = fc
  .array(fc.tuple(fc.constantFrom(...REPLICAS), fc.constantFrom(...KINDS)), { maxLength: 2 })
  .map((pairs) => new Map(pairs));
const anyAssign = fc
  .tuple(
    fc.subarray(REPLICAS, { minLength: 1 }),
    anyTargets,
    fc.constantFrom(0, 0, 0, 1, -1),
    fc.constantFrom(0, 0, 0, 1),
    fc.constantFrom("", "", ...REPLICAS),
  )
  .map(([members, targets, bump, uuid, moved]) => new Assign(members, targets, bump, uuid, moved));
const anyAct = fc
  .tuple(
    fc.constantFrom(...REPLICAS),
    fc.option(fc.nat({ max: STEPS.length - 1 }), { freq: 1 }),
    fc.constantFrom(0, 0, 0, 0, 0, 0, 0, 0, -1, 1),
    fc.constantFrom(0, 0, 0, 0, 0, 0, 0, 0, -1, 1),
  )
  .map(([id, at, idOff, epochOff]) => new Act(id, at, idOff, epochOff));

describe("senders and sessions", () => {
  test("who may act, and in which order, agrees with a model for all sequences of assignments and calls", () => {
    let taken = 0;
    fc.assert(
      fc.property(
        fc.commands([anyAssign, ...Array<typeof anyAct>(6).fill(anyAct)], { maxCommands: 60, size: "max" }),
        (commands) => {
          const registry = new Registry(new RecoveryLog(new FakeClock(), silentLog));
          const model: Model = { epoch: null, ids: 0n, replicas: new Map() };
          fc.modelRun(() => ({ model, real: registry }), commands);
          for (const [id, known] of model.replicas) {
            const sender = registry.sender(id);
            expect(sender?.stopped).toBe(known.stopped);
            const isActive = registry.activeSessions().includes(known.session?.id ?? 0n);
            expect(isActive).toBe(known.session?.active ?? false);
            if (known.session?.phase === STEPS.length) taken += 1;
          }
        },
      ),
      property(300),
    );
    // Sequences that complete nothing prove little.
    expect(taken).toBeGreaterThan(0);
  });
});

describe("what the registry keeps of a replica", () => {
  const ONE = { number: 1n, uuid: "one" };
  const TWO = { number: 2n, uuid: "two" };
  const HERE = { dataAddr: "here", ctrlAddr: "c", version: 3 };
  let ids = 0n;

  function assign(
    registry: Registry,
    told: { epoch?: Epoch; endpoint?: typeof HERE; kind?: SessionKind; members?: readonly string[] } = {},
  ): AssignmentResult {
    const { epoch = ONE, endpoint = HERE, kind, members = ["a"] } = told;
    ids += 1n;
    return registry.assign(
      {
        epoch,
        replicas: members.map((replicaId) => ({ replicaId, endpoint })),
        recoveryTargets: new Map(kind === undefined ? [] : [["a", kind]]),
      },
      new Map([["a", ids]]),
    );
  }

  function rig(kind?: SessionKind): { registry: Registry; log: RecoveryLog; authority: Authority } {
    const log = new RecoveryLog(new FakeClock(), silentLog);
    const registry = new Registry(log);
    assign(registry, kind === undefined ? {} : { kind });
    return { registry, log, authority: { replicaId: "a", sessionId: ids, epoch: ONE } };
  }

  function complete(registry: Registry, authority: Authority): void {
    const range = { startLsn: 20n, targetLsn: 20n, truncateToLsn: null };
    for (const step of [{ step: "connect" }, { step: "handshake", range }, { step: "complete" }] as const) {
      expect(registry.act(authority, step).ok).toBe(true);
    }
  }

  test("the signal of a session is given when it ends, and forgotten when it is over", () => {
    const { registry, authority } = rig("catchup");
    complete(registry, authority);
    expect(registry.signalOf(authority.sessionId)).toBeNull();
    assign(registry, { kind: "catchup" });
    const signal = registry.signalOf(ids);
    assign(registry, { kind: "catchup" });
    expect(signal?.reason).toMatchObject({ message: "superseded" });
    expect(registry.signalOf(ids - 1n)).toBeNull();
  });

  test("a second session is not begun beside one, and that is in the log", () => {
    const { registry, log } = rig("catchup");
    expect(registry.open("a", "catchup", ids + 1n)).toMatchObject({ refusal: { code: "session_active" } });
    expect(registry.open("nobody", "catchup", ids + 1n)).toMatchObject({ refusal: { code: "unknown_replica" } });
    const refused = log.events().filter(({ event }) => event === "session_refused");
    expect(refused.map(({ detail }) => detail.split(":")[0])).toEqual(["session_active", "unknown_replica"]);
  });

  test("what broke off in its data outlives epochs, addresses, and its time outside the federation", () => {
    const { registry, authority } = rig("rebuild");
    registry.rewrite(authority, "rewind");
    assign(registry, { epoch: TWO });
    const broken = { state: "needs_rebuild", floor: { rung: "snapshot_tail" } };
    expect(registry.sender("a")).toMatchObject(broken);
    assign(registry, { epoch: TWO, endpoint: { ...HERE, version: 4 } });
    expect(registry.sender("a")).toMatchObject(broken);
    assign(registry, { epoch: { number: 3n, uuid: "three" } });
    expect(registry.sender("a")).toMatchObject(broken);
    assign(registry, { epoch: { number: 3n, uuid: "three" }, members: [] });
    assign(registry, { epoch: { number: 3n, uuid: "three" } });
    expect(registry.sender("a")?.floor?.rung).toBe("snapshot_tail");
    expect(registry.open("a", "catchup", authority.sessionId)).toMatchObject({
      refusal: { code: "session_id_not_growing" },
    });
  });

  test("one that is gone is gone once, takes no session, and counts for nothing", () => {
    const { registry, authority } = rig("catchup");
    complete(registry, authority);
    expect(registry.status().inSync).toBe(1);
    expect(assign(registry, { members: [] }).removed).toEqual(["a"]);
    expect(assign(registry, { members: [], kind: "catchup" })).toMatchObject({
      removed: [],
      sessionsFailed: [{ replicaId: "a", because: expect.stringContaining("sender_stopped") }],
    });
    expect(registry.status()).toMatchObject({ inSync: 0, senders: [{ stopped: true }] });
  });

  test.each([
    ["another address", { ...HERE, dataAddr: "there", version: 4 }, true],
    ["another address under the same version", { ...HERE, ctrlAddr: "d" }, true],
    ["another version", { ...HERE, version: 4 }, true],
    ["the same", HERE, false],
    ["an older one", { ...HERE, dataAddr: "there", version: 2 }, false],
  ])("%s ends its session only where it did change", (_what, endpoint, isChanged) => {
    const { registry, log, authority } = rig("catchup");
    assign(registry, { endpoint });
    expect(registry.check(authority).ok).toBe(!isChanged);
    expect(registry.sender("a")?.endpoint).toEqual(isChanged ? endpoint : HERE);
    const said = log.events().filter(({ event }) => event === "endpoint_changed" || event === "session_invalidated");
    expect(said).toHaveLength(isChanged ? 2 : 0);
  });
});
