import type { LoadedConfig } from "../config/load.ts";
import { createKeyring, type Keyring } from "../identity/keyring.ts";
import { PROPAGATION_MS, readSigningKeys } from "../identity/signing-keys.ts";
import type { Clock } from "../kernel/clock.ts";
import { messageOf } from "../kernel/errors.ts";
import type { Log } from "../kernel/log.ts";
import type { Pool } from "../postgres/pool.ts";
import { otherKeys, sealerOf } from "../stack/other-epochs.ts";
import type { CheckOutcome, HealthCheck } from "./health.ts";
import { repeat } from "./repeat.ts";

/** What keeping the keys that sign tokens needs. */
export interface KeyringDeps {
  readonly pool: Pool;
  readonly clock: Clock;
  readonly log: Log;
}

/** The keyring of a serving master; disposing of it ends its reading. */
export interface OpenKeyring extends AsyncDisposable {
  readonly keyring: Keyring;
  /** Readiness check: what is known goes on being used, and keys that are made or end meanwhile are not learned of. */
  readonly check: HealthCheck;
}

/** Several times within the half minute that a new key waits before it signs. */
const REFRESH_MS = 5_000;

/** Says whether this master knows the keys that the others sign with. */
function keyringCheck(keyring: Pick<Keyring, "state">): HealthCheck {
  const look = (): CheckOutcome => {
    const { ageMs, unopened } = keyring.state();
    const details = { ageMs: Math.round(ageMs), unopened };
    if (unopened.length > 0) {
      const error = `FULA_ENCRYPTION_KEY_WRONG: ENCRYPTION_KEY here does not open ${unopened.join(", ")}; its tokens are refused.`;
      return { state: "degraded", error, details };
    }
    if (ageMs <= PROPAGATION_MS) return { state: "ok", details };
    const error = "the keys that sign session tokens cannot be read: a rotation is not learned of; the log says why.";
    return { state: "degraded", error, details };
  };
  return {
    name: "signing-keys",
    critical: false,
    timeoutMs: 1_000,
    cacheMs: 500,
    run: async () => await Promise.resolve(look()),
  };
}

/**
 * Reads the keys that sign session tokens, now and again and again.
 * @throws FulaError FULA_ENCRYPTION_KEY_INVALID, FULA_ENCRYPTION_KEY_WRONG, and what reading the ledger throws
 */
export async function openKeyring({ secrets }: LoadedConfig, deps: KeyringDeps): Promise<OpenKeyring> {
  const { pool, clock, log } = deps;
  const sealer = sealerOf(secrets, "signing keys");
  const keyring = createKeyring({
    read: async () => await readSigningKeys(pool, sealer),
    envSecret: secrets.jwtSecret,
    otherEnvSecrets: otherKeys(secrets, "jwtSecret"),
    clock,
  });
  await keyring.refresh();
  const running = repeat({ intervalMs: REFRESH_MS, clock }, async () => {
    try {
      await keyring.refresh();
    } catch (error) {
      log.warn("identity.signing_keys.not_read", { message: messageOf(error) });
    }
  });
  return {
    keyring,
    check: keyringCheck(keyring),
    [Symbol.asyncDispose]: async () => await running[Symbol.asyncDispose](),
  };
}
