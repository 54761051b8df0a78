import { join } from "node:path";
import type { ConfigReading, LoadedConfig } from "../config/load.ts";
import { FulaError, isFulaError } from "../kernel/errors.ts";
import { exists, readTextIfExists, SECRET_FILE_MODE, writeFileAtomic } from "../kernel/files.ts";
import type { Random } from "../kernel/random.ts";
import { type JoinBundle, SHARED_SECRETS } from "../membership/join-bundle.ts";
import { type JoinToken, parseJoinToken } from "../membership/join-token.ts";
import { peekJoinToken, type Redeemer } from "../membership/token-table.ts";
import { readBoxKey } from "../membership/sealed/box-key.ts";
import type { Pool } from "../postgres/pool.ts";
import { withControlPlane } from "./control-plane.ts";
import { readAuthority } from "./control-plane-keys.ts";
import { lookAtPools, newestSecret, type PoolLooks } from "./federation-pools.ts";
import { FEDERATION_POOLS } from "./federation-secrets.ts";
import type { JoinContext } from "./join-box.ts";
import type { JoinOptions } from "./join-options.ts";
import { peekLedger } from "./ledger-peek.ts";
import { JOIN_LOGIN_PATIENCE_MS } from "./ledger.ts";
import { ownSecrets } from "./pool-entry.ts";
import { readTokenText, TOKEN_ENV, type TokenSource } from "./token-source.ts";

/** A way into a federation: a join token, and what it holds. */
export interface Entry {
  readonly token: JoinToken;
  readonly bundle: JoinBundle;
}

const NONCE_BYTES = 32;

/** Where a box keeps what tells it from another that has the same token; gone once it has joined. */
export function redeemerFile(stateDir: string): string {
  return join(stateDir, "join-redeemer");
}

/** What this box has used a token with; null where it never did. */
export async function readRedeemer(stateDir: string, nodeName: string): Promise<Redeemer | null> {
  const text = (await readTextIfExists(redeemerFile(stateDir)))?.trim();
  if (text === undefined || !/^[0-9a-f]{64}$/.test(text)) return null;
  return { nodeName, nonce: Buffer.from(text, "hex") };
}

/** The same, made where there is none: it must be on disk before the token is used. */
export async function ensureRedeemer(stateDir: string, nodeName: string, random: Random): Promise<Redeemer> {
  const there = await readRedeemer(stateDir, nodeName);
  if (there !== null) return there;
  const nonce = random.bytes(NONCE_BYTES);
  await writeFileAtomic(redeemerFile(stateDir), `${Buffer.from(nonce).toString("hex")}\n`, { mode: SECRET_FILE_MODE });
  return { nodeName, nonce };
}

/**
 * True where everything that a token brings is in the files of this box already, and the run that used it came far enough
 * not to need it again: until it is in the control plane, the token alone says of which epochs its secrets are.
 */
async function hasEntered({ config, secrets, paths }: LoadedConfig): Promise<boolean> {
  const isUsing = await exists(redeemerFile(paths.stateDir));
  const needsAuthority = config.controlPlane.mode === "docker" && (await readAuthority(paths.keysDir)) === null;
  if (isUsing || needsAuthority) return false;
  const needed = SHARED_SECRETS.filter((key) => {
    if (key === "otherMasterSecrets") return false;
    if (key === "swarmKey") return config.blocks.mode === "docker";
    return key !== "clusterSecret" || config.cluster.mode === "docker";
  });
  return config.node.clusterId !== null && needed.every((key) => secrets[key] !== null);
}

/**
 * Whether the control plane that the masters share has sealed the newest secrets to this box: one that has left, or was
 * taken out, has the files of before and is let in by a token alone. `unknown`: it does not answer, or not yet.
 */
async function membershipOf(context: JoinContext, saved: LoadedConfig): Promise<"in" | "out" | "unknown"> {
  // Each master has a file of its own, in which it is.
  if (saved.config.controlPlane.mode === "sqlite") return "in";
  const key = await readBoxKey(saved.paths.boxKeyFile);
  const own = await ownSecrets(saved);
  const isOut = (looks: PoolLooks): boolean =>
    FEDERATION_POOLS.some((pool) => {
      const look = looks[pool];
      return own[pool] !== null && look !== null && look.pool.epoch > 0 && newestSecret(look) === null;
    });
  try {
    const deps = { ...context, readOnly: true };
    const looks = await withControlPlane(saved, deps, async (store) => await lookAtPools(store, key));
    return isOut(looks) ? "out" : "in";
  } catch (error) {
    const comes = ["FULA_CONTROL_PLANE_UNREACHABLE", "FULA_NOT_JOINED", "FULA_MEMBERSHIP_NOT_FOUND"] as const;
    if (comes.some((code) => isFulaError(error, code))) return "unknown";
    throw error;
  }
}

/** True where this run was given a join token. */
export function hasToken({ token, tokenFile }: TokenSource, env: JoinContext["env"]): boolean {
  return token !== undefined || tokenFile !== undefined || (env[TOKEN_ENV] ?? "") !== "";
}

/**
 * Looks into the join token of this run without using it up. Null where none was given, and where this box has
 * everything of it.
 * @param saved the configuration as the files alone give it
 * @throws FulaError FULA_USAGE, FULA_TOKEN_*, FULA_DATABASE_UNREACHABLE, FULA_DATABASE_LOGIN, FULA_SEALED_BOX
 */
export async function readEntry(
  context: JoinContext,
  options: JoinOptions,
  reading: ConfigReading,
  saved: LoadedConfig,
): Promise<Entry | null> {
  if (!(await hasEntered(saved))) return await openEntry(context, options, reading);
  if (!hasToken(options, context.env)) return null;
  const membership = await membershipOf(context, saved);
  if (membership === "in") return null;
  try {
    return await openEntry(context, options, reading);
  } catch (error) {
    // The same command line again, on a box whose servers rest: the steps that start them come later.
    if (membership === "unknown" && isFulaError(error) && error.code.startsWith("FULA_TOKEN_")) return null;
    throw error;
  }
}

async function openEntry(context: JoinContext, options: JoinOptions, reading: ConfigReading): Promise<Entry | null> {
  const text = await readTokenText(options, context);
  if (text === null) return null;
  if (options.legacyClusterSecret !== undefined) {
    throw new FulaError(
      "FULA_USAGE",
      "A join token brings the cluster secret; --legacy-cluster-secret would give another.",
      {
        hint: "leave --legacy-cluster-secret out.",
      },
    );
  }
  const token = parseJoinToken(text);
  const { config, paths } = reading;
  if (config.postgres.mode !== "external") {
    throw new FulaError("FULA_USAGE", "A join token needs the ledger of the federation that made it.", {
      hint: "add --postgres-url postgres://user@host:5432/database of the first master, and POSTGRES_PASSWORD.",
    });
  }
  const redeemer = await readRedeemer(paths.stateDir, config.node.name);
  const { clock, signal } = context;
  const look = async (pool: Pool): Promise<JoinBundle> => await peekJoinToken(pool, token, redeemer);
  const bundle = await peekLedger(reading, look, signal, { clock, patienceMs: JOIN_LOGIN_PATIENCE_MS });
  if (bundle === null) throw new Error("An external ledger was looked at and gave nothing");
  return { token, bundle };
}
