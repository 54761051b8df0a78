import { defineCommand } from "../lib/terminal/command.ts";
import { keyCreateCommand, keyListCommand, keyRevokeCommand } from "./key-access.ts";
import { keyTrustCommand, keyTrustedCommand, keyUntrustCommand } from "./key-trust.ts";

/** `key`: keys that let clients in, and keys whose snapshots count. */
export const keyCommand = defineCommand({
  name: "key",
  summary: "access keys of the gateway, and trusted snapshot keys",
  description:
    "Makes, lists and revokes the access keys of the S3 gateway, and says which boxes' snapshot signatures are trusted.",
  examples: [
    { command: "fula-master key create --user alice@example.com", explains: "a key pair for an S3 client" },
    { command: "fula-master key list", explains: "who can get in" },
    { command: "fula-master key trusted", explains: "whose snapshots are accepted" },
  ],
  subcommands: [
    keyCreateCommand,
    keyListCommand,
    keyRevokeCommand,
    keyTrustCommand,
    keyUntrustCommand,
    keyTrustedCommand,
  ],
});
