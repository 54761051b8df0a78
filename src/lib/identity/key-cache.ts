import { LRUCache } from "lru-cache";
import type { Clock } from "../kernel/clock.ts";
import { answerWithin } from "../kernel/deadline.ts";
import { FulaError, isFulaError } from "../kernel/errors.ts";
import { Slots } from "../kernel/slots.ts";
import type { AccessKey } from "./access-key.ts";

/** A key as it was found. */
export interface FoundKey {
  readonly key: AccessKey;
  /** Null where the ledger has said so a moment ago; else for how long it has not: good for reading alone. */
  readonly staleMs: number | null;
}

/** What finding keys in a hurry needs. */
export interface KeyCacheParts {
  /** Asks the ledger. */
  readonly find: (keyId: string) => Promise<AccessKey | null>;
  readonly clock: Clock;
  /** While the ledger does not answer, a key is used for reads for so long at most. */
  readonly staleMaxMs: number;
}

/** A key that was revoked is refused everywhere after this time. */
const FRESH_MS = 2_000;
/** How long the ledger may take where the key is known. */
const ASK_MS = 2_000;
const KEYS_MAX = 10_000;
/**
 * Questions about keys that are not known, at the same time and waiting. Anybody can make such ids up; who has a key
 * that is known, and all else that the ledger has to do, must not have to wait behind him.
 */
const STRANGERS_AT_ONCE = 4;
const STRANGERS_MAX = 256;
/** A question that is not answered in this time must not keep those behind it from being asked. */
const STRANGER_MS = 10_000;

interface Known {
  readonly key: AccessKey;
  readonly askedMs: number;
}

interface Question {
  readonly askedMs: number;
  readonly answer: Promise<FoundKey | null>;
}

/**
 * Makes a finder of keys that remembers them for two seconds, so that a busy client costs one question in that time, and
 * gives what it remembers for longer while the ledger does not answer. A key that is not there or was revoked is never
 * remembered.
 */
export function createKeyCache({
  find,
  clock,
  staleMaxMs,
}: KeyCacheParts): (keyId: string) => Promise<FoundKey | null> {
  const known = new LRUCache<string, Known>({ max: KEYS_MAX });
  const asking = new Map<string, Question>();
  const strangers = new Slots(STRANGERS_AT_ONCE);
  let strangersAsked = 0;
  const look = async (keyId: string, askedMs: number): Promise<FoundKey | null> => {
    const key = await find(keyId);
    if (key === null || key.revoked) known.delete(keyId);
    else known.set(keyId, { key, askedMs });
    return key === null ? null : { key, staleMs: null };
  };
  /** Joins a question that is on its way, if it is not so old that its answer would be. */
  const ask = async (keyId: string): Promise<FoundKey | null> => {
    const askedMs = clock.monotonicMs();
    const present = asking.get(keyId);
    if (present !== undefined && askedMs - present.askedMs < FRESH_MS) return await present.answer;
    const question = { askedMs, answer: look(keyId, askedMs) };
    asking.set(keyId, question);
    try {
      return await question.answer;
    } finally {
      if (asking.get(keyId) === question) asking.delete(keyId);
    }
  };
  const askOfStranger = async (keyId: string): Promise<FoundKey | null> => {
    if (strangersAsked >= STRANGERS_MAX) {
      throw new FulaError("FULA_KEY_LOOKUPS_FULL", "Too many unknown access keys are being looked up.", {
        hint: "look who sends so many keys that there are not; keys in use are not affected.",
      });
    }
    strangersAsked += 1;
    try {
      const answer = await strangers.run(async () => await answerWithin(clock, STRANGER_MS, ask(keyId)));
      if (answer !== null) return answer.value;
      throw new FulaError(
        "FULA_DATABASE_UNREACHABLE",
        `The ledger gave no answer about an access key in ${STRANGER_MS} ms.`,
        {
          hint: "fula-master doctor tells what does not answer.",
        },
      );
    } finally {
      strangersAsked -= 1;
    }
  };
  const askOrRemember = async (keyId: string, remembered: Known): Promise<FoundKey | null> => {
    const staleMs = (): number => clock.monotonicMs() - remembered.askedMs;
    const answering = ask(keyId);
    try {
      const answer = await answerWithin(clock, ASK_MS, answering);
      if (answer !== null) return answer.value;
    } catch (error) {
      if (!isFulaError(error) || error.kind !== "unavailable" || staleMs() > staleMaxMs) throw error;
    }
    return staleMs() > staleMaxMs ? await answering : { key: remembered.key, staleMs: staleMs() };
  };
  return async (keyId) => {
    const remembered = known.get(keyId);
    if (remembered === undefined) return await askOfStranger(keyId);
    const isFresh = clock.monotonicMs() - remembered.askedMs < FRESH_MS;
    return isFresh ? { key: remembered.key, staleMs: null } : await askOrRemember(keyId, remembered);
  };
}
