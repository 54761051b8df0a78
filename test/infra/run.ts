import { execFile, spawnSync } from "node:child_process";
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

const MAX_OUTPUT_BYTES = 256 * 1024 * 1024;

function failure(command: readonly string[], how: string, output: string): Error {
  return new Error(`${command.join(" ")}: ${how}\n${output.slice(-OUTPUT_CHARS_SHOWN)}`.trimEnd());
}

/** Runs a program to its end. @returns its stdout @throws Error with the last it said, when it is absent or fails */
export function run(program: string, args: readonly string[], options: RunOptions = {}): string {
  const result = spawnSync(program, args, {
    cwd: options.cwd,
    env: { ...process.env, PATH: systemPath(), ...options.env },
    input: options.input,
    encoding: "utf8",
    maxBuffer: MAX_OUTPUT_BYTES,
  });
  if (result.status === 0) return result.stdout;
  const how = result.error === undefined ? `ended with ${result.status ?? result.signal}` : String(result.error);
  throw failure([program, ...args], how, `${result.stdout ?? ""}${result.stderr ?? ""}`);
}

/** The same beside other things; what it wrote is not given back. */
export async function runBeside(
  program: string,
  args: readonly string[],
  options: Omit<RunOptions, "input"> = {},
): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const env = { ...process.env, PATH: systemPath(), ...options.env };
  execFile(program, args, { cwd: options.cwd, env, maxBuffer: MAX_OUTPUT_BYTES }, (error, stdout, stderr) => {
    if (error === null) resolve();
    else reject(failure([program, ...args], `ended with ${error.code ?? error.signal}`, stdout + stderr));
  });
  await promise;
}

/** Where PATH has a program; null where it has none. */
export function findProgram(name: string): string | null {
  const dirs = (process.env["PATH"] ?? "").split(delimiter).filter((dir) => dir !== "");
  return dirs.map((dir) => join(dir, name)).find((path) => existsSync(path)) ?? null;
}
