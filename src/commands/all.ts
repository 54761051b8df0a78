import { billingCommand } from "./billing.ts";
import { completionCommand } from "./completion.ts";
import { configCommand } from "./config.ts";
import { doctorCommand } from "./doctor.ts";
import { drillCommand } from "./drill.ts";
import { joinCommand } from "./join.ts";
import { joinAsStorageNodeCommand } from "./join-as-storage-node.ts";
import { keyCommand } from "./key.ts";
import { leaveCommand } from "./leave.ts";
import { migrateCommand } from "./migrate.ts";
import { peersCommand } from "./peers.ts";
import { pinCommand } from "./pin.ts";
import { restoreCommand } from "./restore.ts";
import { serveCommand } from "./serve.ts";
import { snapshotCommand } from "./snapshot.ts";
import { startCommand } from "./start.ts";
import { statusCommand } from "./status.ts";
import { stopCommand } from "./stop.ts";
import { sweepCommand } from "./sweep.ts";
import { tokenCommand } from "./token.ts";
import { upgradeCommand } from "./upgrade.ts";
import { verifyCommand } from "./verify.ts";
import type { CommandSpec } from "../lib/terminal/command.ts";

/** Every command, in the order the help lists them. */
export const COMMANDS: readonly CommandSpec[] = [
  joinCommand,
  joinAsStorageNodeCommand,
  statusCommand,
  doctorCommand,
  serveCommand,
  startCommand,
  stopCommand,
  upgradeCommand,
  leaveCommand,
  migrateCommand,
  snapshotCommand,
  verifyCommand,
  restoreCommand,
  sweepCommand,
  drillCommand,
  billingCommand,
  pinCommand,
  keyCommand,
  tokenCommand,
  peersCommand,
  configCommand,
  completionCommand,
];
