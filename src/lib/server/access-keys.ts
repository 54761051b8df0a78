import type { Config } from "../config/schema.ts";
import type { KeyFacts } from "../identity/bearer-key.ts";
import { createKeyCache } from "../identity/key-cache.ts";
import { assertSealerFits, findAccessKey } from "../identity/key-table.ts";
import { createKeyUsage } from "../identity/key-usage.ts";
import type { SecretSealer } from "../identity/sealed-secret.ts";
import type { Clock } from "../kernel/clock.ts";
import { messageOf } from "../kernel/errors.ts";
import type { Log } from "../kernel/log.ts";
import type { Pool } from "../postgres/pool.ts";

/** What looking up access keys needs. */
export interface AccessKeysDeps {
  readonly pool: Pool;
  readonly sealer: SecretSealer;
  readonly clock: Clock;
  readonly log: Log;
}

/** The access keys as every listener of a serving master asks for them. Disposing waits for uses that are being noted. */
export type AccessKeys = Omit<KeyFacts, "clock"> & AsyncDisposable;

/** Opens them: one memory of keys for all listeners. @throws FulaError FULA_ENCRYPTION_KEY_WRONG */
export async function openAccessKeys(
  { buckets }: Pick<Config, "buckets">,
  { pool, sealer, clock, log }: AccessKeysDeps,
): Promise<AccessKeys> {
  await assertSealerFits(pool, sealer);
  const usage = createKeyUsage(pool, clock, (error) => {
    log.warn("key.usage.not_noted", { message: messageOf(error) });
  });
  const find = async (keyId: string): ReturnType<typeof findAccessKey> => await findAccessKey(pool, sealer, keyId);
  return {
    findKey: createKeyCache({ find, clock, staleMaxMs: buckets.staleReads }),
    onKeyUsed: (keyId) => {
      usage.used(keyId);
    },
    [Symbol.asyncDispose]: async () => {
      await usage.settle();
    },
  };
}
