import type { Clock } from "../kernel/clock.ts";
import { FulaError } from "../kernel/errors.ts";
import { identityOfKey, isExpired, isKeyId, opensKey } from "./access-key.ts";
import type { Verdict, Verifier } from "./bearer.ts";
import type { FoundKey } from "./key-cache.ts";

/** What the verifier of access keys needs. */
export interface KeyFacts {
  readonly findKey: (keyId: string) => Promise<FoundKey | null>;
  /** Called for each key that was accepted. */
  readonly onKeyUsed: (keyId: string) => void;
  readonly clock: Clock;
}

/**
 * Verifies access keys that are sent as they are, `<key id>.<secret>`. A revoked key is told like one that there is not:
 * who has it can find out no more about it. One that has expired is told as such to whoever has its secret.
 */
export function keyVerifier({ findKey, onKeyUsed, clock }: KeyFacts): Verifier {
  const verify = async (keyId: string, secret: string): Promise<Verdict> => {
    const found = await findKey(keyId);
    if (found === null || found.key.revoked || !opensKey(found.key, secret)) {
      return { state: "refused", because: "there is no such access key in force, or its secret is another" };
    }
    if (isExpired(found.key, clock.nowMs())) return { state: "refused", because: "the access key has expired" };
    if (found.staleMs !== null) {
      throw new FulaError(
        "FULA_DATABASE_UNREACHABLE",
        `The ledger has not said for ${Math.round(found.staleMs)} ms whether the access key ${keyId} is in force.`,
        { hint: "fula-master doctor tells what does not answer." },
      );
    }
    onKeyUsed(keyId);
    return { state: "accepted", identity: identityOfKey(found.key) };
  };
  return {
    verify: async ({ bearer }) => {
      const dot = bearer?.indexOf(".") ?? -1;
      if (bearer === null || dot === -1 || !isKeyId(bearer.slice(0, dot))) return { state: "absent" };
      return await verify(bearer.slice(0, dot), bearer.slice(dot + 1));
    },
  };
}
