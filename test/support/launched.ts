import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** A run of the real launcher in a process of its own. */
export interface Launched {
  readonly pid: number;
  /** Ends it as the kernel would: no handler, no clean-up. */
  kill(): void;
  /** Fulfilled when it has ended. */
  readonly ended: Promise<{
    readonly exitCode: number | null;
    readonly signal: string | null;
    readonly output: string;
  }>;
}

const LAUNCHER = join(import.meta.dirname, "../../bin/fula-master.js");

/** Starts `fula-master` with these arguments. Needs `dist/`, which the global set-up builds. */
export function launch(args: readonly string[]): Launched {
  const env = { PATH: process.env["PATH"], HOME: process.env["HOME"], NO_COLOR: "1" };
  const child = spawn(process.execPath, [LAUNCHER, ...args], { env, stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text: string) => {
      output += text;
    });
  }
  if (child.pid === undefined) throw new Error("The launcher did not start");
  return {
    pid: child.pid,
    kill: () => {
      child.kill("SIGKILL");
    },
    // "exit" and not "close": a server that it started may hold its pipes.
    ended: once(child, "exit").then(() => ({ exitCode: child.exitCode, signal: child.signalCode, output })),
  };
}

/** Names of the journals of a base directory, oldest first; empty where there is none. */
export function journalNames(baseDir: string): readonly string[] {
  try {
    return readdirSync(join(baseDir, "journal")).toSorted();
  } catch {
    return [];
  }
}

/** The text of one of them. */
export function journalText(baseDir: string, name: string): string {
  return readFileSync(join(baseDir, "journal", name), "utf8");
}
