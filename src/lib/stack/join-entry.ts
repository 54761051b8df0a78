import { join } from "node:path";
import type { ConfigReading, LoadedConfig } from "../config/load.ts";
import { FulaError } from "../kernel/errors.ts";
import { readTextIfExists, SECRET_FILE_MODE, writeFileAtomic } from "../kernel/files.ts";
import type { Random } from "../kernel/random.ts";
import { type JoinBundle, SHARED_SECRETS } from "../membership/join-bundle.ts";
import { type JoinToken, parseJoinToken } from "../membership/join-token.ts";
import { peekJoinToken, type Redeemer } from "../membership/token-table.ts";
import type { JoinContext } from "./join-box.ts";
import type { JoinOptions } from "./join-options.ts";
import { peekLedger } from "./ledger-peek.ts";
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

/** True where everything that a token brings is in the files of this box already. */
function hasEntered({ config, secrets }: LoadedConfig): boolean {
  const needed = SHARED_SECRETS.filter((key) => key !== "clusterSecret" || config.cluster.mode === "docker");
  return config.node.clusterId !== null && needed.every((key) => secrets[key] !== null);
}

/** True where this run was given a join token. */
export function hasToken({ token, tokenFile }: TokenSource, env: JoinContext["env"]): boolean {
  return token !== undefined || tokenFile !== undefined || (env[TOKEN_ENV] ?? "") !== "";
}

/**
 * Looks into the join token of this run without using it up. Null where none was given, and where this box has
 * everything of it.
 * @param saved the configuration as the files alone give it
 * @throws FulaError FULA_USAGE, FULA_TOKEN_*, FULA_DATABASE_UNREACHABLE, FULA_DATABASE_LOGIN
 */
export async function readEntry(
  context: JoinContext,
  options: JoinOptions,
  reading: ConfigReading,
  saved: LoadedConfig,
): Promise<Entry | null> {
  if (hasEntered(saved)) return null;
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
  const bundle = await peekLedger(reading, async (pool) => await peekJoinToken(pool, token, redeemer));
  if (bundle === null) throw new Error("An external ledger was looked at and gave nothing");
  return { token, bundle };
}
