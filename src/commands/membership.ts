import { defineCommand } from "../lib/terminal/command.ts";
import { membershipExportCommand, membershipImportCommand } from "./membership-export.ts";
import { membershipKeyCommand } from "./membership-key.ts";
import { membershipMemberCommand } from "./membership-member.ts";
import { membershipMigrateCommand } from "./membership-migrate.ts";
import { membershipOperatorCommand } from "./membership-operator.ts";
import { membershipPeerCommand } from "./membership-peer.ts";
import { membershipPoolCommand } from "./membership-pool.ts";
import { membershipRekeyCommand } from "./membership-rekey.ts";
import { membershipStatusCommand } from "./membership-status.ts";
import { membershipSyncCommand } from "./membership-sync.ts";

/** `fula-master membership`: the control plane. */
export const membershipCommand = defineCommand({
  name: "membership",
  summary: "the control plane: pools, members, secrets, operators",
  description:
    "Shows and changes who belongs to the federation, its secrets and who may act on it. docs/membership.md explains what " +
    "the control plane is, how it grows with the masters, and what to do when some are lost.",
  examples: [
    { command: "fula-master membership status", explains: "how it is" },
    { command: "fula-master membership operator list", explains: "who may act" },
    { command: "fula-master membership export --output control-plane.json", explains: "a backup" },
  ],
  subcommands: [
    membershipStatusCommand,
    membershipPoolCommand,
    membershipMemberCommand,
    membershipOperatorCommand,
    membershipKeyCommand,
    membershipRekeyCommand,
    membershipSyncCommand,
    membershipPeerCommand,
    membershipExportCommand,
    membershipImportCommand,
    membershipMigrateCommand,
  ],
});
