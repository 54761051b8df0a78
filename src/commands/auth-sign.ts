import { InvalidArgumentError } from "commander";
import type { SignOptions } from "../lib/stack/auth-run.ts";
import { defineCommand } from "../lib/terminal/command.ts";

function parseChain(text: string): number {
  if (/^[1-9]\d{0,14}$/.test(text)) return Number(text);
  throw new InvalidArgumentError("It must be the number of a chain, such as 1 or 8453.");
}

/** `auth sign`: a token as a wallet would make it. */
export const authSignCommand = defineCommand<Omit<SignOptions, "v1"> & { readonly v1?: boolean }>({
  name: "sign",
  summary: "make a bearer token with a wallet's secret key",
  description:
    "Signs a wallet token with a secret key from a file and prints it: for tests, and for programs that have a wallet of " +
    "their own. It is good on its own, without being known to any master before. Writes nothing.",
  examples: [
    {
      command: "fula-master auth sign --key-file wallet.key > token",
      explains: "for this box's federation, for an hour",
    },
    {
      command:
        "fula-master auth sign --key-file wallet.key --scope storage:read --lifetime 10m --audience master:0b9d8d1e-6f53-4c1a-9d3e-0a8f4f8e2a11/fula-1",
      explains: "one that reads, on one master alone",
    },
    {
      command: "fula-master auth sign --key-file - --v1 < wallet.key",
      explains: "as wallets of the existing fleet do",
    },
    {
      command: "fula-master auth sign --key-file wallet.key --json",
      explains: "token, version, wallet, audience, scope, chainId, nonce, issuedAt, expiresAt, digest",
    },
  ],
  options: [
    { flags: "--key-file <file>", description: "secret key, 64 hex digits, mode 0600; - for standard input (needed)" },
    { flags: "--audience <audience>", description: "federation:<id> or master:<id>/<name> (default: this federation)" },
    { flags: "--lifetime <time>", description: "how long it is good, at most 24h", default: "1h" },
    { flags: "--scope <words>", description: "what may be done with it (default: storage:*)" },
    { flags: "--chain <id>", description: "the chain that it names (default: 1)", parse: parseChain },
    { flags: "--v1", description: "the existing fleet's token, good on every master that sees it" },
  ],
  run: async (context, options) => {
    const { signWalletToken } = await import("../lib/stack/auth-run.ts");
    const { out } = context;
    const readInput = async (): Promise<string> => await out.readInput("the wallet's key");
    const signed = await signWalletToken({ ...context, readInput }, { ...options, v1: options.v1 === true });
    out.result(signed, () => signed.token);
  },
});
