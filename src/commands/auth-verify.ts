import type { VerifiedToken } from "../lib/server/auth-verify.ts";
import { defineCommand } from "../lib/terminal/command.ts";

const WAYS: Readonly<Record<NonNullable<VerifiedToken["by"]>, string>> = {
  eip712: "a wallet's signature",
  jwt: "a JSON Web Token",
  session: "a session of the web UI",
  key: "an access key",
  service: "another gateway's word",
};

function verifiedText({ because, by, subject, userId, ownerId, scopes, digest, expiresAt }: VerifiedToken): string {
  if (because !== null || by === null) return `Refused: ${because ?? "nobody knows it"}.`;
  return [
    `Accepted, by ${WAYS[by]}.`,
    `Who:      ${subject}`,
    `Account:  ${userId}`,
    `Owner:    ${ownerId}`,
    `May:      ${scopes?.join(", ") ?? ""}`,
    `Expires:  ${expiresAt ?? "never"}`,
    `Digest:   ${digest}`,
  ].join("\n");
}

/** `auth verify`: whether this master would take a token. */
export const authVerifyCommand = defineCommand<{ readonly tokenFile?: string }>({
  name: "verify",
  summary: "tell whether this master would let a bearer token in",
  description:
    "Judges a bearer token as this master's listeners would now: its settings, its keys, the list of what was revoked, " +
    "and for contract wallets their chain. Tells whose it is and which account pays. Reads only. Exit code 0 where it is " +
    "accepted, 1 where it is refused, 4 where that could not be found out.",
  examples: [
    { command: "fula-master auth verify - < token", explains: "from standard input, where no other user sees it" },
    {
      command: "fula-master auth verify --token-file token --json",
      explains: "accepted, because, by, subject, userId, ownerId, scopes, digest, expiresAt",
    },
  ],
  arguments: [{ name: "token", description: "the token, or - for standard input" }],
  options: [{ flags: "--token-file <file>", description: "file with the token, or -" }],
  run: async (context, { tokenFile }, [token]) => {
    const { readBearerToken } = await import("../lib/stack/auth-run.ts");
    const { verifyBearerToken } = await import("../lib/server/auth-verify.ts");
    const { out, cwd } = context;
    if (token !== undefined && token !== "-")
      out.warn("a token on the command line is seen by every user of this box.");
    const readInput = async (): Promise<string> => await out.readInput("the token");
    const secret = await readBearerToken({ token, tokenFile }, { cwd, readInput });
    const verified = await verifyBearerToken(context, secret);
    out.result(verified, () => verifiedText(verified));
    return verified.accepted ? 0 : 1;
  },
});
