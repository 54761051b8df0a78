import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { createServer } from "node:net";
import { systemErrorCode } from "../kernel/errors.ts";

/**
 * One process, never to be mistaken for a later one with the same pid: the kernel gives pids out again, but not with
 * the same start time in the same boot.
 */
export interface ProcessIdentity {
  readonly pid: number;
  /** Boot id and start time in clock ticks since boot, as `/proc` has them; opaque. */
  readonly startMark: string;
}

function readProc(path: string): string | null {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return null;
  }
}

interface ProcStat {
  readonly state: string;
  readonly group: string;
  readonly startTicks: string;
}

function readStat(pid: number): ProcStat | null {
  const text = readProc(`/proc/${pid}/stat`);
  if (text === null) return null;
  // The second field is the program's name in parentheses and may hold spaces and parentheses itself (proc(5)).
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  const [state, group, startTicks] = [fields[0], fields[2], fields[19]];
  return state === undefined || group === undefined || startTicks === undefined ? null : { state, group, startTicks };
}

/** True for what has ended and is only still listed, until its parent looks at it. */
function hasEnded({ state }: ProcStat): boolean {
  return state === "Z" || state === "X";
}

/** The identity of a running process; null where there is none, or only a zombie that nobody has collected yet. */
export function identifyProcess(pid: number): ProcessIdentity | null {
  const stat = readStat(pid);
  if (stat === null || hasEnded(stat)) return null;
  const bootId = readProc("/proc/sys/kernel/random/boot_id")?.trim() ?? "";
  return { pid, startMark: `${bootId}:${stat.startTicks}` };
}

/** The identity of this process. */
export function identifySelf(): ProcessIdentity {
  const identity = identifyProcess(process.pid);
  if (identity === null) throw new Error("This process is not in /proc; is /proc mounted?");
  return identity;
}

/** True while that very process runs. */
export function isSameProcessRunning(identity: ProcessIdentity): boolean {
  return identifyProcess(identity.pid)?.startMark === identity.startMark;
}

/** The arguments of a process, its program first; empty where it is gone or hidden. */
export function argumentsOf(pid: number): readonly string[] {
  const text = readProc(`/proc/${pid}/cmdline`);
  return text === null || text === "" ? [] : text.replace(/\0$/, "").split("\0");
}

/** The program's name as the kernel has it, at most 15 characters; null where the process is gone. */
export function programOf(pid: number): string | null {
  return readProc(`/proc/${pid}/comm`)?.trim() ?? null;
}

/** The directory that a process works in; null where it is gone or belongs to somebody else. */
export function workingDirOf(pid: number): string | null {
  try {
    return readlinkSync(`/proc/${pid}/cwd`);
  } catch {
    return null;
  }
}

/** The pids of every process on this machine. */
export function listPids(): readonly number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number);
}

/** True while a process of this group runs. @param group the pid of the process that began it */
export function isGroupRunning(group: number): boolean {
  try {
    process.kill(-group, 0);
  } catch (error) {
    if (systemErrorCode(error) === "ESRCH") return false;
  }
  return listPids().some((pid) => {
    const stat = readStat(pid);
    return stat !== null && stat.group === String(group) && !hasEnded(stat);
  });
}

/** Sends a signal to exactly that process; false where it is gone. `identity` guards against a pid given out again. */
export function signalProcess(identity: ProcessIdentity, signal: NodeJS.Signals): boolean {
  if (!isSameProcessRunning(identity)) return false;
  try {
    return process.kill(identity.pid, signal);
  } catch (error) {
    if (systemErrorCode(error) === "ESRCH") return false;
    throw error;
  }
}

/** A port that nobody listens on at this moment; whoever uses it must be ready to lose a race for it. */
export async function findFreePort(host = "127.0.0.1"): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  const server = createServer();
  server.once("error", reject);
  server.listen({ host, port: 0, exclusive: true }, () => {
    const address = server.address();
    server.close(() => {
      if (typeof address === "object" && address !== null) resolve(address.port);
      else reject(new Error(`No port was bound on ${host}`));
    });
  });
  return await promise;
}
