import { type ChildProcess, spawn } from "node:child_process";
import { withLogDescriptor } from "./log-files.ts";

/** What a background process of Node.js is started with. */
export interface DetachedNodeOptions {
  /** Script and its arguments. */
  readonly args: readonly string[];
  readonly cwd: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Gets stdout and stderr, appended. */
  readonly logFile: string;
}

/** Starts this very Node.js with a script of its own session: it survives us, our terminal and its Ctrl-C. */
export async function spawnDetachedNode(options: DetachedNodeOptions): Promise<ChildProcess> {
  const { args, cwd, env, logFile } = options;
  return await withLogDescriptor(logFile, (log) => {
    const child = spawn(process.execPath, args, {
      cwd,
      detached: true,
      stdio: ["ignore", log, log],
      env: { ...env },
    });
    child.unref();
    return child;
  });
}
