import { auditCommand } from "./audit.ts";
import { authCommand } from "./auth.ts";
import { backupCommand } from "./backup.ts";
import { billingCommand } from "./billing.ts";
import { bucketsCommand } from "./buckets.ts";
import { completionCommand } from "./completion.ts";
import { configCommand } from "./config.ts";
import { doctorCommand } from "./doctor.ts";
import { drillCommand } from "./drill.ts";
import { failoverCommand } from "./failover.ts";
import { joinCommand } from "./join.ts";
import { joinAsStorageNodeCommand } from "./join-as-storage-node.ts";
import { keyCommand } from "./key.ts";
import { leaveCommand } from "./leave.ts";
import { membershipCommand } from "./membership.ts";
import { migrateCommand } from "./migrate.ts";
import { peersCommand } from "./peers.ts";
import { pinCommand } from "./pin.ts";
import { pinsCommand } from "./pins.ts";
import { putCommand } from "./put.ts";
import { restoreCommand } from "./restore.ts";
import { resyncCommand } from "./resync.ts";
import { serveCommand } from "./serve.ts";
import { snapshotCommand } from "./snapshot.ts";
import { standbyCommand } from "./standby.ts";
import { startCommand } from "./start.ts";
import { statusCommand } from "./status.ts";
import { stopCommand } from "./stop.ts";
import { sweepCommand } from "./sweep.ts";
import { switchoverCommand } from "./switchover.ts";
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
  standbyCommand,
  failoverCommand,
  switchoverCommand,
  resyncCommand,
  drillCommand,
  backupCommand,
  billingCommand,
  bucketsCommand,
  pinCommand,
  pinsCommand,
  putCommand,
  keyCommand,
  authCommand,
  auditCommand,
  tokenCommand,
  peersCommand,
  membershipCommand,
  configCommand,
  completionCommand,
];
