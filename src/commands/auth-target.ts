import type { DenialContext, DenialReport } from "../lib/stack/denial-run.ts";
import type { CommandContext, OptionSpec } from "../lib/terminal/command.ts";

/** What `auth deny` and `auth lift` may be given. */
export interface DenialCommandOptions {
  readonly tokenFile?: string;
  readonly digest?: string;
  readonly key?: string;
  readonly wallet?: string;
  readonly user?: string;
  readonly reason?: string;
  readonly operator?: string;
  readonly dryRun?: boolean;
}

/** The options that name a credential or a subject, and why. */
export const DENIAL_OPTIONS: readonly OptionSpec[] = [
  { flags: "--token-file <file>", description: "a bearer token: the file that holds it, or - for standard input" },
  { flags: "--digest <hex>", description: "a credential by its digest, as auth inspect and the log tell it" },
  { flags: "--key <key-id>", description: "an access key" },
  { flags: "--wallet <address>", description: "everything of a wallet" },
  { flags: "--user <email|id>", description: "everything of a user: sessions, tokens, access keys" },
  { flags: "--reason <text>", description: "why; written into the ledger (needed)" },
  { flags: "--operator <name>", description: "who decided it (default: who runs the command, and this box)" },
];

/** What they come to. */
export function denialOptionsOf({
  tokenFile,
  digest,
  key,
  wallet,
  user,
  reason,
  operator,
  dryRun,
}: DenialCommandOptions) {
  return { tokenFile, digest, keyId: key, wallet, user, reason, operator, dryRun: dryRun === true };
}

/** A command's context, with its standard input. */
export function denialContextOf(context: CommandContext): DenialContext & CommandContext {
  return { ...context, readInput: async () => await context.out.readInput("the token") };
}

/** What is denied, in words. */
export function denialText({
  kind,
  subject,
  issuedBefore,
}: Pick<DenialReport, "kind" | "subject" | "issuedBefore">): string {
  return kind === "digest" ? `the credential ${subject}` : `what ${kind} ${subject} was given before ${issuedBefore}`;
}
