import { loadConfig } from "../config/load.ts";
import { SCOPES, type Scope } from "../identity/access-key.ts";
import { createAccessKey } from "../identity/key-table.ts";
import { createSecretSealer } from "../identity/sealed-secret.ts";
import { resolveUserId } from "../identity/user-id.ts";
import type { Clock } from "../kernel/clock.ts";
import { FulaError } from "../kernel/errors.ts";
import type { Random } from "../kernel/random.ts";
import { withLedger } from "./ledger.ts";

/** What `key create` is given. */
export interface MakeKeyOptions {
  readonly user?: string | undefined;
  /** `read`, `write`, or both with a comma. */
  readonly scope: string;
  readonly label: string;
  readonly dryRun: boolean;
}

/** What `key create` prints; `--json` keeps these fields. */
export interface MadeKey {
  readonly dryRun: boolean;
  /** Null in a dry run. */
  readonly keyId: string | null;
  /** In the clear, this once. */
  readonly secret: string | null;
  readonly userId: string;
  readonly scopes: readonly Scope[];
  readonly label: string;
  /** RFC 3339, UTC. */
  readonly createdAt: string | null;
  /** Base URL of this master's gateway. */
  readonly endpoint: string;
  readonly region: string;
}

/** What making a key takes from its command. */
export interface MakeKeyContext {
  readonly globals: { readonly baseDir?: string; readonly config?: string };
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly signal: AbortSignal;
}

function requireUser(user: string | undefined): string {
  if (user !== undefined) return resolveUserId(user);
  throw new FulaError("FULA_USAGE", "key create needs --user: a key opens the buckets of one user.", {
    hint: "fula-master key create --user alice@example.com",
  });
}

/**
 * Makes an access key for a user of this master.
 * @throws FulaError FULA_USAGE, FULA_USER_INVALID, FULA_ENCRYPTION_KEY_INVALID, and what opening the ledger throws
 */
export async function makeAccessKey(context: MakeKeyContext, options: MakeKeyOptions): Promise<MadeKey> {
  const userId = requireUser(options.user);
  const loaded = await loadConfig(context);
  const sealer = createSecretSealer(loaded.secrets.encryptionKey);
  const wanted = options.scope.split(",");
  const scopes = SCOPES.filter((scope) => wanted.includes(scope.slice("storage:".length)));
  const { host, port, region } = loaded.config.gateway;
  const shared = {
    userId,
    scopes,
    label: options.label,
    endpoint: `http://${host.includes(":") ? `[${host}]` : host}:${port}`,
    region,
  };
  if (options.dryRun) return { dryRun: true, keyId: null, secret: null, createdAt: null, ...shared };
  const { clock, random, signal } = context;
  const { pair, record } = await withLedger(
    loaded,
    { clock, random, signal, part: "key" },
    async (pool) => await createAccessKey(pool, { userId, scopes, label: options.label }, { sealer, random }),
  );
  return { dryRun: false, keyId: pair.keyId, secret: pair.secret.reveal(), createdAt: record.createdAt, ...shared };
}
