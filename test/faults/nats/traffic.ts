import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { isFulaError } from "../../../src/lib/kernel/errors.ts";
import type { Authorization } from "../../../src/lib/membership/records.ts";
import type { MembershipStore } from "../../../src/lib/membership/store.ts";
import { operatorOf, poolOf } from "./stores.ts";

const PAUSE_MS = 20;

/** One question of `Asker`, in monotonic milliseconds. */
export interface Answer {
  readonly askedMs: number;
  readonly tookMs: number;
  readonly answer: Authorization;
}

/** Does something again and again until it is disposed of. */
abstract class Loop implements AsyncDisposable {
  readonly #ended = new AbortController();
  #done: Promise<void> | null = null;

  protected abstract once(): Promise<void>;

  start(): this {
    this.#done = this.#run();
    return this;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#ended.abort();
    await this.#done;
  }

  async #run(): Promise<void> {
    while (!this.#ended.signal.aborted) {
      await this.once();
      await systemClock.sleep(PAUSE_MS);
    }
  }
}

/** A client that asks whether somebody may act, without a pause. */
export class Asker extends Loop {
  readonly answers: Answer[] = [];
  readonly #store: MembershipStore;
  readonly #id: string;

  constructor(store: MembershipStore, id: string) {
    super();
    this.#store = store;
    this.#id = id;
  }

  /** Of those asked since then. */
  allowedSince(ms: number): readonly Answer[] {
    return this.answers.filter(({ askedMs, answer }) => askedMs >= ms && answer.allowed);
  }

  protected override async once(): Promise<void> {
    const askedMs = systemClock.monotonicMs();
    const answer = await this.#store.isAuthorized(this.#id, "operator");
    this.answers.push({ askedMs, tookMs: systemClock.monotonicMs() - askedMs, answer });
  }
}

/** What a writer adds: operators are one record, which every write changes; pools are one each. */
export type Written = "operators" | "pools";

/** A client that adds one record after the other. */
export class Writer extends Loop {
  /** Ids whose writes were acknowledged, with when. */
  readonly acknowledged: { readonly id: string; readonly atMs: number }[] = [];
  /** What was said of writes that were not, other than that nobody answered in time. */
  readonly surprises: unknown[] = [];
  /** When writes were refused, and how long that took. */
  readonly refusals: { readonly atMs: number; readonly tookMs: number }[] = [];
  readonly #store: MembershipStore;
  readonly #written: Written;
  #next: number;

  constructor(store: MembershipStore, first: number, written: Written = "operators") {
    super();
    this.#store = store;
    this.#written = written;
    this.#next = first;
  }

  get ids(): readonly string[] {
    return this.acknowledged.map(({ id }) => id);
  }

  /** True once a write that was begun since then was acknowledged. */
  hasWrittenSince(ms: number): boolean {
    return (this.acknowledged.at(-1)?.atMs ?? 0) > ms;
  }

  protected override async once(): Promise<void> {
    const startedMs = systemClock.monotonicMs();
    const number = this.#next;
    this.#next += 1;
    try {
      const id = await this.#write(number);
      this.acknowledged.push({ id, atMs: startedMs });
    } catch (error) {
      const atMs = systemClock.monotonicMs();
      this.refusals.push({ atMs, tookMs: atMs - startedMs });
      if (!isFulaError(error, "FULA_CONTROL_PLANE_UNREACHABLE")) this.surprises.push(error);
    }
  }

  async #write(number: number): Promise<string> {
    if (this.#written === "pools") {
      const pool = poolOf(number);
      await this.#store.createPool(pool);
      return pool.id;
    }
    const operator = operatorOf(number);
    await this.#store.addOperator(operator);
    return operator.id;
  }
}
