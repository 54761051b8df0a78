import { defineCommand } from "../lib/terminal/command.ts";
import { keyCreateCommand, keyListCommand, keyRevokeCommand } from "./key-access.ts";
import { keyRotateCommand, keySessionCommand, keySigningCommand } from "./key-signing.ts";
import { keyTrustCommand, keyTrustedCommand, keyUntrustCommand } from "./key-trust.ts";

/** `key`: keys that let clients in, keys that sign what does, and keys whose snapshots count. */
export const keyCommand = defineCommand({
  name: "key",
  summary: "access keys, keys that sign session tokens, and trusted snapshot keys",
  description:
    "Makes, lists and revokes access keys; rotates the keys that sign session tokens, and issues such tokens; and says " +
    "which boxes' snapshot signatures are trusted.",
  examples: [
    { command: "fula-master key create --user alice@example.com", explains: "a key pair for an S3 client" },
    { command: "fula-master key list", explains: "who can get in" },
    { command: "fula-master key rotate", explains: "session tokens are signed by a new key from now on" },
    { command: "fula-master key trusted", explains: "whose snapshots are accepted" },
  ],
  subcommands: [
    keyCreateCommand,
    keyListCommand,
    keyRevokeCommand,
    keyRotateCommand,
    keySigningCommand,
    keySessionCommand,
    keyTrustCommand,
    keyUntrustCommand,
    keyTrustedCommand,
  ],
});
