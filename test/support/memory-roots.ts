import { isAsExpected } from "../../src/lib/buckets/roots/expectation.ts";
import type {
  BucketName,
  BucketState,
  Move,
  MoveOutcome,
  RootPointerStore,
} from "../../src/lib/buckets/roots/root-pointer.ts";
import type { Clock } from "../../src/lib/kernel/clock.ts";
import { systemClock } from "../../src/lib/kernel/clock.ts";

/** A commit, as `bucket_commits` has it. */
export interface MemoryCommit extends BucketName {
  readonly version: bigint;
  /** Null where the bucket was deleted. */
  readonly root: string | null;
  readonly commitId: string;
}

interface Row {
  readonly version: bigint;
  /** Null for a tombstone. */
  readonly state: BucketState | null;
}

function keyOf({ ownerId, bucket }: BucketName): string {
  return `${ownerId}/${bucket}`;
}

/** An arbiter in memory: what is proved of the one in PostgreSQL holds of this one too. */
export class MemoryRoots implements RootPointerStore {
  readonly commits: MemoryCommit[] = [];
  /** The collector's queue: CID → when it was put there. */
  readonly garbage = new Map<string, number>();
  readonly #rows = new Map<string, Row>();
  readonly #clock: Clock;

  constructor(clock: Clock = systemClock) {
    this.#clock = clock;
  }

  async get(name: BucketName): Promise<BucketState | null> {
    return await Promise.resolve(this.#rows.get(keyOf(name))?.state ?? null);
  }

  async getMany(names: readonly BucketName[]): Promise<readonly (BucketState | null)[]> {
    return await Promise.resolve(names.map((name) => this.#rows.get(keyOf(name))?.state ?? null));
  }

  async list(ownerId: string): Promise<readonly BucketState[]> {
    const states = [...this.#rows.values()].flatMap(({ state }) => (state?.ownerId === ownerId ? [state] : []));
    return await Promise.resolve(
      states.toSorted((a, b) => Buffer.compare(Buffer.from(a.bucket), Buffer.from(b.bucket))),
    );
  }

  async cas(name: BucketName, move: Move): Promise<MoveOutcome> {
    const row = this.#rows.get(keyOf(name));
    if (!isAsExpected(row?.state ?? null, move)) {
      return await Promise.resolve({ kind: "conflict", current: row?.state ?? null, version: row?.version ?? null });
    }
    const nowMs = this.#clock.nowMs();
    if (move.deadlineMs !== null && nowMs > move.deadlineMs) return { kind: "late", nowMs };
    const version = (row?.version ?? 0n) + 1n;
    const state = this.#next(name, move, row, version);
    this.#rows.set(keyOf(name), { version, state });
    const { ownerId, bucket } = name;
    this.commits.push({ ownerId, bucket, version, root: state?.root.toString() ?? null, commitId: move.commitId });
    for (const cid of move.garbage) this.garbage.set(cid, this.#clock.nowMs());
    for (const cid of move.claims) this.garbage.delete(cid);
    return { kind: "won", version };
  }

  async announce(cids: readonly string[]): Promise<number | null> {
    const nowMs = this.#clock.nowMs();
    for (const cid of cids) this.garbage.set(cid, nowMs);
    return await Promise.resolve(cids.length === 0 ? null : nowMs);
  }

  async claim(name: BucketName, userId: string): Promise<void> {
    const row = this.#rows.get(keyOf(name));
    if (row === undefined || row.state === null) return;
    this.#rows.set(keyOf(name), { ...row, state: { ...row.state, userId: row.state.userId ?? userId } });
    await Promise.resolve();
  }

  #next({ ownerId, bucket }: BucketName, { next }: Move, row: Row | undefined, version: bigint): BucketState | null {
    if (next.kind === "deleted") return null;
    const nowMs = this.#clock.nowMs();
    const before = row?.state ?? null;
    return {
      ownerId,
      bucket,
      ...next.content,
      version,
      userId: before === null ? next.userId : before.userId,
      createdAtMs: before?.createdAtMs ?? nowMs,
      movedAtMs: nowMs,
    };
  }
}
