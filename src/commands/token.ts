import type { RevokeReport, TokenReport } from "../lib/stack/token-run.ts";
import type { TokenRecord } from "../lib/membership/token-table.ts";
import { defineCommand } from "../lib/terminal/command.ts";

interface CreateOptions {
  readonly role: "master" | "storage";
  readonly expires: string;
  readonly dryRun?: boolean;
}

const CAUTIONS = {
  master: [
    "It is good once. Whoever has it, and a way into the ledger's database, can become a master: hand it over by a way",
    "that nobody else reads. It opens the federation's secrets; they lie sealed in the ledger until it is used.",
  ],
  storage: [
    "Whoever has it can join as a storage node until then, any number of times, and can read what is pinned until the",
    "cluster secret is changed: it cannot be called back. It gives no right to change the pinset.",
  ],
} as const;

/** What an operator must know about a token; it goes to stderr, so that the token alone goes into a file. */
function remarksOn({ role, expiresAt, key, issuer, masters, remarks }: TokenReport): string {
  const command = role === "master" ? "join" : "join-as-storage-node";
  return [
    "",
    `Good until:  ${expiresAt}`,
    `Made by:     ${issuer}, for ${role === "master" ? "a master" : "a storage node"}`,
    `Masters:     ${masters.join(", ")}`,
    `Key:         ${key}`,
    "",
    ...CAUTIONS[role],
    ...remarks.flatMap((remark) => ["", remark]),
    "",
    "On the new box:",
    `  fula-master ${command} --token -     (paste the token)`,
  ].join("\n");
}

function createdText({ token, role, expiresAt }: TokenReport): string {
  return (
    token ?? `Would make a join token for a ${role === "master" ? "master" : "storage node"}, good until ${expiresAt}.`
  );
}

/** `token create`: lets one more box in. */
const tokenCreateCommand = defineCommand<CreateOptions>({
  name: "create",
  summary: "make a token with which one more box can join",
  description:
    "Makes a join token and prints it, this once. That of a master is good once: the secrets that all masters share are " +
    "sealed into the ledger, and the key is in the token alone. That of a storage node carries the cluster's secret and " +
    "the signed list of the masters itself, because such a node has no way to the ledger; it also pins a small probe " +
    "block on every peer. Writes one row to the ledger.",
  examples: [
    { command: "fula-master token create", explains: "for a second master; good once, for a day" },
    {
      command: "fula-master token create --role storage --expires 1h > token",
      explains: "for a storage node; the token alone goes into the file",
    },
    {
      command: "fula-master token create --json",
      explains: "token, id, role, issuer, expiresAt, key, masters and remarks as JSON",
    },
  ],
  options: [
    {
      flags: "--role <role>",
      description: "what the new box will be",
      default: "master",
      choices: ["master", "storage"],
    },
    { flags: "--expires <duration>", description: "how long it is good, 30d at most", default: "24h" },
  ],
  changes: true,
  requires: "admin",
  run: async (context, { role, expires, dryRun = false }) => {
    const { makeToken } = await import("../lib/stack/token-run.ts");
    const report = await makeToken(context, { role, expires, dryRun });
    context.out.result(report, () => createdText(report));
    if (report.token !== null && !context.out.json) context.out.note(remarksOn(report));
  },
});

function fateOf({ state, redeemedBy, redeemedAt, revokedAt, expiresAt }: TokenRecord): string {
  if (state === "redeemed") return `used by ${redeemedBy ?? "a node"} ${redeemedAt ?? ""}`;
  return state === "revoked"
    ? `revoked ${revokedAt ?? ""}`
    : `${state === "open" ? "good until" : "expired"} ${expiresAt}`;
}

const tokenListCommand = defineCommand({
  name: "list",
  aliases: ["ls"],
  summary: "list join tokens and what became of them",
  description:
    "Lists every join token that was made, newest first, without its text. Whether a storage node used one is not known " +
    "here: it does not ask the ledger. Reads only.",
  examples: [
    { command: "fula-master token list", explains: "which are still good" },
    {
      command: "fula-master token list --json",
      explains: "tokens, each with id, role, issuer, state and its times",
    },
  ],
  run: async (context) => {
    const { readTokens } = await import("../lib/stack/token-run.ts");
    const tokens = await readTokens(context);
    context.out.result({ tokens }, () => {
      if (tokens.length === 0) return "No join tokens. Try: fula-master token create";
      return context.out.table(
        ["ID", "FOR", "MADE BY", "STATE"].map((title) => ({ title })),
        tokens.map((token) => [token.id, token.role, token.issuer, fateOf(token)]),
      );
    });
  },
});

function revokedText({ token, changed, dryRun }: RevokeReport): string {
  if (!changed) return `${token.id} was revoked already.`;
  const done = `${dryRun ? "Would revoke" : "Revoked"} ${token.id}.`;
  if (token.role === "master") return done;
  return `${done} A storage node's token works without the ledger: whoever has it can still join until ${token.expiresAt}. Change the cluster secret if it fell into wrong hands.`;
}

const tokenRevokeCommand = defineCommand<{ readonly dryRun?: boolean }>({
  name: "revoke",
  summary: "take a join token back that was not used yet",
  description:
    "Revokes a join token and wipes what was sealed for it. A storage node's token is only marked: it works without the " +
    "ledger until it expires.",
  examples: [
    {
      command: "fula-master token revoke 7d4b3f0e-4c5a-4f6e-9d2b-1a2b3c4d5e6f",
      explains: "by the id that token list shows",
    },
  ],
  arguments: [{ name: "id", description: "the token's id", required: true }],
  changes: true,
  requires: "admin",
  run: async (context, { dryRun = false }, [id = ""]) => {
    const { withdrawToken } = await import("../lib/stack/token-run.ts");
    const report = await withdrawToken(context, id, dryRun);
    context.out.result(report, () => revokedText(report));
  },
});

/** `fula-master token`: what lets further boxes in. */
export const tokenCommand = defineCommand({
  name: "token",
  summary: "tokens with which further boxes join",
  description: "Makes, lists and revokes the tokens with which masters and storage nodes join this federation.",
  examples: [
    { command: "fula-master token create", explains: "for a second master" },
    { command: "fula-master token create --role storage", explains: "for a storage node" },
    { command: "fula-master token list", explains: "which were made, and what became of them" },
  ],
  subcommands: [tokenCreateCommand, tokenListCommand, tokenRevokeCommand],
});
