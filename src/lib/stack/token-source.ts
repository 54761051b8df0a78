import { resolve } from "node:path";
import { FulaError, messageOf } from "../kernel/errors.ts";
import { readTextIfExists } from "../kernel/files.ts";
import { Secret } from "../kernel/secret.ts";

/** The environment variable that may hold a join token. */
export const TOKEN_ENV = "FULA_JOIN_TOKEN";

/** Where the text of a join token may come from. */
export interface TokenSource {
  /** The text itself, or `-` for standard input. */
  readonly token?: string;
  /** A file that holds it, or `-` for standard input. */
  readonly tokenFile?: string;
}

async function readTokenFile(path: string): Promise<Secret> {
  let text: string | null;
  try {
    text = await readTextIfExists(path);
  } catch (cause) {
    throw new FulaError("FULA_USAGE", `Cannot read the token file ${path}: ${messageOf(cause)}.`, { cause });
  }
  if (text !== null) return new Secret(text);
  throw new FulaError("FULA_USAGE", `There is no token file ${path}.`, {
    hint: "give the file's name, or - and paste the token (Ctrl-D ends it).",
  });
}

/**
 * The text of the join token of this run: from the command line, a file, standard input or the environment, so that it
 * need not stand where every user's `ps` shows it. Null where there is none.
 * @throws FulaError FULA_USAGE
 */
export async function readTokenText(
  { token, tokenFile }: TokenSource,
  context: {
    readonly env: Readonly<Record<string, string | undefined>>;
    readonly cwd: string;
    readonly readInput: () => Promise<string>;
  },
): Promise<Secret | null> {
  if (token !== undefined && tokenFile !== undefined) {
    throw new FulaError("FULA_USAGE", "--token and --token-file were both given.", { hint: "leave one of them out." });
  }
  if (token === "-" || tokenFile === "-") return new Secret(await context.readInput());
  if (token !== undefined) return new Secret(token);
  if (tokenFile !== undefined) return await readTokenFile(resolve(context.cwd, tokenFile));
  const fromEnv = context.env[TOKEN_ENV] ?? "";
  return fromEnv === "" ? null : new Secret(fromEnv);
}
