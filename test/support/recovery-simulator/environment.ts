import type {
  AssignmentIntent,
  AssignmentResult,
  ReplicaId,
  SessionId,
  SessionKind,
} from "../../../src/lib/recovery/types.ts";
import type { Ground } from "./adapters.ts";
import type { Entry, SimReplica } from "./world.ts";

const KINDS: readonly SessionKind[] = ["bootstrap", "catchup", "rebuild", "reassign"];

/** What the surroundings may do to a simulation, and what it takes from them. */
export interface Surroundings {
  readonly ground: Ground;
  /** Goes on with something that takes a while. */
  readonly start: (task: () => Promise<unknown>) => void;
  /** Is told of sessions that were assigned, so that somebody works on them. */
  readonly onAssigned: (result: AssignmentResult, intent: AssignmentIntent) => void;
  /** The engine's process dies, and another one begins. */
  readonly crash: () => void;
  /** Who gave an order takes it back. */
  readonly cancelOne: () => void;
}

/** Writes, retention, backups, addresses, failovers, crashes: all that goes on while replicas are brought back. */
export class Environment {
  readonly #around: Surroundings;
  readonly #versions = new Map<ReplicaId, number>();
  readonly #members = new Set<ReplicaId>(["a", "b", "c"]);
  #older: AssignmentIntent | null = null;

  constructor(around: Surroundings) {
    this.#around = around;
  }

  /** One thing happens. */
  happen(): void {
    const { ground, crash, cancelOne } = this.#around;
    const { world } = ground;
    const { random } = world;
    const events: readonly (readonly [number, string, () => void])[] = [
      [6, "write", () => world.write(1 + random.int(5))],
      [6, "commit", () => this.#commit()],
      [6, "retain", () => this.#retain()],
      [5, "backup", () => this.backup()],
      [1, "expire", () => this.#expire()],
      [4, "time", () => void (world.nowMs += random.int(200))],
      [3, "assign", () => this.assign(random.int(3) > 0)],
      [2, "address", () => this.#address()],
      [2, "failover", () => this.#failover()],
      [1, "reaffirm", () => this.#reaffirm()],
      [1, "member", () => this.#member()],
      [1, "stale", () => this.#stale()],
      [1, "cancel", cancelOne],
      [world.traits.hasMarkers ? 1 : 0, "crash", crash],
    ];
    let at = random.int(events.reduce((sum, [weight]) => sum + weight, 0));
    for (const [weight, name, act] of events) {
      at -= weight;
      if (at >= 0) continue;
      ground.trace(() => `event ${name}`);
      act();
      return;
    }
  }

  /** Tells the engine who is replicated to; with targets, who is to come back by which kind of session. */
  assign(withTargets: boolean): void {
    const { world } = this.#around.ground;
    const { random } = world;
    const targets = [...this.#members].filter(() => withTargets && random.int(2) === 0);
    this.#tell({
      epoch: { ...world.epoch },
      replicas: [...this.#members].map((replicaId) => ({ replicaId, endpoint: this.#endpoint(replicaId) })),
      recoveryTargets: new Map(targets.map((id) => [id, KINDS[random.int(KINDS.length)] ?? "catchup"])),
    });
  }

  /** The end of the schedule: everybody is a member again, and what anybody began is over. */
  settle(): void {
    const { world } = this.#around.ground;
    for (const id of world.replicas.keys()) this.#members.add(id);
    world.beginEpoch(world.lineage.at(-1)?.timeline ?? 1);
    world.committed = world.history.length;
    this.assign(false);
  }

  #tell(intent: AssignmentIntent): void {
    const { ground, start, onAssigned } = this.#around;
    if (ground.world.random.int(3) === 0) this.#older = intent;
    const ids = new Map<ReplicaId, SessionId>(
      [...intent.recoveryTargets.keys()].map((id) => [id, ground.world.newSessionId()]),
    );
    // Changes at once what is to change, and lets go of idle plans in the steps that follow.
    start(async () => onAssigned(await ground.engine().assign(intent, ids), intent));
  }

  #commit(): void {
    const { world } = this.#around.ground;
    world.committed += world.random.int(world.history.length - world.committed + 1);
  }

  #retain(): void {
    const { world } = this.#around.ground;
    const upTo = Math.min(world.pinnedTail(), world.committed);
    if (upTo > world.tail) world.tail += world.random.int(upTo - world.tail + 1);
  }

  /** The primary has a new backup, good or not, and says whether it is to be trusted. */
  backup(): void {
    const { world } = this.#around.ground;
    const { random } = world;
    const lsn = 1 + random.int(world.history.length);
    const trusted = random.int(3) > 0;
    world.newestCheckpoint = lsn;
    if (world.checkpoints.has(lsn)) return;
    const corrupt = !trusted && random.int(3) > 0;
    world.checkpoints.set(lsn, { lsn, trusted, corrupt, entries: world.history.slice(0, lsn) });
  }

  #expire(): void {
    const { world } = this.#around.ground;
    const pinned = new Set([...world.pins.values()].filter(({ kind }) => kind === "snapshot").map(({ lsn }) => lsn));
    for (const lsn of world.checkpoints.keys()) if (!pinned.has(lsn)) world.checkpoints.delete(lsn);
    if (world.newestCheckpoint !== null && !world.checkpoints.has(world.newestCheckpoint))
      world.newestCheckpoint = null;
  }

  #address(): void {
    const id = this.#anyone();
    this.#versions.set(id, (this.#versions.get(id) ?? 0) + 1);
    this.assign(false);
  }

  /** A new primary begins at a fork that keeps what is committed; who took more of the old history is ahead of it. */
  #failover(): void {
    const { world } = this.#around.ground;
    const { random } = world;
    const old = world.history;
    const fork = world.committed + random.int(old.length - world.committed + 1);
    world.history = old.slice(0, Math.max(fork, 1));
    const timeline = (world.lineage.at(-1)?.timeline ?? 1) + 1;
    const lineage = new Set(world.history.map(({ stretch }) => stretch));
    world.lineage = world.lineage.filter((stretch) => lineage.has(stretch));
    world.tail = Math.min(world.tail, fork);
    world.beginEpoch(timeline);
    for (const [lsn, checkpoint] of world.checkpoints) {
      const isOurs = checkpoint.entries.every((entry, index) => world.history[index] === entry);
      world.checkpoints.set(lsn, { ...checkpoint, trusted: checkpoint.trusted && isOurs });
    }
    for (const replica of world.replicas.values()) this.#overtaken(replica, old, fork, timeline);
    this.assign(random.int(2) === 0);
  }

  #overtaken(replica: SimReplica, old: readonly Entry[], fork: number, timeline: number): void {
    const { random, epoch } = this.#around.ground.world;
    if (replica.corrupt || replica.marker !== null || replica.busy !== null) return;
    const isUpToOld = replica.log.every((entry, index) => old[index] === entry);
    if (!isUpToOld) return;
    switch (random.int(6)) {
      case 0:
        // The old primary, which all of it has and had applied.
        replica.log = [...old];
        replica.applied = old.length;
        return;
      case 1: {
        // A second promotion in the same moment: the same number, the same timeline, another UUID.
        const stretch = {
          epoch: { ...epoch, uuid: `twin-${random.int(1_000_000)}` },
          timeline,
          beganAtLsn: BigInt(fork),
        };
        replica.log = [...old.slice(0, fork), ...Array.from({ length: 1 + random.int(4) }, () => ({ stretch }))];
        replica.applied = replica.log.length;
        return;
      }
      case 2:
      case 3:
        // It had received more than it had applied.
        replica.log = old.slice(0, Math.max(replica.log.length, fork + random.int(old.length - fork + 1)));
        return;
      default:
    }
  }

  #reaffirm(): void {
    const { world } = this.#around.ground;
    world.beginEpoch(world.lineage.at(-1)?.timeline ?? 1);
    this.assign(false);
  }

  #member(): void {
    const id = this.#anyone();
    if (!this.#members.delete(id)) this.#members.add(id);
    this.assign(false);
  }

  /** An intent that was on its way for long. */
  #stale(): void {
    if (this.#older !== null) this.#tell(this.#older);
  }

  #anyone(): ReplicaId {
    const { world } = this.#around.ground;
    return [...world.replicas.keys()][world.random.int(world.replicas.size)] ?? "a";
  }

  #endpoint(replicaId: ReplicaId): { dataAddr: string; ctrlAddr: string; version: number } {
    const version = this.#versions.get(replicaId) ?? 0;
    return { dataAddr: `${replicaId}${version}:5432`, ctrlAddr: `${replicaId}${version}:9`, version };
  }
}
