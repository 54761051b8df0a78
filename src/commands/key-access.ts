import { InvalidArgumentError } from "commander";
import type { KeyRecord } from "../lib/identity/key-table.ts";
import type { MadeKey } from "../lib/stack/key-run.ts";
import type { Pool } from "../lib/postgres/pool.ts";
import { type CommandContext, defineCommand } from "../lib/terminal/command.ts";

const SCOPE_WORDS = ["read", "write", "read,write"] as const;

async function withKeys<T>(context: CommandContext, use: (pool: Pool) => Promise<T>): Promise<T> {
  const { loadConfig } = await import("../lib/config/load.ts");
  const { withLedger } = await import("../lib/stack/ledger.ts");
  const { clock, random, signal } = context;
  return await withLedger(await loadConfig(context), { clock, random, signal, part: "key" }, use);
}

function stateOf({ revokedAt, lastUsedAt }: KeyRecord): string {
  if (revokedAt !== null) return `revoked ${revokedAt.slice(0, 10)}`;
  return lastUsedAt === null ? "never used" : `used ${lastUsedAt.slice(0, 16).replace("T", " ")}`;
}

function parseLabel(text: string): string {
  // oxlint-disable-next-line no-control-regex -- they are what is refused
  if (text.length > 100 || /[\u0000-\u001f\u007f]/.test(text)) {
    throw new InvalidArgumentError("It must be one line of at most 100 characters.");
  }
  return text;
}

interface CreateOptions {
  readonly user?: string;
  readonly scope: (typeof SCOPE_WORDS)[number];
  readonly label: string;
  readonly env?: boolean;
  readonly dryRun?: boolean;
}

/** Shell lines for the environment that AWS's SDKs and command line read; no value has a character to quote. */
function shellLines({ keyId, secret, endpoint, region }: MadeKey): string {
  const values = {
    AWS_ACCESS_KEY_ID: keyId,
    AWS_SECRET_ACCESS_KEY: secret,
    AWS_ENDPOINT_URL_S3: endpoint,
    AWS_REGION: region,
  };
  return Object.entries(values)
    .map(([name, value]) => `export ${name}=${value}`)
    .join("\n");
}

/** `key create`: a new pair for one user. */
export const keyCreateCommand = defineCommand<CreateOptions>({
  name: "create",
  summary: "make an access key pair for a user of the S3 gateway",
  description:
    "Makes an access key pair for S3 clients and prints it. The secret is shown this once: it is stored sealed under " +
    "ENCRYPTION_KEY and no command gives it out again. Writes one row to the ledger.",
  examples: [
    { command: "fula-master key create --user alice@example.com", explains: "read and write, for one user's buckets" },
    {
      command: "fula-master key create --user alice@example.com --scope read --label backup-check",
      explains: "a key that can only read, with a name to tell it by",
    },
    {
      command: 'eval "$(fula-master key create --user alice@example.com --env)"',
      explains: "an S3 client that this shell starts needs nothing else",
    },
    {
      command: "fula-master key create --user alice@example.com --json",
      explains: "keyId, secret, userId, scopes, label, createdAt and endpoint as JSON",
    },
  ],
  options: [
    { flags: "--user <email|id>", description: "whose buckets it opens: an e-mail address or a user id (needed)" },
    { flags: "--scope <scopes>", description: "what it may do", default: "read,write", choices: SCOPE_WORDS },
    { flags: "--label <text>", description: "a name to tell it by", default: "", parse: parseLabel },
    { flags: "--env", description: "print shell lines that set AWS_ACCESS_KEY_ID and its like" },
  ],
  changes: true,
  run: async (context, options) => {
    const { makeAccessKey } = await import("../lib/stack/key-run.ts");
    const made = await makeAccessKey(context, { ...options, dryRun: options.dryRun === true });
    if (options.env === true && !made.dryRun) {
      context.out.result(made, () => shellLines(made));
      return;
    }
    context.out.result(made, () =>
      made.dryRun
        ? `Would make a key with ${made.scopes.join(" and ")} for user ${made.userId}.`
        : [
            `Access key id:      ${made.keyId}`,
            `Secret access key:  ${made.secret}`,
            `User:               ${made.userId}`,
            `May:                ${made.scopes.join(", ")}`,
            `Endpoint:           ${made.endpoint} (region ${made.region}, path style)`,
            "",
            "The secret is not shown again.",
          ].join("\n"),
    );
  },
});

/** `key list`: who can get in. */
export const keyListCommand = defineCommand<{ readonly user?: string; readonly revoked?: boolean }>({
  name: "list",
  aliases: ["ls"],
  summary: "list the access keys of the S3 gateway",
  description: "Lists access keys, newest first, without their secrets. Reads only.",
  examples: [
    { command: "fula-master key list", explains: "keys in force, and when each was last used" },
    { command: "fula-master key list --user alice@example.com --revoked", explains: "all that one user ever had" },
    {
      command: "fula-master key list --json",
      explains: "keys, each with keyId, userId, scopes, label, createdAt, lastUsedAt, revokedAt",
    },
  ],
  options: [
    { flags: "--user <email|id>", description: "only keys of this user" },
    { flags: "--revoked", description: "also keys that were revoked" },
  ],
  run: async (context, { user, revoked = false }) => {
    const { listAccessKeys } = await import("../lib/identity/key-table.ts");
    const { resolveUserId } = await import("../lib/identity/user-id.ts");
    const userId = user === undefined ? null : resolveUserId(user);
    const all = await withKeys(context, async (pool) => await listAccessKeys(pool, userId));
    const keys = all.filter(({ revokedAt }) => revoked || revokedAt === null);
    context.out.result({ keys }, () => {
      if (keys.length === 0) return "No access keys. Try: fula-master key create --user <email>";
      const columns = ["KEY ID", "USER", "MAY", "STATE", "LABEL"].map((title) => ({ title }));
      return context.out.table(
        columns,
        keys.map((key) => [key.keyId, key.userId, key.scopes.join(", "), stateOf(key), key.label]),
      );
    });
  },
});

/** `key revoke`: from now on it opens nothing. */
export const keyRevokeCommand = defineCommand<{ readonly yes?: boolean; readonly dryRun?: boolean }>({
  name: "revoke",
  summary: "revoke an access key of the S3 gateway",
  description:
    "Revokes an access key: every request that arrives with it from now on is refused. What its user stored stays. A " +
    "revoked key cannot be brought back.",
  examples: [
    { command: "fula-master key revoke FULAABCDEFGH234567AB", explains: "asks first" },
    { command: "fula-master key revoke FULAABCDEFGH234567AB --yes --json", explains: "keyId, revoked and already" },
  ],
  arguments: [{ name: "key-id", description: "the access key id", required: true }],
  changes: true,
  asks: true,
  run: async (context, { yes = false, dryRun = false }, [keyId = ""]) => {
    const { readAccessKey, revokeAccessKey } = await import("../lib/identity/key-table.ts");
    const { out } = context;
    const { userId, already } = await withKeys(context, async (pool) => {
      const key = await readAccessKey(pool, keyId);
      if (dryRun || key.revokedAt !== null) return { userId: key.userId, already: key.revokedAt !== null };
      await out.confirm(`Revoke ${keyId} of user ${key.userId}?`, yes);
      return { userId: key.userId, already: (await revokeAccessKey(pool, keyId)) === null };
    });
    out.result({ keyId, userId, dryRun, revoked: already || !dryRun, already }, () => {
      if (already) return `Already so: ${keyId} was revoked before.`;
      return dryRun ? `Would revoke ${keyId} of user ${userId}.` : `Revoked ${keyId} of user ${userId}.`;
    });
  },
});
