import { spawn } from "node:child_process";
import { once } from "node:events";
import { pipeline } from "node:stream/promises";
import type { Clock } from "../kernel/clock.ts";
import { systemErrorCode } from "../kernel/errors.ts";
import type { SiteRun, SiteRunEnd } from "./postgres-site.ts";
import { type SystemUser, spawnIdentity } from "./postgres-user.ts";
import { isGroupRunning } from "./processes.ts";

/** A program of this box that runs in a process group of its own. */
export interface GroupProgram extends SiteRun {
  readonly program: string;
  /** Directories in which it, and what it starts, finds programs. */
  readonly path: string;
  readonly user: SystemUser;
  readonly clock: Clock;
}

const GONE_POLL_MS = 2;
const STDERR_KEPT_CHARS = 16_000;
/** Beyond this it is no answer but a stream, which is for `onLine`, or for `sh` to cut. */
const STDOUT_CHARS_MAX = 16_000_000;

// Not every program ends with its parent: what pg_basebackup receives WAL with goes on. The third descriptor is a line to this
// process: when it breaks, the group is killed by one of its own, which is no child of the program: busybox's tar ends only once
// all its children have.
const GUARDED = `
( (read -r _; kill -9 "-$$") <&3 >/dev/null 2>&1 & )
exec 3<&- setpriv --pdeathsig KILL "$@"`;

function killGroup(leaderPid: number): void {
  try {
    process.kill(-leaderPid, "SIGKILL");
  } catch (error) {
    // ESRCH: nobody is left in it.
    if (systemErrorCode(error) !== "ESRCH") throw error;
  }
}

/** Takes down what a program writes: of its standard output all, up to a bound, of its standard error the end. */
export class SiteOutput {
  readonly #onLine: ((line: string) => void) | undefined;
  readonly #streams = { stdout: new LineStream(), stderr: new LineStream() };
  #stdout = "";
  #stderr = "";

  constructor(onLine: ((line: string) => void) | undefined) {
    this.#onLine = onLine;
  }

  /** @returns false where that is too much */
  addStdout(piece: Buffer): boolean {
    this.#stdout += this.#streams.stdout.take(piece, this.#onLine);
    return this.#stdout.length <= STDOUT_CHARS_MAX;
  }

  addStderr(piece: Buffer): void {
    this.#stderr = (this.#stderr + this.#streams.stderr.take(piece, this.#onLine)).slice(-STDERR_KEPT_CHARS);
  }

  /** @throws Error where there was too much */
  end(): Pick<SiteRunEnd, "stdout" | "stderr"> {
    if (this.#stdout.length <= STDOUT_CHARS_MAX) return { stdout: this.#stdout, stderr: this.#stderr.trim() };
    throw new Error(`a program wrote more than ${STDOUT_CHARS_MAX} characters`);
  }
}

/** Text of pieces that may end within a character or a line. */
class LineStream {
  readonly #decoder = new TextDecoder();
  #rest = "";

  take(piece: Buffer, onLine: ((line: string) => void) | undefined): string {
    const text = this.#decoder.decode(piece, { stream: true });
    if (onLine === undefined) return text;
    // pg_basebackup begins its line of progress anew with a carriage return.
    const lines = (this.#rest + text).split(/\r\n|\r|\n/);
    this.#rest = lines.pop() ?? "";
    for (const line of lines) onLine(line);
    return text;
  }
}

/**
 * Runs a program and gives how it ended. It and everything that it started is gone when this settles: at its end, when the
 * signal aborts, and after `timeoutMs`; and also when this process dies.
 * @throws the signal's reason when it aborts, and the system's error where there is no such program
 */
export async function runInGroup(run: GroupProgram): Promise<SiteRunEnd> {
  const { program, args, path, user, env, stdin, signal, timeoutMs, onLine, clock } = run;
  signal?.throwIfAborted();
  const child = spawn("/bin/sh", ["-c", GUARDED, "sh", program, ...args], {
    ...spawnIdentity(user),
    cwd: "/",
    detached: true,
    stdio: ["pipe", "pipe", "pipe", "pipe"],
    // Nothing else of our environment: PGDATA, PGHOST and their like would change what is done, and to whom.
    env: { PATH: path, LC_ALL: "C", TZ: "UTC", ...env },
  });
  await once(child, "spawn");
  const { pid } = child;
  if (pid === undefined) throw new Error(`${program} was started and has no pid`);
  const output = new SiteOutput(onLine);
  child.stdout.on("data", (piece: Buffer) => {
    if (!output.addStdout(piece)) killGroup(pid);
  });
  child.stderr.on("data", (piece: Buffer) => {
    output.addStderr(piece);
  });
  // A program that ends before it has read everything closes the pipe.
  child.stdin.on("error", () => {});
  if (typeof stdin === "object") {
    // Whose failure it is tells who handed it in; the program learns that there is nothing more.
    pipeline(stdin, child.stdin).catch(() => {});
  } else child.stdin.end(stdin ?? "");
  let timedOut = false;
  const ended = new AbortController();
  const kill = (): void => {
    killGroup(pid);
  };
  signal?.addEventListener("abort", kill, { once: true });
  if (timeoutMs !== undefined) {
    clock
      .sleep(timeoutMs, ended.signal)
      .then(() => {
        timedOut = true;
        kill();
      })
      // The program was quicker.
      .catch(() => {});
  }
  try {
    const closed = once(child, "close");
    child.once("exit", kill);
    await closed;
    // What is killed goes when the system gets round to it, and may write until then.
    while (isGroupRunning(pid)) await clock.sleep(GONE_POLL_MS);
  } finally {
    ended.abort();
    signal?.removeEventListener("abort", kill);
    child.stdio[3]?.destroy();
  }
  signal?.throwIfAborted();
  return { exitCode: child.exitCode, ...output.end(), timedOut };
}
