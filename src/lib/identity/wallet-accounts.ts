import { LRUCache } from "lru-cache";
import type { Clock } from "../kernel/clock.ts";
import { answerWithin } from "../kernel/deadline.ts";
import { FulaError, isFulaError } from "../kernel/errors.ts";
import type { Pool } from "../postgres/pool.ts";
import { runQuery } from "../postgres/run-query.ts";
import type { Account } from "./bearer.ts";
import { ownAccountOf } from "./subject.ts";

/** What finding the accounts of wallets needs. */
export interface WalletAccountsParts {
  /** Asks the ledger whose a wallet is; null where it is linked to nobody. */
  readonly readOwner: (wallet: string) => Promise<string | null>;
  readonly clock: Clock;
  /** While the ledger does not answer, what it said last is given for so long, for reads alone. */
  readonly staleMaxMs: number;
}

/** A wallet that was linked is billed to its account by all masters after this time. */
const FRESH_MS = 2_000;
/** How long the ledger may take where the account is known. */
const ASK_MS = 2_000;
const WALLETS_MAX = 10_000;

interface Known {
  readonly userId: string;
  readonly askedMs: number;
}

interface Question {
  readonly askedMs: number;
  readonly answer: Promise<Known>;
}

/** Asks the ledger whose a wallet is. @returns a user id; null where it is linked to nobody */
export async function readWalletOwner(pool: Pool, wallet: string): Promise<string | null> {
  const { rows } = await runQuery<{ user_id: string }>(pool, {
    name: "wallet_owner_read",
    text: "select user_id from wallet_owners where wallet_address_hash = $1",
    values: [ownAccountOf(wallet)],
  });
  return rows[0]?.user_id ?? null;
}

function silent(wallet: string): FulaError {
  return new FulaError("FULA_DATABASE_UNREACHABLE", `The ledger has not said whose the wallet ${wallet} is.`, {
    hint: "fula-master doctor tells what does not answer.",
  });
}

/**
 * Makes a finder of the accounts that pay for wallets. What the ledger said is good for two seconds; while it is silent
 * the last answer is given with its age, and an account that was never found out is not guessed.
 */
export function createWalletAccounts({
  readOwner,
  clock,
  staleMaxMs,
}: WalletAccountsParts): (wallet: string) => Promise<Account> {
  const known = new LRUCache<string, Known>({ max: WALLETS_MAX });
  const asking = new Map<string, Question>();
  const look = async (wallet: string, askedMs: number): Promise<Known> => {
    const found = { userId: (await readOwner(wallet)) ?? ownAccountOf(wallet), askedMs };
    known.set(wallet, found);
    return found;
  };
  /** Joins a question that is on its way, if it is not so old that its answer would be. */
  const ask = async (wallet: string): Promise<Known> => {
    const askedMs = clock.monotonicMs();
    const present = asking.get(wallet);
    if (present !== undefined && askedMs - present.askedMs < FRESH_MS) return await present.answer;
    const question = { askedMs, answer: look(wallet, askedMs) };
    asking.set(wallet, question);
    try {
      return await question.answer;
    } finally {
      if (asking.get(wallet) === question) asking.delete(wallet);
    }
  };
  /** Null where the ledger does not answer. */
  const askInTime = async (wallet: string): Promise<Known | null> => {
    try {
      return (await answerWithin(clock, ASK_MS, ask(wallet)))?.value ?? null;
    } catch (error) {
      if (isFulaError(error) && error.kind === "unavailable") return null;
      throw error;
    }
  };
  return async (wallet) => {
    const remembered = known.get(wallet);
    const ageMs = (): number => (remembered === undefined ? Infinity : clock.monotonicMs() - remembered.askedMs);
    if (remembered !== undefined && ageMs() < FRESH_MS) return { userId: remembered.userId, staleMs: null };
    const answer = await askInTime(wallet);
    if (answer !== null) return { userId: answer.userId, staleMs: null };
    if (remembered === undefined || ageMs() > staleMaxMs) throw silent(wallet);
    return { userId: remembered.userId, staleMs: ageMs() };
  };
}
