import { InvalidArgumentError } from "commander";
import type { KeyRecord } from "../lib/identity/key-table.ts";
import { FulaError } from "../lib/kernel/errors.ts";
import type { MadeKey } from "../lib/stack/key-run.ts";
import { defineCommand } from "../lib/terminal/command.ts";

const SCOPE_WORDS = ["read", "write", "read,write"] as const;

function stateOf({ state, revokedAt, expiresAt, lastUsedAt }: KeyRecord): string {
  if (state === "revoked") return `revoked ${revokedAt?.slice(0, 10) ?? ""}`;
  if (state === "expired") return `expired ${expiresAt?.slice(0, 10) ?? ""}`;
  if (state === "denied") return "denied: see auth denials";
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
  readonly wallet?: string;
  readonly scope: (typeof SCOPE_WORDS)[number];
  readonly label: string;
  readonly expires?: string;
  readonly bearerOnly?: boolean;
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

function madeText(made: MadeKey): string {
  const { keyId, secret, userId, wallet, scopes, bearerOnly, expiresAt, endpoint, region } = made;
  const owner = wallet === null ? `user ${userId}` : `wallet ${wallet}`;
  const end = expiresAt === null ? "" : `, good until ${expiresAt}`;
  if (made.dryRun) return `Would make a key with ${scopes.join(" and ")} for ${owner}${end}.`;
  return [
    `Access key id:      ${keyId}`,
    `Secret access key:  ${secret}`,
    wallet === null ? `User:               ${userId}` : `Wallet:             ${wallet}`,
    `May:                ${scopes.join(", ")}`,
    `Good until:         ${expiresAt ?? "it is revoked"}`,
    bearerOnly
      ? `Endpoint:           ${endpoint}, with Authorization: Bearer <access key id>.<secret access key>`
      : `Endpoint:           ${endpoint} (region ${region}, path style)`,
    "",
    "The secret is not shown again.",
  ].join("\n");
}

/** `key create`: a new pair for one user or wallet. */
export const keyCreateCommand = defineCommand<CreateOptions>({
  name: "create",
  summary: "make an access key pair for a user or a wallet",
  description:
    "Makes an access key pair and prints it: for S3 clients, and as the bearer token <id>.<secret> for every API. The " +
    "secret is shown this once: it is stored sealed under ENCRYPTION_KEY, because a Signature V4 can only be checked with " +
    "it, or with --bearer-only as a hash alone; no command gives it out again. Writes one row to the ledger, and one to " +
    "the audit log.",
  examples: [
    { command: "fula-master key create --user alice@example.com", explains: "read and write, for one user's buckets" },
    {
      command: "fula-master key create --user alice@example.com --scope read --label backup-check",
      explains: "a key that can only read, with a name to tell it by",
    },
    {
      command: "fula-master key create --user alice@example.com --expires 90d --bearer-only",
      explains: "a token for scripts, which ends by itself and of which nobody keeps the secret",
    },
    {
      command: 'eval "$(fula-master key create --user alice@example.com --env)"',
      explains: "an S3 client that this shell starts needs nothing else",
    },
    {
      command: "fula-master key create --user alice@example.com --json",
      explains: "keyId, secret, userId, wallet, scopes, label, bearerOnly, createdAt, expiresAt and endpoint as JSON",
    },
  ],
  options: [
    { flags: "--user <email|id>", description: "whose buckets it opens: an e-mail address or a user id" },
    { flags: "--wallet <address>", description: "or those of a wallet that signs for itself" },
    { flags: "--scope <scopes>", description: "what it may do", default: "read,write", choices: SCOPE_WORDS },
    { flags: "--label <text>", description: "a name to tell it by", default: "", parse: parseLabel },
    { flags: "--expires <duration|day>", description: "when it ends, such as 90d or 2027-01-31 (default: never)" },
    {
      flags: "--bearer-only",
      description: "keep a hash of the secret alone: good as a bearer token, not for S3 signatures",
    },
    { flags: "--env", description: "print shell lines that set AWS_ACCESS_KEY_ID and its like" },
  ],
  changes: true,
  requires: "operator",
  run: async (context, options) => {
    const { makeAccessKey } = await import("../lib/stack/key-run.ts");
    const { bearerOnly = false, dryRun = false } = options;
    if (bearerOnly && options.env === true) {
      throw new FulaError(
        "FULA_USAGE",
        "--env is for S3 clients, which sign with the key; one with --bearer-only signs nothing.",
        {
          hint: "leave out one of the two; --json prints keyId and secret.",
        },
      );
    }
    const made = await makeAccessKey(context, { ...options, bearerOnly, dryRun });
    const asEnv = options.env === true && !made.dryRun;
    context.out.result(made, () => (asEnv ? shellLines(made) : madeText(made)));
  },
});

/** `key list`: who can get in. */
export const keyListCommand = defineCommand<{
  readonly user?: string;
  readonly wallet?: string;
  readonly revoked?: boolean;
}>({
  name: "list",
  aliases: ["ls"],
  summary: "list access keys",
  description: "Lists access keys, newest first, without their secrets. Reads only.",
  examples: [
    { command: "fula-master key list", explains: "keys in force, when each was last used and when it ends" },
    { command: "fula-master key list --user alice@example.com --revoked", explains: "all that one user ever had" },
    {
      command: "fula-master key list --json",
      explains:
        "keys, each with keyId, userId, wallet, scopes, label, bearerOnly, state, createdAt, createdBy, expiresAt, " +
        "lastUsedAt, revokedAt, revokedBy",
    },
  ],
  options: [
    { flags: "--user <email|id>", description: "only keys of this user" },
    { flags: "--wallet <address>", description: "only keys of this wallet" },
    { flags: "--revoked", description: "also keys that were revoked or have expired" },
  ],
  run: async (context, { user, wallet, revoked = false }) => {
    const { readKeyList } = await import("../lib/stack/key-run.ts");
    const all = await readKeyList(context, { user, wallet });
    const keys = all.filter(({ state }) => revoked || state === "active" || state === "denied");
    context.out.result({ keys }, () => {
      if (keys.length === 0) return "No access keys. Try: fula-master key create --user <email>";
      const columns = ["KEY ID", "OWNER", "MAY", "STATE", "ENDS", "LABEL"].map((title) => ({ title }));
      return context.out.table(
        columns,
        keys.map((key) => [
          key.keyId,
          key.wallet ?? key.userId,
          `${key.scopes.join(", ")}${key.bearerOnly ? " (bearer only)" : ""}`,
          stateOf(key),
          key.expiresAt?.slice(0, 10) ?? "never",
          key.label,
        ]),
      );
    });
  },
});

/** `key revoke`: from now on it opens nothing. */
export const keyRevokeCommand = defineCommand<{ readonly yes?: boolean; readonly dryRun?: boolean }>({
  name: "revoke",
  summary: "revoke an access key",
  description:
    "Revokes an access key, and every session token that was made with it: each request that arrives with one from now " +
    "on is refused, by every master within 5 seconds. What its user stored stays. A revoked key cannot be brought back.",
  examples: [
    { command: "fula-master key revoke FULAABCDEFGH234567AB", explains: "asks first" },
    { command: "fula-master key revoke FULAABCDEFGH234567AB --yes --json", explains: "keyId, revoked and already" },
  ],
  arguments: [{ name: "key-id", description: "the access key id", required: true }],
  changes: true,
  asks: true,
  requires: "operator",
  run: async (context, { yes = false, dryRun = false }, [keyId = ""]) => {
    const { runRevokeKey } = await import("../lib/stack/key-run.ts");
    const { out } = context;
    const report = await runRevokeKey(context, {
      keyId,
      dryRun,
      confirm: async (key) => {
        await out.confirm(`Revoke ${keyId} of ${key.wallet ?? `user ${key.userId}`}?`, yes);
      },
    });
    out.result(report, () => {
      if (report.already) return `Already so: ${keyId} was revoked before.`;
      return dryRun ? `Would revoke ${keyId} of user ${report.userId}.` : `Revoked ${keyId} of user ${report.userId}.`;
    });
  },
});
