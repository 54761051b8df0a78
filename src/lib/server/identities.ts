import type { LoadedConfig } from "../config/load.ts";
import { createIdentities, type Identities, type Verifier } from "../identity/bearer.ts";
import { jwtVerifier } from "../identity/bearer-jwt.ts";
import { keyVerifier } from "../identity/bearer-key.ts";
import { serviceVerifier } from "../identity/bearer-service.ts";
import { isDeletedKey, sessionVerifier } from "../identity/bearer-session.ts";
import { readDenialNews } from "../identity/denial-table.ts";
import { createDenyList, type DenyList } from "../identity/deny-list.ts";
import { createWalletAccounts, readWalletOwner } from "../identity/wallet-accounts.ts";
import type { Keyring } from "../identity/keyring.ts";
import type { Clock } from "../kernel/clock.ts";
import { messageOf } from "../kernel/errors.ts";
import type { Log } from "../kernel/log.ts";
import { outlastLateAnswers } from "../postgres/late-answers.ts";
import { type ConnectionOptions, createPool, type Pool } from "../postgres/pool.ts";
import { ATTENDED_SESSION } from "../postgres/session-settings.ts";
import type { AccessKeys } from "./access-keys.ts";
import type { CheckOutcome, HealthCheck } from "./health.ts";
import type { IdentityMetrics } from "./metrics-identity.ts";
import { openKeyring } from "./signing-keys.ts";
import { repeat } from "./repeat.ts";
import { walletTokenVerifier } from "./wallet-tokens.ts";

/** What finding out who sends requests needs. */
export interface IdentitiesDeps {
  readonly pool: Pool;
  /** The same ledger: what was revoked is asked over a connection of its own, which nobody else keeps busy. */
  readonly connection: ConnectionOptions;
  readonly keys: AccessKeys;
  readonly clock: Clock;
  readonly log: Log;
  /** Null where nobody counts. */
  readonly metrics: IdentityMetrics | null;
}

/** The identities of a serving master. */
export interface OpenIdentities extends AsyncDisposable {
  readonly identities: Identities;
  readonly denials: Pick<DenyList, "refresh">;
  /** Readiness checks; nobody is let in where the first one fails. */
  readonly checks: readonly [denials: HealthCheck, signingKeys: HealthCheck];
  /** Signs session tokens. */
  readonly keyring: Pick<Keyring, "signing">;
}

/** How long the ledger may take to say what was revoked: less than the bound within which all masters refuse it. */
const ASK_MS = 2_000;
/** For how long a serving master waits for the first answer. */
const START_PATIENCE_MS = 60_000;

interface KeptDenyList extends AsyncDisposable {
  readonly denials: DenyList;
}

/** Reads what was revoked, now and again and again. @throws FulaError what reading the ledger throws */
async function keepDenyList({ config }: LoadedConfig, deps: IdentitiesDeps): Promise<KeptDenyList> {
  const { connection, clock, log } = deps;
  const { denyListRefresh: intervalMs, denyListMaxAge: maxAgeMs } = config.identity;
  const pool = createPool({
    ...connection,
    part: "deny-list",
    sessionSettings: ATTENDED_SESSION,
    max: 1,
    connectTimeoutMs: ASK_MS,
    queryTimeoutMs: ASK_MS,
    log,
  });
  const denials = createDenyList({ readNews: async (after) => await readDenialNews(pool, after), clock, maxAgeMs });
  try {
    // A box that starts everything at once is slower than a list that is kept may be.
    await outlastLateAnswers(async () => await denials.refresh(), { clock, patienceMs: START_PATIENCE_MS });
  } catch (error) {
    await pool.end();
    throw error;
  }
  const running = repeat({ intervalMs, clock }, async () => {
    try {
      await denials.refresh();
    } catch (error) {
      log.warn("identity.deny_list.not_read", { message: messageOf(error), ...denials.state() });
    }
  });
  return {
    denials,
    [Symbol.asyncDispose]: async () => {
      await running[Symbol.asyncDispose]();
      await pool.end();
    },
  };
}

/** Says whether what was revoked is known. */
function denialsCheck(denials: DenyList, maxAgeMs: number): HealthCheck {
  const look = (): CheckOutcome => {
    const { ageMs, entries } = denials.state();
    const details = { entries, ageMs: ageMs === null ? null : Math.round(ageMs) };
    if (ageMs !== null && ageMs <= maxAgeMs) return { state: "ok", details };
    const error = "FULA_DENY_LIST_STALE: the ledger does not say which credentials were revoked; nobody is let in.";
    return { state: "failed", error, details };
  };
  return {
    name: "denials",
    critical: true,
    timeoutMs: 1_000,
    cacheMs: 500,
    run: async () => await Promise.resolve(look()),
  };
}

/**
 * Opens the identities that a serving master knows: one for all of its listeners.
 * @throws FulaError FULA_ENCRYPTION_KEY_INVALID, FULA_ENCRYPTION_KEY_WRONG, and what reading the ledger throws
 */
export async function openIdentities(loaded: LoadedConfig, deps: IdentitiesDeps): Promise<OpenIdentities> {
  const opened = new AsyncDisposableStack();
  try {
    const { denials } = opened.use(await keepDenyList(loaded, deps));
    const { keyring, check } = opened.use(await openKeyring(loaded, deps));
    const { pool, clock, metrics } = deps;
    metrics?.watch(() => denials.state());
    const accountOf = createWalletAccounts({
      readOwner: async (wallet) => await readWalletOwner(pool, wallet),
      clock,
      // As long as the key of a wallet is good for reading.
      staleMaxMs: loaded.config.buckets.staleReads,
    });
    const judge: DenyList["judge"] = (identity, listAgeMs) => {
      const judgement = denials.judge(identity, listAgeMs);
      if (judgement === "denied") metrics?.denied();
      return judgement;
    };
    return {
      identities: createIdentities({ verifiers: verifiersOf(loaded, deps, keyring), denials: { judge }, accountOf }),
      denials,
      checks: [denialsCheck(denials, loaded.config.identity.denyListMaxAge), check],
      keyring,
      [Symbol.asyncDispose]: async () => {
        await opened.disposeAsync();
      },
    };
  } catch (error) {
    await opened.disposeAsync();
    throw error;
  }
}

function verifiersOf(
  { config, secrets }: LoadedConfig,
  { pool, keys, clock }: IdentitiesDeps,
  keyring: Pick<Keyring, "verifying">,
): readonly Verifier[] {
  const isRevoked = async (hashes: readonly string[]): Promise<boolean> => await isDeletedKey(pool, hashes);
  return [
    // First, because nothing else looks like one, and nobody has to be asked.
    walletTokenVerifier(config, { clock, fetch }),
    keyVerifier({ ...keys, clock }),
    sessionVerifier(pool),
    jwtVerifier({ keyring, clock, withoutExpiry: config.identity.jwtWithoutExpiry, isRevoked }),
    serviceVerifier(secrets.pinServiceSecret, clock),
  ];
}
