import { defineCommand } from "../lib/terminal/command.ts";
import { authDenialsCommand } from "./auth-denials.ts";
import { authDenyCommand } from "./auth-deny.ts";
import { authInspectCommand } from "./auth-inspect.ts";
import { authLiftCommand } from "./auth-lift.ts";
import { authSignCommand } from "./auth-sign.ts";
import { authVerifyCommand } from "./auth-verify.ts";

/** `fula-master auth`: who is let in, and who no longer. */
export const authCommand = defineCommand({
  name: "auth",
  summary: "who is let in: look at credentials, revoke them",
  description:
    "Shows what credentials say and whether this master takes them, makes wallet tokens, revokes credentials before their " +
    "time, on every master of the federation, and shows what was revoked. " +
    "docs/identity.md explains who is let in, and by what.",
  examples: [
    { command: "fula-master auth verify - < token", explains: "whose it is, and whether it is taken" },
    {
      command: 'fula-master auth deny --user alice@example.com --reason "laptop was stolen"',
      explains: "whatever she was given until now is refused",
    },
    { command: "fula-master auth denials", explains: "what is refused, and why" },
  ],
  subcommands: [
    authInspectCommand,
    authVerifyCommand,
    authSignCommand,
    authDenyCommand,
    authLiftCommand,
    authDenialsCommand,
  ],
});
