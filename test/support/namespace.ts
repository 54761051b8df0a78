import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { readlink } from "node:fs/promises";
import { promisify } from "node:util";
import { until } from "./until.ts";

const run = promisify(execFile);

/** What may be a program's own: its network, or what is mounted. */
export type NamespaceKind = "net" | "mnt";

/** A namespace of Linux. It lives as long as a process in it does, which ends with this one: nothing is left to sweep up. */
export interface Namespace extends AsyncDisposable {
  readonly pid: number;
  /** What `nsenter` takes to go there. */
  readonly entrance: string;
  /** Runs a program in it. @returns its stdout */
  run(program: string, ...args: readonly string[]): Promise<string>;
}

const FLAGS: Readonly<Record<NamespaceKind, readonly string[]>> = {
  net: ["--net"],
  mnt: ["--mount", "--propagation", "private"],
};

/** Makes one. Needs root. */
export async function makeNamespace(kind: NamespaceKind): Promise<Namespace> {
  const args = ["--pdeathsig", "KILL", "unshare", ...FLAGS[kind], "sleep", "infinity"];
  const holder: ChildProcess = spawn("setpriv", args, { stdio: "ignore" });
  await once(holder, "spawn");
  const { pid } = holder;
  if (pid === undefined) throw new Error("A namespace could not be made");
  const dispose = async (): Promise<void> => {
    if (holder.exitCode !== null || holder.signalCode !== null) return;
    const exited = once(holder, "exit");
    holder.kill("SIGKILL");
    await exited;
  };
  const ours = await readlink(`/proc/self/ns/${kind}`);
  try {
    await until("a process is in a namespace of its own", async () => {
      if (holder.exitCode !== null) throw new Error("No namespace of its own: this needs root");
      return (await readlink(`/proc/${pid}/ns/${kind}`)) !== ours;
    });
  } catch (error) {
    await dispose();
    throw error;
  }
  const entrance = `--${kind === "net" ? "net" : "mount"}=/proc/${pid}/ns/${kind}`;
  return {
    pid,
    entrance,
    run: async (program, ...rest) => (await run("nsenter", [entrance, program, ...rest])).stdout,
    [Symbol.asyncDispose]: dispose,
  };
}
