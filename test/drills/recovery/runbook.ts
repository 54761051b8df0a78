import { readFileSync } from "node:fs";
import { join } from "node:path";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { PROJECT_ROOT } from "../../../src/lib/kernel/project.ts";
import type { CliRun } from "../../support/cli.ts";
import { parseConsoleBlocks } from "../../support/console-blocks.ts";
import { until } from "../../support/until.ts";
import type { Box } from "./boxes.ts";

/** As long as servers of the control plane may need for elections, and a master for what it does by itself. */
export const SETTLE_MS = 180_000;

/** Commands that ask before they do something. */
const ASKS = /^fula-master (?:failover --fence|failover abort|switchover|resync)/;

/** Runs a command line as soon as the servers of the control plane that are left have a leader. */
export async function once(box: Box, command: string): Promise<CliRun> {
  return await until(
    `the control plane answers ${box.name}`,
    async () => {
      const run = await box.sh(command);
      return run.exitCode === 4 && run.stderr.includes("FULA_CONTROL_PLANE_UNREACHABLE") ? null : run;
    },
    SETTLE_MS,
  );
}

/** The commands of a page of the handbook. A drill types them as they stand there, or not at all. */
export class Runbook {
  readonly #page: string;
  readonly #untyped: Set<string>;
  readonly #commands: ReadonlySet<string>;

  constructor(page: string) {
    this.#page = page;
    const text = readFileSync(join(PROJECT_ROOT, "docs/handbook", page), "utf8");
    this.#commands = new Set(parseConsoleBlocks(text).flatMap(({ command }) => command.split("\n")));
    this.#untyped = new Set(this.#commands);
  }

  /** Commands of the page that no drill has typed yet. */
  get untyped(): readonly string[] {
    return [...this.#untyped];
  }

  /**
   * A command of the page as it is typed on a box, where a question is answered by yes.
   * @param names what the page has → what it is here
   * @throws Error where the page has no such command
   */
  line(command: string, names: Readonly<Record<string, string>> = {}): string {
    if (!this.#commands.has(command)) throw new Error(`${this.#page} has no command “${command}”`);
    this.#untyped.delete(command);
    // A drill takes minutes: where it stops, this says how far it has come.
    process.stderr.write(`${new Date(systemClock.nowMs()).toISOString()} ${command}\n`);
    const here = Object.entries(names).reduce((line, [from, to]) => line.replaceAll(from, to), command);
    return ASKS.test(command) ? `${here} --yes` : here;
  }

  /** Types a command of the page on a box. */
  async type(box: Box, command: string, names: Readonly<Record<string, string>> = {}): Promise<CliRun> {
    return await once(box, this.line(command, names));
  }
}
