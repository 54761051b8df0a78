import { completionCommand } from "./completion.ts";
import { pinCommand } from "./pin.ts";
import { startCommand } from "./start.ts";
import { stopCommand } from "./stop.ts";
import type { CommandSpec } from "../lib/terminal/command.ts";

/** Every command, in the order the help lists them. */
export const COMMANDS: readonly CommandSpec[] = [startCommand, stopCommand, pinCommand, completionCommand];
