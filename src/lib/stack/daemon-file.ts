import { rm } from "node:fs/promises";
import { type Clock, formatUtc } from "../kernel/clock.ts";
import { readTextIfExists, SECRET_FILE_MODE, writeFileAtomic } from "../kernel/files.ts";
import { identifySelf, isSameProcessRunning, type ProcessIdentity } from "../runtime/processes.ts";

/**
 * `state/serve.pid`: three lines, so that `head -1` gives the pid.
 *
 *     <pid>
 *     <start mark of the process: boot id and start tick, see ProcessIdentity>
 *     <since when, RFC 3339 UTC>
 *
 * `serve` writes it when it holds `locks/serve.lock` and removes it when it ends; the start mark tells a file that a
 * crash left from one whose process runs, even where the pid was given out again.
 */
export interface DaemonRecord extends ProcessIdentity {
  readonly since: string;
}

/** What a pid file says about the process that wrote it. */
export type DaemonPresence =
  | { readonly status: "running"; readonly record: DaemonRecord }
  /** The file is there, its process is not: a crash or a kill -9. */
  | { readonly status: "stale"; readonly record: DaemonRecord | null }
  | { readonly status: "absent" };

function parseDaemonFile(text: string): DaemonRecord | null {
  const [pid, startMark, since] = text.split("\n");
  if (pid === undefined || !/^[1-9]\d*$/.test(pid)) return null;
  if (startMark === undefined || startMark === "" || since === undefined || since === "") return null;
  return { pid: Number(pid), startMark, since };
}

/** Writes the pid file of this process. @throws FulaError FULA_DISK_FULL, FULA_PATH_NOT_WRITABLE */
export async function writeDaemonFile(path: string, clock: Clock): Promise<DaemonRecord> {
  const record = { ...identifySelf(), since: formatUtc(clock.nowMs()) };
  await writeFileAtomic(path, `${record.pid}\n${record.startMark}\n${record.since}\n`, { mode: SECRET_FILE_MODE });
  return record;
}

/** Reads a pid file and looks whether its process runs. A file that is none of ours counts as stale. */
export async function readDaemonFile(path: string): Promise<DaemonPresence> {
  const text = await readTextIfExists(path);
  if (text === null) return { status: "absent" };
  const record = parseDaemonFile(text);
  if (record === null || !isSameProcessRunning(record)) return { status: "stale", record };
  return { status: "running", record };
}

/** Removes the pid file where it names this process, or a process that is gone. */
export async function removeDaemonFile(path: string): Promise<void> {
  const presence = await readDaemonFile(path);
  if (presence.status === "running" && presence.record.pid !== identifySelf().pid) return;
  await rm(path, { force: true });
}

/** The process of `serve` where it runs, as a set: who may hold the ports of this box. */
export async function servePids(path: string): Promise<ReadonlySet<number>> {
  const presence = await readDaemonFile(path);
  return new Set(presence.status === "running" ? [presence.record.pid] : []);
}
