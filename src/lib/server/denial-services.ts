import type { Caller } from "../identity/bearer.ts";
import {
  assertKnown,
  deny,
  type DenialAct,
  type DenialOutcome,
  type DenialWords,
  lift,
  targetOf,
} from "../identity/denials.ts";
import { type Denial, type DenialTarget, listDenials } from "../identity/denial-table.ts";
import type { DenyList } from "../identity/deny-list.ts";
import { subjectText } from "../identity/subject.ts";
import { messageOf } from "../kernel/errors.ts";
import type { Log } from "../kernel/log.ts";
import type { Pool } from "../postgres/pool.ts";
import { ApiError } from "./api-errors.ts";

/** What is revoked by requests. */
export interface DenialServices {
  /**
   * @param issuedBeforeMs milliseconds since 1970; null takes the ledger's present
   * @throws FulaError FULA_DENIAL_TARGET, FULA_USER_INVALID, FULA_KEY_NOT_FOUND
   */
  readonly deny: (words: DenialWords, act: DenialAct, issuedBeforeMs: number | null) => Promise<DenialOutcome>;
  /** @throws FulaError FULA_DENIAL_NOT_FOUND */
  readonly lift: (target: DenialTarget, act: DenialAct) => Promise<DenialOutcome>;
  readonly list: (isAll: boolean, limit: number) => Promise<readonly Denial[]>;
  /** Denies all that the caller was given until now, the credential of the request too. */
  readonly signOut: (caller: Caller) => Promise<Denial>;
}

/** What they need. */
export interface DenialServicesDeps {
  readonly pool: Pool;
  readonly denials: Pick<DenyList, "refresh">;
  readonly log: Log;
}

/** Makes them. */
export function createDenialServices({ pool, denials, log }: DenialServicesDeps): DenialServices {
  /** This master at least knows it before it says that it is done. */
  const known = async (outcome: DenialOutcome): Promise<DenialOutcome> => {
    try {
      await denials.refresh();
    } catch (error) {
      log.warn("identity.deny_list.not_read", { message: messageOf(error) });
    }
    return outcome;
  };
  return {
    deny: async (words, act, issuedBeforeMs) => {
      const target = targetOf(words);
      await assertKnown(pool, words);
      return await known(await deny(pool, target, { ...act, issuedBeforeMs }));
    },
    lift: async (target, act) => await known(await lift(pool, target, act)),
    list: async (isAll, limit) => await listDenials(pool, isAll, limit),
    signOut: async ({ subject, by }) => {
      if (by === "service") {
        throw new ApiError(403, "CREDENTIAL_TOO_WEAK", "A gateway that acts for its user cannot sign him out.");
      }
      const text = subjectText(subject);
      const target = { kind: subject.kind, subject: text, expiresMs: null };
      const act = { actor: `${subject.kind}:${text}`, reason: "signed out everywhere", issuedBeforeMs: null };
      return (await known(await deny(pool, target, act))).denial;
    },
  };
}
