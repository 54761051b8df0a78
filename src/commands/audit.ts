import { InvalidArgumentError } from "commander";
import { defineCommand } from "../lib/terminal/command.ts";

interface AuditListOptions {
  readonly since?: string;
  readonly actor?: string;
  readonly action?: string;
  readonly target?: string;
  readonly limit: number;
}

const LIMIT_MAX = 10_000;

function parseLimit(text: string): number {
  const limit = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  if (limit >= 1 && limit <= LIMIT_MAX) return limit;
  throw new InvalidArgumentError(`It must be a whole number from 1 to ${LIMIT_MAX}.`);
}

/** `field: value` of what an entry says beside who, what and to whom. */
function detailsText(details: Readonly<Record<string, unknown>>): string {
  return Object.entries(details)
    .filter(([, value]) => value !== null)
    .map(([name, value]) => `${name}: ${typeof value === "string" ? value : JSON.stringify(value)}`)
    .join(", ");
}

/** `fula-master audit list`: what operators, administrators and users did with keys, credits and wallets. */
const auditListCommand = defineCommand<AuditListOptions>({
  name: "list",
  aliases: ["ls"],
  summary: "list who did what with keys, credentials, credits and wallets",
  description: "Lists entries of the ledger's audit log, the newest first. Reads only.",
  examples: [
    { command: "fula-master audit list --since 24h", explains: "what was done since yesterday, by whom, and why" },
    { command: 'fula-master audit list --action "key.*"', explains: "every key that was made or revoked" },
    {
      command: "fula-master audit list --actor admin:3f2a… --json",
      explains: "entries, each with id, at, actor, action, target and details",
    },
  ],
  options: [
    { flags: "--since <time>", description: "from this time on (UTC), or how long ago: 90m, 36h, 7d" },
    { flags: "--actor <name>", description: "who did it; a name that ends in * stands for all that begin so" },
    { flags: "--action <name>", description: "what was done, such as credential.deny or key.*" },
    { flags: "--target <id>", description: "what it was done to: a user id, a key id, a digest" },
    { flags: "--limit <count>", description: "entries at most", default: 50, parse: parseLimit },
  ],
  run: async (context, { since, actor, action, target, limit }) => {
    const { runAuditList } = await import("../lib/stack/audit-run.ts");
    const entries = await runAuditList(context, { since, actor, action, target, limit });
    context.out.result({ entries }, () => {
      if (entries.length === 0) return "No entries.";
      return context.out.table(
        [
          { title: "TIME (UTC)" },
          { title: "WHO", cut: "middle" },
          { title: "DID" },
          { title: "TO", cut: "middle" },
          { title: "DETAILS", cut: "end" },
        ],
        entries.map((entry) => [
          entry.at?.slice(0, 19).replace("T", " ") ?? "-",
          entry.actor ?? "-",
          entry.action,
          entry.target ?? "-",
          detailsText(entry.details),
        ]),
      );
    });
  },
});

/** `fula-master audit`: who did what. */
export const auditCommand = defineCommand({
  name: "audit",
  summary: "who did what: keys, credentials, credits, wallets",
  description:
    "Shows the audit log: what operators, administrators and users did with keys, credentials, credits and wallets. An " +
    "entry is written in the same transaction as what it tells of.",
  examples: [{ command: "fula-master audit list", explains: "the newest entries" }],
  subcommands: [auditListCommand],
});
