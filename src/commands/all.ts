import { completionCommand } from "./completion.ts";
import { configCommand } from "./config.ts";
import { joinCommand } from "./join.ts";
import { migrateCommand } from "./migrate.ts";
import { pinCommand } from "./pin.ts";
import { startCommand } from "./start.ts";
import { stopCommand } from "./stop.ts";
import { sweepCommand } from "./sweep.ts";
import type { CommandSpec } from "../lib/terminal/command.ts";

/** Every command, in the order the help lists them. */
export const COMMANDS: readonly CommandSpec[] = [
  joinCommand,
  startCommand,
  stopCommand,
  migrateCommand,
  sweepCommand,
  pinCommand,
  configCommand,
  completionCommand,
];
