import type { Clock } from "../kernel/clock.ts";
import { FulaError } from "../kernel/errors.ts";
import type { Secret } from "../kernel/secret.ts";
import { ENV_KID, type SigningKey } from "./signing-keys.ts";

/** A key that tokens are signed or verified with. */
export interface TokenKey {
  /** Stands in the header of the tokens that it signs. */
  readonly kid: string;
  readonly secret: Secret;
}

/** The keys that sign session tokens, in memory. */
export interface Keyring {
  /** Reads them again. Joins a reading that is under way. @throws FulaError what reading the ledger throws */
  refresh(): Promise<void>;
  /**
   * The keys that verify a token now.
   * @param kid the one that its header names; null for all
   * @throws FulaError where the key is not known and the ledger cannot be asked for it
   */
  verifying(kid: string | null): Promise<readonly TokenKey[]>;
  /** How long ago the ledger gave the keys, and which of them this master's ENCRYPTION_KEY does not open. */
  state(): { readonly ageMs: number; readonly unopened: readonly string[] };
  /** The key that signs now. @throws FulaError FULA_SIGNING_KEY_MISSING */
  signing(): TokenKey;
}

/** What a keyring is made from. */
export interface KeyringParts {
  readonly read: () => Promise<readonly SigningKey[]>;
  /** JWT_SECRET; null where there is none. */
  readonly envSecret: Secret | null;
  /** JWT_SECRET of other epochs: verifies what was signed before a rekey, and by whoever is through with it already. */
  readonly otherEnvSecrets?: readonly Secret[];
  readonly clock: Pick<Clock, "monotonicMs">;
}

/** Anybody can name keys that there are not: the ledger is asked for them so often at most. */
const ASK_INTERVAL_MS = 1_000;

interface Known {
  readonly keys: readonly SigningKey[];
  /** When it was asked for: what the keys say of their times counts from here. */
  readonly askedMs: number;
}

class MemoryKeyring implements Keyring {
  readonly #parts: KeyringParts;
  #known: Known | null = null;
  #askedMs = Number.NEGATIVE_INFINITY;
  #asking: Promise<void> | null = null;

  constructor(parts: KeyringParts) {
    this.#parts = parts;
  }

  async refresh(): Promise<void> {
    this.#asking ??= this.#read().finally(() => {
      this.#asking = null;
    });
    await this.#asking;
  }

  async verifying(kid: string | null): Promise<readonly TokenKey[]> {
    const all = this.#verifying();
    if (kid === null) return all;
    const known = all.filter((key) => key.kid === kid);
    if (known.length > 0 || this.#isOver(kid)) return known;
    const isAsking = this.#asking !== null;
    if (!isAsking && this.#parts.clock.monotonicMs() - this.#askedMs < ASK_INTERVAL_MS) return [];
    await this.refresh();
    return this.#verifying().filter((key) => key.kid === kid);
  }

  state(): { readonly ageMs: number; readonly unopened: readonly string[] } {
    const { keys, ageMs } = this.#sinceAsked();
    const unopened = keys.filter((key) => key.secret === null && key.kid !== ENV_KID && !isOver(key, ageMs));
    return { ageMs, unopened: unopened.map(({ kid }) => kid) };
  }

  signing(): TokenKey {
    const { keys, ageMs } = this.#sinceAsked();
    // The newest first; `env` alone where no key of the ledger signs.
    const newest = keys.find((key) => key.signsInMs <= ageMs && key.secret !== null && !isOver(key, ageMs));
    if (newest !== undefined && newest.secret !== null) return { kid: newest.kid, secret: newest.secret };
    const env = this.#verifying().find((key) => key.kid === ENV_KID);
    if (env !== undefined) return env;
    throw new FulaError("FULA_SIGNING_KEY_MISSING", "There is no key that session tokens are signed with.", {
      hint: "fula-master key rotate makes one; it signs half a minute later.",
    });
  }

  async #read(): Promise<void> {
    const askedMs = this.#parts.clock.monotonicMs();
    this.#askedMs = askedMs;
    this.#known = { keys: await this.#parts.read(), askedMs };
  }

  #sinceAsked(): { readonly keys: readonly SigningKey[]; readonly ageMs: number } {
    if (this.#known === null) throw new Error("The keyring was asked before it was read");
    return { keys: this.#known.keys, ageMs: this.#parts.clock.monotonicMs() - this.#known.askedMs };
  }

  #verifying(): readonly TokenKey[] {
    const { keys, ageMs } = this.#sinceAsked();
    const { envSecret, otherEnvSecrets = [] } = this.#parts;
    const env = keys.find(({ kid }) => kid === ENV_KID);
    const isEnvGood = envSecret !== null && (env === undefined || !isOver(env, ageMs));
    const ofLedger = keys.flatMap((key) =>
      key.secret === null || isOver(key, ageMs) ? [] : [{ kid: key.kid, secret: key.secret }],
    );
    if (!isEnvGood) return ofLedger;
    return [...ofLedger, ...[envSecret, ...otherEnvSecrets].map((secret) => ({ kid: ENV_KID, secret }))];
  }

  /** True for one that is known to be over: nobody has to be asked about it. */
  #isOver(kid: string): boolean {
    const { keys, ageMs } = this.#sinceAsked();
    return kid === ENV_KID || keys.some((key) => key.kid === kid && isOver(key, ageMs));
  }
}

function isOver({ verifiesForMs }: SigningKey, ageMs: number): boolean {
  return verifiesForMs !== null && verifiesForMs <= ageMs;
}

/**
 * Makes a keyring; it is to be read once before it is asked. A good signature stays good while the ledger is silent, so
 * known keys go on verifying; what was revoked is the deny-list's to know, which has a bound of its own.
 */
export function createKeyring(parts: KeyringParts): Keyring {
  return new MemoryKeyring(parts);
}
