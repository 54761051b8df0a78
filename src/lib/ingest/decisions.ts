import { createHash } from "node:crypto";
import { LRUCache } from "lru-cache";
import type { Clock } from "../kernel/clock.ts";
import { isFulaError } from "../kernel/errors.ts";
import type { MasterAnswer, Masters } from "./masters.ts";
import { IngestRefusal } from "./refusal.ts";

/** What this node can tell of a credential by itself. `unknown` = a master has to be asked. */
export type LocalVerdict =
  | {
      readonly state: "accepted";
      /** Names whoever showed it, as long as no master has said which account pays. */
      readonly identity: string;
    }
  | { readonly state: "refused"; readonly because: string }
  | { readonly state: "unknown" };

/** Whoever may store, as far as is known. */
export interface Client {
  /** SHA-256 of the credential, in hex. */
  readonly digest: string;
  /** What its requests are counted by: the account, or the identity where no master could be asked yet. */
  readonly countedAs: string;
  /** What it may still store; null without end, or not known. */
  readonly leftBytes: number | null;
}

/** Decides who may store. */
export interface Decisions {
  /**
   * @throws IngestRefusal 401, 402, 403; 503 where no master answers and the quota is strict, or nobody knows who it is;
   *   429 where too many credentials come from one address
   */
  decide(bearer: string, address: string): Promise<Client>;
  /** Notes what a master said about a credential. @param askedMs when it was asked, by the monotonic clock */
  learned(digest: string, answer: MasterAnswer, askedMs: number): void;
}

/** What deciding needs. */
export interface DecisionParts {
  readonly masters: Pick<Masters, "ask">;
  readonly verifyLocally: (bearer: string) => LocalVerdict;
  /** Counts the credentials of an address that have to be looked at: null where it may bring one more, else in how many milliseconds. */
  readonly pace: (address: string) => number | null;
  readonly node: string;
  readonly mode: "strict" | "open";
  readonly clock: Clock;
  /** How long an answer of a master counts while none of them answers and the quota is open. */
  readonly memoryMs: number;
}

/** Who was revoked is refused after so long at the latest. */
const YES_MS = 10_000;
/** Who has just paid, or has a new key, does not wait. */
const NO_MS = 5_000;
const CREDENTIALS_MAX = 10_000;

interface Known {
  readonly answer: MasterAnswer;
  /** When it was asked for: the master may have made up its mind at once, and its answer have come late. */
  readonly askedMs: number;
}

/** SHA-256 of a credential, in hex: what it is remembered by, because it is none. */
export function digestOfBearer(bearer: string): string {
  return createHash("sha256").update(bearer, "utf8").digest("hex");
}

function hasExpired(expiresMs: number | null, clock: Clock): boolean {
  return expiresMs !== null && expiresMs <= clock.nowMs();
}

function clientOf(digest: string, answer: MasterAnswer, clock: Clock): Client {
  if (answer.state === "refused") throw new IngestRefusal(answer.status, answer.because);
  if (hasExpired(answer.credentialExpiresMs, clock)) throw new IngestRefusal(401, "The credential has expired.");
  return { digest, countedAs: answer.userId, leftBytes: answer.leftBytes };
}

/** Puts decisions together. Concurrent questions about one credential are one. */
export function createDecisions(parts: DecisionParts): Decisions {
  const { masters, verifyLocally, pace, node, mode, clock, memoryMs } = parts;
  const known = new LRUCache<string, Known>({ max: CREDENTIALS_MAX });
  const asking = new Map<string, Promise<MasterAnswer>>();
  const learned = (digest: string, answer: MasterAnswer, askedMs: number): void => {
    // An answer that was overtaken by that to a later question tells nothing any more.
    if ((known.get(digest)?.askedMs ?? askedMs) <= askedMs) known.set(digest, { answer, askedMs });
  };
  const ask = (bearer: string, digest: string): Promise<MasterAnswer> => {
    const pending = asking.get(digest);
    if (pending !== undefined) return pending;
    const askedMs = clock.monotonicMs();
    const question = masters.ask(bearer, { node, blocks: [] }).then((answer) => {
      learned(digest, answer, askedMs);
      return answer;
    });
    asking.set(digest, question);
    const forget = (): boolean => asking.delete(digest);
    question.then(forget, forget);
    return question;
  };
  const fresh = (digest: string): MasterAnswer | null => {
    const found = known.get(digest);
    if (found === undefined) return null;
    const forMs = found.answer.state === "accepted" ? YES_MS : NO_MS;
    return clock.monotonicMs() - found.askedMs < forMs ? found.answer : null;
  };
  /** While no master answers: what was said last, and else what the credential says by itself. */
  const withoutMasters = (digest: string, local: LocalVerdict, cause: unknown): Client => {
    const last = known.get(digest);
    if (mode === "open" && last !== undefined && clock.monotonicMs() - last.askedMs < memoryMs) {
      return clientOf(digest, last.answer, clock);
    }
    if (mode === "open" && local.state === "accepted") {
      return { digest, countedAs: local.identity, leftBytes: null };
    }
    const why = "No master can be asked about you at the moment; please try again.";
    throw new IngestRefusal(503, why, { retryAfterSeconds: 2, cause });
  };
  return {
    learned,
    decide: async (bearer, address) => {
      const digest = digestOfBearer(bearer);
      const answer = fresh(digest);
      if (answer !== null) return clientOf(digest, answer, clock);
      const waitMs = pace(address);
      if (waitMs !== null) {
        const retryAfterSeconds = Math.ceil(waitMs / 1_000);
        throw new IngestRefusal(429, "Too many credentials come from this address.", { retryAfterSeconds });
      }
      const local = verifyLocally(bearer);
      if (local.state === "refused") throw new IngestRefusal(401, `The credential is refused: ${local.because}.`);
      try {
        return clientOf(digest, await ask(bearer, digest), clock);
      } catch (error) {
        if (!isFulaError(error, "FULA_INGEST_MASTERS_SILENT")) throw error;
        return withoutMasters(digest, local, error);
      }
    },
  };
}
