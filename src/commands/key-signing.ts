import { InvalidArgumentError } from "commander";
import type { CallerScope } from "../lib/identity/bearer.ts";
import { formatDuration, parseDurationMs } from "../lib/kernel/units.ts";
import type { RotateReport, SigningKeyReport } from "../lib/stack/signing-run.ts";
import { defineCommand } from "../lib/terminal/command.ts";

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const RIGHTS = ["read", "write", "admin"] as const satisfies readonly CallerScope[];

function parseTime(text: string): number {
  const ms = parseDurationMs(text);
  if (ms === null) throw new InvalidArgumentError("Give a duration such as 90s, 12h or 7d.");
  return ms;
}

function parseScopes(text: string): readonly CallerScope[] {
  const wanted = text.split(",");
  const scopes = RIGHTS.filter((scope) => wanted.includes(scope));
  if (scopes.length !== wanted.length) throw new InvalidArgumentError(`Give some of ${RIGHTS.join(",")}.`);
  return scopes;
}

function rotatedText({ dryRun, kid, signsFrom, othersVerifyUntil, overlapSeconds, retireEnv }: RotateReport): string {
  const others = retireEnv ? "all others, JWT_SECRET too," : "the others, but for JWT_SECRET,";
  if (dryRun) return `Would make a key; ${others} would verify for another ${formatDuration(overlapSeconds * 1_000)}.`;
  return [
    `Signing key ${kid} signs from ${signsFrom} on: every master knows it by then.`,
    `Until ${othersVerifyUntil} ${others} still verify what they signed.`,
  ].join("\n");
}

/** `key rotate`: session tokens are signed by a new key. */
export const keyRotateCommand = defineCommand<{
  readonly overlap?: number;
  readonly retireEnv?: boolean;
  readonly yes?: boolean;
  readonly dryRun?: boolean;
}>({
  name: "rotate",
  summary: "have session tokens signed by a new key",
  description:
    "Makes a key that signs session tokens, sealed in the ledger, where every master finds it; it signs half a minute " +
    "later, when all of them know it. Those of before verify what they signed until the overlap is over, so that nobody " +
    "is signed out who need not be. JWT_SECRET, with which the web UI of the existing fleet signs, stays in use until " +
    "--retire-env. Writes to the ledger and to the audit log.",
  examples: [
    { command: "fula-master key rotate", explains: "tokens of up to now are good for another day" },
    { command: "fula-master key rotate --overlap 0s", explains: "a key has leaked: its tokens end in half a minute" },
    {
      command: "fula-master key rotate --overlap 7d --retire-env --yes --json",
      explains: "kid, signsFrom and othersVerifyUntil; JWT_SECRET ends as well",
    },
  ],
  options: [
    {
      flags: "--overlap <duration>",
      description: "how long the keys of before still verify (default: 1d)",
      parse: parseTime,
    },
    { flags: "--retire-env", description: "also take JWT_SECRET out of use; asks first" },
  ],
  changes: true,
  asks: true,
  requires: "admin",
  run: async (context, { overlap: overlapMs = DAY_MS, retireEnv = false, yes = false, dryRun = false }) => {
    const { runRotate } = await import("../lib/stack/signing-run.ts");
    const { out } = context;
    const confirm = async (question: string): Promise<void> => {
      await out.confirm(question, yes);
    };
    const report = await runRotate(context, { overlapMs, retireEnv, dryRun, confirm });
    out.result(report, () => rotatedText(report));
  },
});

function untilOf({ state, verifiesUntil, signsFrom }: SigningKeyReport): string {
  if (state === "next") return `signs from ${signsFrom ?? ""}`;
  return verifiesUntil ?? "a newer key takes its place";
}

/** `key signing`: which keys session tokens are good under. */
export const keySigningCommand = defineCommand({
  name: "signing",
  summary: "list the keys that sign session tokens",
  description:
    "Lists the keys that session tokens are signed and verified with, newest first, without their secrets: those of the " +
    "ledger, and JWT_SECRET of the settings (env). Reads only.",
  examples: [
    { command: "fula-master key signing", explains: "which one signs, and until when the others verify" },
    {
      command: "fula-master key signing --json",
      explains: "keys, each with kid, from, state, createdAt, createdBy, signsFrom, verifiesUntil",
    },
  ],
  run: async (context) => {
    const { readSigningList } = await import("../lib/stack/signing-run.ts");
    const keys = await readSigningList(context);
    context.out.result({ keys }, () => {
      if (keys.length === 0) return "No key signs session tokens. Try: fula-master key rotate";
      const columns = ["KID", "FROM", "STATE", "UNTIL", "MADE BY"].map((title) => ({ title }));
      return context.out.table(
        columns,
        keys.map((key) => [key.kid, key.from, key.state, untilOf(key), key.createdBy ?? ""]),
      );
    });
  },
});

/** `key session`: a token for somebody. */
export const keySessionCommand = defineCommand<{
  readonly user?: string;
  readonly wallet?: string;
  readonly scope?: readonly CallerScope[];
  readonly lifetime?: number;
  readonly dryRun?: boolean;
}>({
  name: "session",
  summary: "issue a session token for a user or a wallet",
  description:
    "Signs a session token (a JSON Web Token, HS256) and prints it, and nothing else, on standard output. Whoever has it " +
    "is let in by every master until it ends. Writes one row to the audit log.",
  examples: [
    { command: "fula-master key session --user alice@example.com --lifetime 10m", explains: "for a script or a test" },
    {
      command: "fula-master key session --user alice@example.com --scope read --json",
      explains: "token, kid, subject, scope and expiresAt",
    },
  ],
  options: [
    { flags: "--user <email|id>", description: "whom it stands for: an e-mail address or a user id" },
    { flags: "--wallet <address>", description: "or a wallet that signs for itself" },
    {
      flags: "--scope <scopes>",
      description: "what it may do: read, write and admin, with commas (default: read,write)",
      parse: parseScopes,
    },
    {
      flags: "--lifetime <duration>",
      description: "when it ends, 30d at most (default: 1h)",
      parse: parseTime,
    },
  ],
  changes: true,
  requires: "operator",
  run: async (
    context,
    { scope: scopes = ["read", "write"], lifetime: lifetimeMs = HOUR_MS, dryRun = false, ...words },
  ) => {
    const { issueSession } = await import("../lib/stack/signing-run.ts");
    const report = await issueSession(context, { ...words, scopes, lifetimeMs, dryRun });
    context.out.result(report, () =>
      dryRun
        ? `Would issue a token for ${report.subject} with ${report.scope} until ${report.expiresAt}.`
        : (report.token ?? ""),
    );
  },
});
