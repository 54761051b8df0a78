import { createHash } from "node:crypto";
import { LRUCache } from "lru-cache";
import type { Clock } from "../kernel/clock.ts";
import { answerWithin } from "../kernel/deadline.ts";
import { FulaError } from "../kernel/errors.ts";
import { Slots } from "../kernel/slots.ts";
import type { Credentials, Identities, Identity, Judgement } from "./bearer.ts";

/** A session that was ended, and a token whose row was deleted, are refused after this time. */
const FRESH_MS = 2_000;
const TOKENS_MAX = 10_000;
/**
 * Questions about tokens that are not known, at the same time and waiting. Anybody can make them up, and each may cost a
 * look into the ledger: who has a token that is known must not have to wait behind him.
 */
const STRANGERS_AT_ONCE = 16;
const STRANGERS_MAX = 512;
/** A question that is not answered in this time must not keep those behind it from being asked. */
const STRANGER_MS = 10_000;

interface Known {
  readonly identity: Identity;
  readonly askedMs: number;
}

/**
 * Remembers for two seconds whose bearer tokens are, so that a busy client costs one question in that time. What was
 * revoked, when a token ends and which account pays is judged anew each time. No token is kept, only its hash; whoever
 * was refused is not remembered.
 */
export function rememberIdentities(identities: Identities, clock: Clock): Identities {
  const known = new LRUCache<string, Known>({ max: TOKENS_MAX });
  const strangers = new Slots(STRANGERS_AT_ONCE);
  let strangersAsked = 0;
  const ask = async (credentials: Credentials, hash: string): Promise<Judgement> => {
    const askedMs = clock.monotonicMs();
    const judgement = await identities.identify(credentials);
    if (judgement.state === "accepted") known.set(hash, { identity: judgement.caller, askedMs });
    else known.delete(hash);
    return judgement;
  };
  const askOfStranger = async (credentials: Credentials, hash: string): Promise<Judgement> => {
    if (strangersAsked >= STRANGERS_MAX) {
      throw new FulaError("FULA_KEY_LOOKUPS_FULL", "Too many unknown tokens are being looked up.", {
        hint: "look who sends so many tokens that nobody knows; those in use are not affected.",
      });
    }
    strangersAsked += 1;
    try {
      const answer = await strangers.run(async () => await answerWithin(clock, STRANGER_MS, ask(credentials, hash)));
      if (answer !== null) return answer.value;
      throw new FulaError("FULA_DATABASE_UNREACHABLE", `Nobody said whose a token is in ${STRANGER_MS} ms.`, {
        hint: "fula-master doctor tells what does not answer.",
      });
    } finally {
      strangersAsked -= 1;
    }
  };
  return {
    admit: async (identity, silentMs) => await identities.admit(identity, silentMs),
    identify: async (credentials) => {
      const { bearer, serviceAuth } = credentials;
      if (bearer === null || serviceAuth !== null) return await identities.identify(credentials);
      const hash = createHash("sha256").update(bearer, "utf8").digest("base64");
      const remembered = known.get(hash);
      if (remembered === undefined) return await askOfStranger(credentials, hash);
      const { identity, askedMs } = remembered;
      const { expiresMs } = identity.credential;
      const isOver = expiresMs !== null && expiresMs <= clock.nowMs();
      if (isOver || clock.monotonicMs() - askedMs >= FRESH_MS) return await ask(credentials, hash);
      return await identities.admit(identity);
    },
  };
}
