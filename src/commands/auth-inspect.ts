import type { InspectedToken } from "../lib/identity/inspect-token.ts";
import { defineCommand } from "../lib/terminal/command.ts";

const KINDS: Readonly<Record<InspectedToken["kind"], string>> = {
  wallet: "a token that a wallet signs",
  jwt: "a JSON Web Token",
  "access-key": "an access key",
  unknown: "unknown",
};

/** A value in one line of ASCII: what a stranger wrote may hold what a terminal takes for a command. */
function shown(value: unknown): string {
  if (typeof value === "string" && /^[ -~]*$/.test(value)) return value;
  return JSON.stringify(value).replaceAll(
    /[^ -~]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

function inspectedText({ kind, problem, says, issuedAt, expiresAt, time, digest, signature }: InspectedToken): string {
  const rows: (readonly [string, string | null])[] = [
    ["It is", KINDS[kind]],
    ["Malformed", problem],
    ...Object.entries(says).map(([name, value]) => [name, shown(value)] as const),
    ["Issued", issuedAt !== null && time === "not-yet" ? `${issuedAt} (in the future)` : issuedAt],
    ["Expires", expiresAt !== null && time === "expired" ? `${expiresAt} (over)` : expiresAt],
    ["Digest", digest],
    ["Signature", signature],
  ];
  const lines = rows.flatMap(([name, value]) => (value === null ? [] : [`${`${name}:`.padEnd(12)} ${value}`]));
  return [...lines, "", "Nothing of this was checked; fula-master auth verify does."].join("\n");
}

/** `auth inspect`: what a token says. */
export const authInspectCommand = defineCommand<{ readonly tokenFile?: string }>({
  name: "inspect",
  summary: "show what a bearer token says, without trusting it",
  description:
    "Decodes a wallet token, a JSON Web Token or an access key: what it says, its times in UTC, what is wrong with its " +
    "form, and the digest by which it is revoked. Secrets and signatures are not printed. Looks at no settings and asks " +
    "nobody. Exit code 1 for a token that is malformed.",
  examples: [
    { command: "fula-master auth inspect - < token", explains: "from standard input, where no other user sees it" },
    { command: "fula-master auth inspect --token-file token", explains: "from a file" },
    {
      command: "fula-master auth inspect - --json < token",
      explains: "kind, problem, says, issuedAt, expiresAt, time, digest, signature",
    },
  ],
  arguments: [{ name: "token", description: "the token, or - for standard input" }],
  options: [{ flags: "--token-file <file>", description: "file with the token, or -" }],
  run: async (context, { tokenFile }, [token]) => {
    const { readBearerToken } = await import("../lib/stack/auth-run.ts");
    const { inspectToken } = await import("../lib/identity/inspect-token.ts");
    const { out, cwd, clock } = context;
    if (token !== undefined && token !== "-")
      out.warn("a token on the command line is seen by every user of this box.");
    const readInput = async (): Promise<string> => await out.readInput("the token");
    const secret = await readBearerToken({ token, tokenFile }, { cwd, readInput });
    const inspected = inspectToken(secret.reveal(), clock.nowMs());
    out.result(inspected, () => inspectedText(inspected));
    return inspected.problem === null ? 0 : 1;
  },
});
