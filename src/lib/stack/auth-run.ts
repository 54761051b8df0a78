import { stat } from "node:fs/promises";
import { resolve } from "node:path";
import { bytesToHex, hexToBytes } from "@noble/hashes/utils.js";
import { loadConfig } from "../config/load.ts";
import type { PathsContext } from "../config/paths.ts";
import { audiencesOf, digestOf, type WalletClaims } from "../identity/eip712/claims.ts";
import { addressOfKey } from "../identity/eip712/signature.ts";
import { parseEip712Token, signToken } from "../identity/eip712/token.ts";
import { LIFETIME_SECONDS_MAX } from "../identity/eip712/verify.ts";
import { type Clock, formatUtc } from "../kernel/clock.ts";
import { FulaError, messageOf } from "../kernel/errors.ts";
import { readTextIfExists } from "../kernel/files.ts";
import type { Random } from "../kernel/random.ts";
import { Secret } from "../kernel/secret.ts";
import { parseDurationMs } from "../kernel/units.ts";

/** Where a token or a key comes from: `-` is standard input. */
export interface SecretSource {
  readonly cwd: string;
  readonly readInput: () => Promise<string>;
}

/** No token has more; bearer tokens are cut off at 8 KiB. */
const TOKEN_LENGTH_MAX = 65_536;

async function readSource(path: string, what: string, { cwd, readInput }: SecretSource): Promise<string> {
  if (path === "-") return (await readInput()).trim();
  let text: string | null;
  try {
    text = await readTextIfExists(resolve(cwd, path));
  } catch (cause) {
    throw new FulaError("FULA_USAGE", `Cannot read ${what} from ${path}: ${messageOf(cause)}.`, { cause });
  }
  if (text !== null) return text.trim();
  throw new FulaError("FULA_USAGE", `There is no file ${path} to read ${what} from.`, {
    hint: "give the file's name, or - for standard input.",
  });
}

/** What `auth inspect` and `auth verify` are given. */
export interface TokenGiven {
  /** The token itself, or `-`. */
  readonly token?: string | undefined;
  readonly tokenFile?: string | undefined;
}

/** The token that is to be looked at. @throws FulaError FULA_USAGE */
export async function readBearerToken({ token, tokenFile }: TokenGiven, source: SecretSource): Promise<Secret> {
  if ((token === undefined) === (tokenFile === undefined)) {
    throw new FulaError("FULA_USAGE", "Give one token: itself, - for standard input, or --token-file.", {
      hint: "fula-master auth inspect - < token",
    });
  }
  const isInPlace = token !== undefined && token !== "-";
  const text = isInPlace ? token.trim() : await readSource(tokenFile ?? "-", "the token", source);
  if (text === "" || text.length > TOKEN_LENGTH_MAX) {
    throw new FulaError("FULA_USAGE", `The token has ${text.length} characters, which is none.`, {
      hint: "give the token alone, without Bearer before it.",
    });
  }
  return new Secret(text.replace(/^Bearer +/i, ""));
}

function keyRefused(path: string, why: string): FulaError {
  return new FulaError("FULA_WALLET_KEY", `${path === "-" ? "What stands on standard input" : path} ${why}.`, {
    hint: "the file holds 64 hex digits and has mode 0600; openssl rand -hex 32 makes a new key.",
  });
}

/** A wallet's secret key, 32 bytes. @throws FulaError FULA_USAGE, FULA_WALLET_KEY */
async function readWalletKey(path: string, source: SecretSource): Promise<Uint8Array> {
  const text = await readSource(path, "the wallet's key", source);
  if (path !== "-") {
    const { mode } = await stat(resolve(source.cwd, path));
    if ((mode & 0o077) !== 0) throw keyRefused(path, `is open to others (mode ${(mode & 0o777).toString(8)})`);
  }
  const hex = /^(?:0x)?([0-9a-fA-F]{64})$/.exec(text)?.[1];
  if (hex === undefined) throw keyRefused(path, "is not a key of 64 hex digits");
  const key = hexToBytes(hex);
  try {
    addressOfKey(key);
  } catch {
    throw keyRefused(path, "is no key of secp256k1");
  }
  return key;
}

/** What `auth sign` is given. */
export interface SignOptions {
  readonly keyFile?: string | undefined;
  /** Null for this box's own federation. */
  readonly audience?: string | undefined;
  /** A duration such as `1h`. */
  readonly lifetime: string;
  readonly scope?: string | undefined;
  /** EIP-155. */
  readonly chain?: number | undefined;
  /** True makes the existing fleet's token, which names neither audience nor scope. */
  readonly v1: boolean;
}

/** What `auth sign` prints; `--json` keeps these fields. */
export interface SignedToken {
  /** In the clear: whoever has it is let in. */
  readonly token: string;
  readonly version: 1 | 2;
  readonly wallet: string;
  /** Null in the first version, as are the three behind it. */
  readonly audience: string | null;
  readonly scope: string | null;
  readonly chainId: number | null;
  readonly nonce: string | null;
  /** RFC 3339, UTC. */
  readonly issuedAt: string;
  readonly expiresAt: string;
  /** What `auth deny` takes. */
  readonly digest: string;
}

/** What signing a token takes from its command. */
export interface SignContext extends PathsContext {
  readonly clock: Clock;
  readonly random: Random;
  readonly readInput: () => Promise<string>;
}

function lifetimeSeconds(text: string): number {
  const seconds = Math.floor((parseDurationMs(text) ?? 0) / 1_000);
  if (seconds >= 1 && seconds <= LIFETIME_SECONDS_MAX) return seconds;
  throw new FulaError("FULA_USAGE", `--lifetime ${JSON.stringify(text)} is not a time from 1s to 24h.`, {
    hint: "--lifetime 1h",
  });
}

async function ownAudience(context: SignContext): Promise<string> {
  const { clusterId, name } = (await loadConfig(context)).config.node;
  const audience = clusterId === null ? undefined : audiencesOf(clusterId, name)[0];
  if (audience !== undefined) return audience;
  throw new FulaError("FULA_USAGE", "This box belongs to no federation that a token could be meant for.", {
    hint: "give --audience federation:<cluster id>; GET /fula/capabilities of a master tells it.",
  });
}

/** @throws FulaError FULA_USAGE where a master would take the claims for malformed */
function assertWellFormed(token: string): void {
  const parsed = parseEip712Token(token);
  if (parsed.state !== "malformed") return;
  throw new FulaError("FULA_USAGE", `No master would take this token: ${parsed.because}.`, {
    hint: "see fula-master auth sign --help for the forms of audiences and scopes.",
  });
}

/**
 * Signs a wallet token, as a wallet would.
 * @throws FulaError FULA_USAGE, FULA_WALLET_KEY, and what loading the settings throws where no audience is given
 */
export async function signWalletToken(context: SignContext, options: SignOptions): Promise<SignedToken> {
  const { keyFile, lifetime, v1 } = options;
  if (keyFile === undefined) {
    throw new FulaError("FULA_USAGE", "auth sign needs --key-file: the file with the wallet's secret key.", {
      hint: "fula-master auth sign --key-file wallet.key",
    });
  }
  if (v1 && [options.audience, options.scope, options.chain].some((given) => given !== undefined)) {
    throw new FulaError("FULA_USAGE", "A token of the first version names no audience, no scope and no chain.", {
      hint: "leave out --v1, or the others.",
    });
  }
  const seconds = lifetimeSeconds(lifetime);
  const key = await readWalletKey(keyFile, context);
  const issued = Math.floor(context.clock.nowMs() / 1_000);
  const shared = { wallet: addressOfKey(key), issued, expires: issued + seconds };
  const second = async (): Promise<Extract<WalletClaims, { version: 2 }>> => ({
    version: 2,
    ...shared,
    audience: options.audience ?? (await ownAudience(context)),
    chainId: options.chain ?? 1,
    scope: options.scope ?? "storage:*",
    nonce: `0x${bytesToHex(context.random.bytes(32))}`,
  });
  const claims: WalletClaims = v1 ? { version: 1, ...shared } : await second();
  const token = signToken(claims, key);
  assertWellFormed(token);
  return {
    token,
    version: claims.version,
    wallet: claims.wallet,
    audience: claims.version === 1 ? null : claims.audience,
    scope: claims.version === 1 ? null : claims.scope,
    chainId: claims.version === 1 ? null : claims.chainId,
    nonce: claims.version === 1 ? null : claims.nonce,
    issuedAt: formatUtc(claims.issued * 1_000),
    expiresAt: formatUtc(claims.expires * 1_000),
    digest: bytesToHex(digestOf(claims)),
  };
}
