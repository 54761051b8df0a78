import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { delimiter, join } from "node:path";

/** A step of the set-up that says, on stderr, what it does and how long it took. */
export type Say = (text: string) => void;

/** Stdout is left to results. */
export const sayOnStderr: Say = (text) => {
  process.stderr.write(`infra: ${text}\n`);
};

/** How a program is run. */
export interface RunOptions {
  readonly cwd?: string;
  /** Added to the environment of this process. */
  readonly env?: Readonly<Record<string, string>>;
  readonly input?: Buffer | string;
}

/** PATH with the folders of system programs, which an ordinary shell leaves out. */
export function systemPath(): string {
  return [process.env["PATH"] ?? "", "/usr/local/sbin", "/usr/sbin", "/sbin"].join(delimiter);
}

/** How much of what a program said is shown when it failed. */
const OUTPUT_CHARS_SHOWN = 4_000;

/** Runs a program to its end. @returns its stdout @throws Error with the last it said, when it is absent or fails */
export function run(program: string, args: readonly string[], options: RunOptions = {}): string {
  const result = spawnSync(program, args, {
    cwd: options.cwd,
    env: { ...process.env, PATH: systemPath(), ...options.env },
    input: options.input,
    encoding: "utf8",
    maxBuffer: 256 * 1024 * 1024,
  });
  if (result.status === 0) return result.stdout;
  const how = result.error === undefined ? `ended with ${result.status ?? result.signal}` : String(result.error);
  const said = `${result.stdout ?? ""}${result.stderr ?? ""}`.slice(-OUTPUT_CHARS_SHOWN);
  throw new Error(`${[program, ...args].join(" ")}: ${how}\n${said}`.trimEnd());
}

/** Where PATH has a program; null where it has none. */
export function findProgram(name: string): string | null {
  const dirs = (process.env["PATH"] ?? "").split(delimiter).filter((dir) => dir !== "");
  return dirs.map((dir) => join(dir, name)).find((path) => existsSync(path)) ?? null;
}
