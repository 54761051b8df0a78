import { defineCommand } from "../lib/terminal/command.ts";
import { backupCreateCommand } from "./backup-create.ts";
import { backupKeepCommand, backupUnkeepCommand } from "./backup-keep.ts";
import { backupListCommand } from "./backup-list.ts";
import { backupPruneCommand } from "./backup-prune.ts";
import { backupRestoreCommand } from "./backup-restore.ts";
import { backupVerifyCommand } from "./backup-verify.ts";

/** `fula-master backup`: signed copies of the ledger's whole server, and the way back from them. */
export const backupCommand = defineCommand({
  name: "backup",
  summary: "base backups of the ledger, and restores to a point in time",
  description:
    "Works with base backups of the ledger's PostgreSQL server: signed copies of all of it, checked while they are taken and " +
    "restored for a test. With backup.archive, serve keeps all WAL besides, so that the ledger can be restored to any " +
    "moment since the oldest of them.",
  examples: [
    { command: "fula-master backup create", explains: "take one now" },
    { command: "fula-master backup list", explains: "what there is" },
  ],
  subcommands: [
    backupCreateCommand,
    backupListCommand,
    backupVerifyCommand,
    backupPruneCommand,
    backupKeepCommand,
    backupUnkeepCommand,
    backupRestoreCommand,
  ],
});
