import { createHash } from "node:crypto";
import { LRUCache } from "lru-cache";
import type { Clock } from "../kernel/clock.ts";
import { FulaError } from "../kernel/errors.ts";
import type { Identity, Verdict, Verifier } from "./bearer.ts";
import type { ContractAnswer } from "./contract-wallet.ts";
import type { WalletClaims } from "./eip712/claims.ts";
import { parseEip712Token } from "./eip712/token.ts";
import { checkSignature, claimsProblem, type ContractQuestion, type WalletTokenRules } from "./eip712/verify.ts";

/** What the verifier of wallet tokens needs. */
export interface WalletTokenFacts {
  readonly rules: WalletTokenRules;
  readonly clock: Clock;
  /** Asks a wallet's contract whether it signed (ERC-1271). Throws where it could not ask. */
  readonly askContract: (question: ContractQuestion) => Promise<ContractAnswer>;
  /** Counts the tokens of an address whose signature has to be looked at: false where it has brought too many. */
  readonly pace: (address: string) => boolean;
}

/** Tokens whose signature is remembered. A new token costs some hundred microseconds, a remembered one ten. */
const SESSIONS_MAX = 10_000;

/** A token that its wallet's own key signed; time and all that may change is looked at anew. */
interface Session {
  readonly claims: WalletClaims;
  readonly identity: Identity;
}

function refused(because: string): Extract<Verdict, { state: "refused" }> {
  return { state: "refused", because: `the wallet token is not taken: ${because}` };
}

function tooMany(): FulaError {
  return new FulaError("FULA_KEY_LOOKUPS_FULL", "Too many unknown wallet tokens are being looked at.", {
    hint: "look who sends so many tokens that nobody knows; those in use are not affected.",
  });
}

async function judgeContract(
  { identity, question, because }: { identity: Identity; question: ContractQuestion; because: string },
  { askContract }: WalletTokenFacts,
): Promise<Verdict> {
  const answer = await askContract(question);
  if (answer === "signed") return { state: "accepted", identity };
  if (answer === "not-signed") return refused(`${because}, and no contract at its address says that it did`);
  const unasked = `${because}; contract wallets of chain ${question.chainId} cannot be asked here`;
  return { ...refused(unasked), reason: "CONTRACT_WALLET" };
}

/**
 * Verifies tokens that a wallet signed: `fula-eip712.…`, and `fula-eip712v2.…`, where contract wallets may sign too.
 * Whether one was revoked is not looked at here.
 */
export function eip712Verifier(facts: WalletTokenFacts): Verifier {
  const { rules, clock, pace } = facts;
  const sessions = new LRUCache<string, Session>({ max: SESSIONS_MAX });
  const judge = (session: Session): Verdict => {
    const problem = claimsProblem(session.claims, rules, clock.nowMs());
    return problem === null ? { state: "accepted", identity: session.identity } : refused(problem);
  };
  return {
    verify: async ({ bearer, address = "" }) => {
      if (bearer === null) return { state: "absent" };
      // By its hash: what is kept for hours is of no use to whoever reads the memory.
      const key = createHash("sha256").update(bearer, "latin1").digest("base64");
      const session = sessions.get(key);
      if (session !== undefined) return judge(session);
      const parsed = parseEip712Token(bearer);
      if (parsed.state === "absent") return parsed;
      if (parsed.state === "malformed") return refused(parsed.because);
      const { claims } = parsed.token;
      const problem = claimsProblem(claims, rules, clock.nowMs());
      if (problem !== null) return refused(problem);
      // It takes a core a millisecond or two, and anybody can make up tokens that are bad by their signature alone.
      if (!pace(address)) throw tooMany();
      const checked = checkSignature(parsed.token);
      if (checked.state === "refused") return refused(checked.because);
      if (checked.state === "contract") return await judgeContract(checked, facts);
      sessions.set(key, { claims, identity: checked.identity });
      return { state: "accepted", identity: checked.identity };
    },
  };
}
