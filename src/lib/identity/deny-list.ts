import type { Clock } from "../kernel/clock.ts";
import { FulaError } from "../kernel/errors.ts";
import type { Identity } from "./bearer.ts";
import type { DenialFact, DenialNews } from "./denial-table.ts";

/** What a judgement goes by. */
export type JudgedIdentity = Pick<Identity, "subject" | "by" | "credential">;

/** How a list stands, for those who watch it. */
export interface DenyListState {
  /** Since when the ledger has not said anything about it, in milliseconds; null where it never has. */
  readonly ageMs: number | null;
  readonly entries: number;
}

/** What was revoked, in memory, as the ledger said a moment ago. */
export interface DenyList {
  /**
   * Says whether a credential was revoked.
   * @param maxAgeMs how old the list may be; default `identity.denyListMaxAge`
   * @throws FulaError FULA_DENY_LIST_STALE where the ledger has been silent for too long: nobody is let in then
   */
  judge(identity: JudgedIdentity, maxAgeMs?: number): "allowed" | "denied";
  /** Reads what is new, by its end all that was revoked when it was called. @throws FulaError what reading the ledger throws; what is known stays */
  refresh(): Promise<void>;
  state(): DenyListState;
}

/** What a list is made from. */
export interface DenyListParts {
  /** Gives what is newer than a revision, or all that is in force for -1. */
  readonly readNews: (after: bigint) => Promise<DenialNews>;
  readonly clock: Clock;
  /** `identity.denyListMaxAge`. */
  readonly maxAgeMs: number;
}

const EVERYTHING = -1n;
/** What changes was read one by one; all of it is read anew so often, which also forgets what has expired. */
const WHOLE_READ_MS = 600_000;

/** Where the list stands by the ledger's word. */
interface Known {
  readonly revision: bigint;
  readonly origin: string;
  /** When the question was sent, by the monotonic clock: all that was revoked by then is known. */
  readonly askedMs: number;
  readonly wholeMs: number;
}

/** The times before which everything issued is denied; infinity for a single credential. */
interface Bounds {
  readonly issuedMs: number;
  /** Of what the ledger itself has dated. */
  readonly sessionsMs: number;
}

function keyOf({ kind, subject }: Pick<DenialFact, "kind" | "subject">): string {
  return `${kind}:${subject}`;
}

class LedgerDenyList implements DenyList {
  readonly #parts: DenyListParts;
  #denied = new Map<string, Bounds>();
  #known: Known | null = null;
  #turn: Promise<void> = Promise.resolve();

  constructor(parts: DenyListParts) {
    this.#parts = parts;
  }

  judge({ subject, by, credential }: JudgedIdentity, maxAgeMs = this.#parts.maxAgeMs): "allowed" | "denied" {
    this.#assertFresh(maxAgeMs);
    const { digest, madeFrom = digest } = credential;
    if ([digest, madeFrom].some((each) => this.#denied.has(keyOf({ kind: "digest", subject: each })))) return "denied";
    const who = subject.kind === "wallet" ? subject.wallet : subject.userId;
    const bounds = this.#denied.get(keyOf({ kind: subject.kind, subject: who }));
    if (bounds === undefined) return "allowed";
    const beforeMs = by === "session" ? bounds.sessionsMs : bounds.issuedMs;
    // Whoever does not say when it was issued may have been issued at any time.
    return (credential.issuedMs ?? 0) < beforeMs ? "denied" : "allowed";
  }

  async refresh(): Promise<void> {
    const turn = this.#turn.then(async () => {
      await this.#read();
    });
    // One after the other: what was read first is not to be put in the place of what was read later.
    this.#turn = turn.catch(() => {});
    await turn;
  }

  state(): DenyListState {
    return { ageMs: this.#ageMs(), entries: this.#denied.size };
  }

  async #read(): Promise<void> {
    const { readNews, clock } = this.#parts;
    const askedMs = clock.monotonicMs();
    const known = this.#known;
    if (known !== null && askedMs - known.wholeMs < WHOLE_READ_MS) {
      const news = await readNews(known.revision);
      // A ledger that went back, or another one, may not know what this list was told, and know what it was not.
      if (news.origin === known.origin && news.revision >= known.revision) {
        this.#apply(news.facts);
        this.#known = { ...known, revision: news.revision, askedMs };
        return;
      }
    }
    const { revision, origin, facts } = await readNews(EVERYTHING);
    this.#denied = new Map();
    this.#apply(facts);
    this.#known = { revision, origin, askedMs, wholeMs: askedMs };
  }

  #ageMs(): number | null {
    return this.#known === null ? null : this.#parts.clock.monotonicMs() - this.#known.askedMs;
  }

  #assertFresh(maxAgeMs: number): void {
    const ageMs = this.#ageMs();
    if (ageMs !== null && ageMs <= maxAgeMs) return;
    const since = ageMs === null ? "has not been read yet" : `was read ${Math.floor(ageMs / 1_000)} s ago`;
    throw new FulaError("FULA_DENY_LIST_STALE", `The list of revoked credentials ${since}; nobody is let in.`, {
      hint: "fula-master doctor tells why the ledger does not answer; it goes on by itself when it does.",
    });
  }

  #apply(facts: readonly DenialFact[]): void {
    for (const fact of facts) {
      if (fact.isLifted) this.#denied.delete(keyOf(fact));
      else {
        const { issuedBeforeMs, sessionsBeforeMs } = fact;
        const never = Number.POSITIVE_INFINITY;
        this.#denied.set(keyOf(fact), { issuedMs: issuedBeforeMs ?? never, sessionsMs: sessionsBeforeMs ?? never });
      }
    }
  }
}

/** Makes a list that knows nothing yet, and denies everybody until it was read. */
export function createDenyList(parts: DenyListParts): DenyList {
  return new LedgerDenyList(parts);
}
