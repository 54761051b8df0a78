import { LRUCache } from "lru-cache";
import type { Clock } from "../kernel/clock.ts";
import { answerWithin } from "../kernel/deadline.ts";
import { messageOf } from "../kernel/errors.ts";
import type { Log } from "../kernel/log.ts";
import { S3Error } from "./s3-error.ts";

/** What an account may still store. */
export interface Allowance {
  readonly mayStore: boolean;
  /** Bytes until nothing more is taken; null = without end. */
  readonly leftBytes: bigint | null;
}

/** Asks accounts before bytes are taken. */
export interface Quota {
  /**
   * @param sizeBytes what is to be stored; null where only the end of the body tells
   * @returns how many bytes may be taken at most; null = as many as there are
   * @throws S3Error AccountProblem where the account has no room, ServiceUnavailable where it cannot be asked
   */
  admit(userId: string, sizeBytes: number | null): Promise<number | null>;
}

/** What asking accounts needs. */
export interface QuotaParts {
  readonly readAllowance: (userId: string) => Promise<Allowance>;
  /** `strict` takes no bytes while an account cannot be asked; `open` does. */
  readonly mode: "strict" | "open";
  readonly clock: Clock;
  readonly log: Log;
}

/** Answers are used again for so long, so that a thousand small files are not a thousand questions. */
const YES_MS = 5_000;
/** Who has just paid does not wait. */
const NO_MS = 1_000;
const ASK_MS = 5_000;
const USERS_MAX = 10_000;

interface Answer {
  readonly mayStore: boolean;
  readonly untilMs: number;
  /** Goes down with what was admitted since it was asked. */
  leftBytes: bigint | null;
}

/** The error for what the account has no room for. */
export function accountProblem(): S3Error {
  return new S3Error(
    "AccountProblem",
    "Your account has no room for this: it is suspended, or its storage is used up.",
  );
}

/** Asks nobody. */
export const NO_QUOTA: Quota = { admit: async () => null };

/** Puts a quota together. */
export function createQuota({ readAllowance, mode, clock, log }: QuotaParts): Quota {
  const answers = new LRUCache<string, Promise<Answer>>({ max: USERS_MAX });
  const ask = async (userId: string): Promise<Answer> => {
    const answer = await answerWithin(clock, ASK_MS, readAllowance(userId));
    if (answer === null) throw new Error(`no answer in ${ASK_MS} ms`);
    const { mayStore, leftBytes } = answer.value;
    return { mayStore, leftBytes, untilMs: clock.monotonicMs() + (mayStore ? YES_MS : NO_MS) };
  };
  const askOnce = (userId: string): Promise<Answer> => {
    const asking = ask(userId);
    answers.set(userId, asking);
    asking.catch(() => {
      if (answers.peek(userId) === asking) answers.delete(userId);
    });
    return asking;
  };
  const answerFor = async (userId: string): Promise<Answer> => {
    const pending = answers.get(userId);
    if (pending === undefined) return await askOnce(userId);
    const known = await pending;
    if (clock.monotonicMs() < known.untilMs) return known;
    // Somebody else may have asked again while this call was waiting.
    const newer = answers.get(userId);
    return await (newer === undefined || newer === pending ? askOnce(userId) : newer);
  };
  const answerOrNull = async (userId: string): Promise<Answer | null> => {
    try {
      return await answerFor(userId);
    } catch (error) {
      log.warn("gateway.quota.not_asked", { mode, message: messageOf(error) });
      if (mode === "open") return null;
      throw new S3Error("ServiceUnavailable", "The account cannot be asked at the moment; please try again.", {
        headers: { "retry-after": "1" },
        cause: error,
      });
    }
  };
  return {
    admit: async (userId, sizeBytes) => {
      const answer = await answerOrNull(userId);
      if (answer === null) return null;
      if (!answer.mayStore) throw accountProblem();
      if (answer.leftBytes === null) return null;
      const needed = BigInt(sizeBytes ?? 0);
      if (needed > answer.leftBytes) throw accountProblem();
      const most = answer.leftBytes > BigInt(Number.MAX_SAFE_INTEGER) ? null : Number(answer.leftBytes);
      answer.leftBytes -= needed;
      return most;
    },
  };
}

/** Cuts a body off where it passes what the account has left. @throws S3Error AccountProblem */
export async function* cutAt(bytes: AsyncIterable<Uint8Array>, mostBytes: number): AsyncGenerator<Uint8Array> {
  let taken = 0;
  for await (const piece of bytes) {
    taken += piece.byteLength;
    if (taken > mostBytes) throw accountProblem();
    yield piece;
  }
}
