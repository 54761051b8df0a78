import { LRUCache } from "lru-cache";
import type { Clock } from "../kernel/clock.ts";
import { FulaError } from "../kernel/errors.ts";
import { Slots } from "../kernel/slots.ts";
import type { ContractQuestion } from "./eip712/verify.ts";

/** A call of a contract that changes nothing. */
export interface ContractCall {
  readonly chainId: number;
  /** The contract, `0x` and 40 hex digits. */
  readonly to: string;
  /** `0x` and hex. */
  readonly data: string;
}

/**
 * Calls a contract at its chain's endpoints. Gives what it returns, `0x` and hex; `0x` alone where it reverts or where
 * there is none; null where no endpoint of the chain is known. Throws where none answers.
 */
export type CallContract = (call: ContractCall) => Promise<string | null>;

/** What a contract says. `unconfigured`: nobody can ask it here. */
export type ContractAnswer = "signed" | "not-signed" | "unconfigured";

/** `isValidSignature(bytes32,bytes)`, which is also what it returns where the signature is good (ERC-1271). */
const SELECTOR = "1626ba7e";
const SIGNED = `0x${SELECTOR}${"0".repeat(56)}`;
/** Owners of a contract change: what it said is not believed for longer. */
const FRESH_MS = 60_000;
const ANSWERS_MAX = 10_000;
/** Questions at the same time; those behind them wait their turn. */
const AT_ONCE = 4;
const WAITING_MAX = 64;
/**
 * Questions a minute about wallets that were never confirmed. Anybody can make such tokens up, and each question costs
 * some of what the operator pays his provider for.
 */
const STRANGERS_PER_MINUTE = 60;
const KNOWN_MAX = 10_000;

function word(hex: string): string {
  return hex.padStart(64, "0");
}

/** The call's data: selector, digest, and the signature as the ABI encodes `bytes`. */
function callData({ digest, signature }: ContractQuestion): string {
  const bytes = Buffer.from(signature).toString("hex");
  const padded = bytes.padEnd(Math.ceil(bytes.length / 64) * 64, "0");
  return `0x${SELECTOR}${Buffer.from(digest).toString("hex")}${word("40")}${word(signature.length.toString(16))}${padded}`;
}

function busy(wallet: string): FulaError {
  return new FulaError(
    "FULA_WALLET_UNCHECKED",
    `The contract of wallet ${wallet} was not asked whether it signed a token: too many others are being asked about.`,
    { hint: "try again in a minute; who cannot be checked is not let in." },
  );
}

/**
 * Makes what asks wallets that are contracts whether a signature is theirs (ERC-1271). An answer is believed for a minute.
 * @throws FulaError FULA_WALLET_UNCHECKED where too many are asked about; what `call` throws
 */
export function contractChecker(
  call: CallContract,
  clock: Clock,
): (question: ContractQuestion) => Promise<ContractAnswer> {
  const answers = new LRUCache<string, { readonly answer: ContractAnswer; readonly askedMs: number }>({
    max: ANSWERS_MAX,
  });
  const asking = new Map<string, Promise<ContractAnswer>>();
  const confirmed = new LRUCache<string, true>({ max: KNOWN_MAX });
  const slots = new Slots(AT_ONCE);
  let strangers = { sinceMs: Number.NEGATIVE_INFINITY, count: 0 };
  const spendOn = (who: string, wallet: string): void => {
    if (asking.size >= AT_ONCE + WAITING_MAX) throw busy(wallet);
    if (confirmed.has(who)) return;
    const nowMs = clock.monotonicMs();
    if (nowMs - strangers.sinceMs >= 60_000) strangers = { sinceMs: nowMs, count: 0 };
    if (strangers.count >= STRANGERS_PER_MINUTE) throw busy(wallet);
    strangers.count += 1;
  };
  const ask = async (key: string, question: ContractQuestion): Promise<ContractAnswer> => {
    const { chainId, wallet } = question;
    const askedMs = clock.monotonicMs();
    const returned = await slots.run(async () => await call({ chainId, to: wallet, data: callData(question) }));
    if (returned === null) return "unconfigured";
    const answer = returned === SIGNED ? "signed" : "not-signed";
    if (answer === "signed") confirmed.set(`${chainId} ${wallet}`, true);
    answers.set(key, { answer, askedMs });
    return answer;
  };
  return async (question) => {
    const { chainId, wallet, digest, signature } = question;
    const who = `${chainId} ${wallet}`;
    const key = `${who} ${Buffer.concat([digest, signature]).toString("base64")}`;
    const known = answers.get(key);
    if (known !== undefined && clock.monotonicMs() - known.askedMs < FRESH_MS) return known.answer;
    const present = asking.get(key);
    if (present !== undefined) return await present;
    spendOn(who, wallet);
    const answer = ask(key, question);
    asking.set(key, answer);
    try {
      return await answer;
    } finally {
      asking.delete(key);
    }
  };
}
