import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { findFreePort } from "./free-port.ts";

/** How a daemon is started. */
export interface DaemonCommand {
  readonly program: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** Asked until it does not throw: the daemon answers what it is asked. @param said the last of what it said since its start */
  readonly probe: (said: string) => Promise<void>;
}

/** Ten times what a start takes on a machine of its own. */
const START_TIMEOUT_MS = 120_000;
const STOP_TIMEOUT_MS = 10_000;
const POLL_MS = 50;
const LOG_CHARS = 100_000;

/** A real daemon as a child of the test: started, stopped, killed and frozen at will; gone when the test process is. */
export class DaemonProcess implements AsyncDisposable {
  readonly name: string;
  readonly #command: DaemonCommand;
  #child: ChildProcess | null = null;
  #output = "";

  constructor(name: string, command: DaemonCommand) {
    this.name = name;
    this.#command = command;
  }

  /** What it has said, on both streams and over all its lives; the last part of it. */
  get log(): string {
    return this.#output;
  }

  get pid(): number {
    const pid = this.#child?.pid;
    if (pid === undefined) throw new Error(`${this.name} is not running`);
    return pid;
  }

  /** Starts it and waits until it answers. @throws Error with its log when it ends or stays silent */
  async start(): Promise<void> {
    if (this.#child !== null) throw new Error(`${this.name} is running already`);
    const { program, args, env, probe } = this.#command;
    // The kernel ends the daemon when this process dies, however it dies.
    const child = spawn("setpriv", ["--pdeathsig", "KILL", program, ...args], {
      env: { PATH: process.env["PATH"], HOME: "/nonexistent", ...env },
      stdio: ["ignore", "pipe", "pipe"],
    });
    let said = "";
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding("utf8").on("data", (text: string) => {
        said = (said + text).slice(-LOG_CHARS);
        this.#output = (this.#output + text).slice(-LOG_CHARS);
      });
    }
    this.#child = child;
    const deadline = AbortSignal.timeout(START_TIMEOUT_MS);
    while (child.exitCode === null && child.signalCode === null && !deadline.aborted) {
      try {
        await probe(said);
        return;
      } catch {
        await new Promise((resolve) => setTimeout(resolve, POLL_MS));
      }
    }
    await this.kill();
    throw new Error(`${this.name} did not start:\n${this.#output}`);
  }

  /** Asks it to end, as an operator's stop would. */
  async stop(): Promise<void> {
    await this.#end("SIGTERM");
  }

  /** Ends it as the kernel would: no handler, no clean-up. */
  async kill(): Promise<void> {
    await this.#end("SIGKILL");
  }

  /** Freezes it: its connections stay open and nothing answers. */
  freeze(): void {
    process.kill(this.pid, "SIGSTOP");
  }

  thaw(): void {
    process.kill(this.pid, "SIGCONT");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    const child = this.#child;
    this.#child = null;
    if (child === null || child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, "exit");
    child.kill(signal);
    // One that was frozen does not read SIGTERM.
    const force = setTimeout(() => child.kill("SIGKILL"), STOP_TIMEOUT_MS);
    await exited;
    clearTimeout(force);
  }
}

/** Runs a daemon's program for one command, such as `init`. @returns its stdout */
export function runOnce(program: string, args: readonly string[], env: Readonly<Record<string, string>>): string {
  return execFileSync(program, args, {
    env: { PATH: process.env["PATH"], HOME: "/nonexistent", ...env },
    encoding: "utf8",
    stdio: ["ignore", "pipe", "pipe"],
  });
}

/** Asks an HTTP address; any answer below 500 is one. @throws Error else */
export async function askHttp(url: string, method: "GET" | "POST" = "GET"): Promise<Response> {
  const answer = await fetch(url, { method, signal: AbortSignal.timeout(2_000) });
  if (answer.status >= 500) throw new Error(`${url} answered ${answer.status}`);
  return answer;
}

/** That many ports that nobody listens on, all different. */
export async function findFreePorts(count: number): Promise<readonly number[]> {
  const ports = new Set<number>();
  while (ports.size < count) ports.add(await findFreePort());
  return [...ports];
}
