import { assert } from "../../kernel/assert.ts";
import type { Clock } from "../../kernel/clock.ts";
import { coalesce } from "../../kernel/coalesce.ts";
import { FulaError, messageOf } from "../../kernel/errors.ts";
import type { Random } from "../../kernel/random.ts";
import { normalOperatorId } from "../record-checks.ts";
import type { Authorization, Operator, OperatorRole } from "../records.ts";
import { membershipRaced } from "../refusals.ts";
import { denied, isActiveAdmin, judge } from "../rules.ts";
import { type Budget, controlPlaneSilent } from "./budget.ts";
import type { Bucket } from "./bucket.ts";
import { keys } from "./buckets.ts";

/** The operators as they stand, and the revision of the one record that they are. */
interface Table {
  readonly operators: readonly Operator[];
  readonly revision: number;
}

interface Confirmation {
  readonly revision: number;
  /** When it was asked for, by the clock that does not jump: what it says was true at that time or later. */
  readonly askedMs: number;
  /** The same by the wall clock. */
  readonly askedAtMs: number;
}

interface Question {
  readonly budget: Budget;
  table: Table | null;
}

/** What is asked of the bucket that they lie in. */
type OperatorsBucket = Pick<Bucket<"operators">, "get" | "put" | "publish" | "subject">;

const TOGETHER_MAX = 10_000;
const ATTEMPTS = 50;
const PAUSE_MS_MAX = 20;

/**
 * Who may act. All operators are one record, so that "not the last admin" is one swap, and one revision says which state
 * an answer rests on.
 *
 * A server that leads a stream answers reads for many seconds after it lost the others, and may have missed a
 * revocation. So an allow needs more than an answer: a write of a second key, the stamp, on the condition that the
 * operators are still of the revision that was read. It is acknowledged by the quorum or not at all. For `maxAgeMs` from
 * when it was sent, it vouches for that revision and no other.
 */
export class Operators {
  readonly #bucket: OperatorsBucket;
  readonly #deps: { readonly clock: Clock; readonly random: Random; readonly maxAgeMs: number };
  /** Whoever asks while a reading is under way goes with the next one, never with one that began before he asked. */
  readonly #readTogether: (questions: readonly Question[]) => Promise<void>;
  #confirmed: Confirmation | null = null;
  #confirming: { readonly revision: number; readonly done: Promise<boolean> } | null = null;

  constructor(
    bucket: OperatorsBucket,
    deps: { readonly clock: Clock; readonly random: Random; readonly maxAgeMs: number },
  ) {
    this.#bucket = bucket;
    this.#deps = deps;
    this.#readTogether = coalesce<Question>({ batchMax: TOGETHER_MAX }, async (questions) => {
      const latest = questions.at(-1);
      if (latest === undefined) return;
      const { value, revision } = await this.#bucket.get(latest.budget, keys.operators);
      for (const question of questions) question.table = { operators: value?.operators ?? [], revision };
    });
  }

  /** All of them, by id. */
  async read(budget: Budget): Promise<Table> {
    const question: Question = { budget, table: null };
    await budget.wait("tell its operators", async () => await this.#readTogether([question]));
    assert(question.table !== null, "a reading without an answer has thrown");
    return question.table;
  }

  /** Changes them, from what is there. @param decide asked again where somebody else was first */
  async change(budget: Budget, decide: (now: readonly Operator[]) => readonly Operator[]): Promise<void> {
    let seen = -1;
    let isMoving = true;
    for (let tried = 0; tried < ATTEMPTS; tried += 1) {
      const { operators, revision } = await this.read(budget);
      isMoving = revision !== seen;
      seen = revision;
      const next = decide(operators).toSorted((left, right) => (left.id < right.id ? -1 : 1));
      if ((await this.#bucket.put(budget, keys.operators, { operators: next }, revision)) !== null) return;
      await this.#pause(budget);
    }
    if (isMoving) throw membershipRaced("Others change the operators all the time");
    // The leader refuses a swap for as long as one before it is on its way to the others; without them that never ends.
    throw controlPlaneSilent(
      "An earlier change of the operators is not decided yet",
      "no-quorum",
      "fula-master status shows the servers: more than half of them must run and reach one another.",
    );
  }

  /** Whether there is an active admin; confirmed by the quorum like an allow. */
  async hasAdmin(budget: Budget): Promise<boolean> {
    const { operators } = await this.#readFresh(budget);
    return operators.some(isActiveAdmin);
  }

  /** Whether somebody may act. Never throws. */
  async isAuthorized(budget: Budget, id: string, role: OperatorRole): Promise<Authorization> {
    let normal: string;
    try {
      normal = normalOperatorId(id);
    } catch {
      return denied("unknown", "What asks has no operator's id");
    }
    try {
      const table = await this.read(budget);
      const verdict = judgeTable(table, normal, role, 0);
      // Who is refused by what was read is refused, whatever its age.
      if (!verdict.allowed) return verdict;
      const ageMs = this.#ageOf(table.revision);
      if (ageMs !== null) return { ...verdict, ageMs };
      const fresh = await this.#readFresh(budget);
      return judgeTable(fresh, normal, role, fresh.ageMs);
    } catch (error) {
      return denialOf(error, normal);
    }
  }

  /** The operators, as a quorum has confirmed them. @throws FulaError FULA_CONTROL_PLANE_UNREACHABLE */
  async #readFresh(budget: Budget): Promise<Table & { readonly ageMs: number }> {
    for (let tried = 0; tried < ATTEMPTS; tried += 1) {
      const table = await this.read(budget);
      const ageMs = this.#ageOf(table.revision);
      if (ageMs !== null) return { ...table, ageMs };
      if (!(await this.#confirm(budget, table.revision))) await this.#pause(budget);
    }
    throw new FulaError(
      "FULA_CONTROL_PLANE_UNREACHABLE",
      "The control plane confirmed nothing that was not outdated.",
      {
        hint: "the quorum answers too slowly: look at its servers with fula-master status, or raise controlPlane.maxAge.",
        details: { silence: "stale" },
      },
    );
  }

  #ageOf(revision: number): number | null {
    if (this.#confirmed?.revision !== revision) return null;
    const { clock, maxAgeMs } = this.#deps;
    const ageMs = clock.monotonicMs() - this.#confirmed.askedMs;
    // That clock stands still while the machine sleeps, and then only the other one shows that hours went by.
    const byWallClockMs = clock.nowMs() - this.#confirmed.askedAtMs;
    return Math.max(ageMs, byWallClockMs) <= maxAgeMs ? ageMs : null;
  }

  /** Asks the quorum whether a revision stands; those who ask for the same share one write. @returns false where it does not */
  async #confirm(budget: Budget, revision: number): Promise<boolean> {
    if (this.#confirming?.revision !== revision) {
      const confirming = { revision, done: this.#writeStamp(budget, revision) };
      this.#confirming = confirming;
      const forget = (): void => {
        if (this.#confirming === confirming) this.#confirming = null;
      };
      confirming.done.then(forget, forget);
    }
    const { done } = this.#confirming;
    return await budget.wait("confirm who may act", async () => await done);
  }

  async #writeStamp(budget: Budget, revision: number): Promise<boolean> {
    const { clock } = this.#deps;
    const [askedMs, askedAtMs] = [clock.monotonicMs(), clock.nowMs()];
    const stamp = await this.#bucket.publish(budget, keys.stamp, "{}", {
      lastSubjectSequence: revision,
      lastSubjectSequenceSubject: this.#bucket.subject(keys.operators),
    });
    if (stamp === null) return false;
    this.#confirmed = { revision, askedMs, askedAtMs };
    return true;
  }

  async #pause(budget: Budget): Promise<void> {
    await budget.wait("come to rest", async () => {
      await this.#deps.clock.sleep(this.#deps.random.int(PAUSE_MS_MAX));
    });
  }
}

function judgeTable(table: Table, id: string, role: OperatorRole, ageMs: number): Authorization {
  const operator = table.operators.find((one) => one.id === id) ?? null;
  return judge({ id, operator, hasAdmin: table.operators.some(isActiveAdmin), role, ageMs });
}

function denialOf(error: unknown, id: string): Authorization {
  const silence = error instanceof FulaError ? error.details?.["silence"] : undefined;
  const reason = silence === "no-quorum" || silence === "stale" ? silence : "unreachable";
  return denied(reason, `The control plane did not say whether ${id} may act: ${messageOf(error).replace(/\.$/, "")}`);
}
