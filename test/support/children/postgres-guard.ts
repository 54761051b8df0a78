import { readlinkSync, realpathSync, rmSync } from "node:fs";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";

// Started by postgres-server.ts with the directory of a PostgreSQL. Each line on standard input is the pid of a server.
// The input ends when the test run ends, however it ends (kill -9 too), and then servers and directory go away.
const [dir] = process.argv.slice(2);
if (dir === undefined) throw new Error("usage: postgres-guard.ts <dir>");

const GRACE_MS = 10_000;
const place = realpathSync(dir);

/** Pids are given anew: that of a server which has ended may be anybody's by now. A server works in its data directory. */
function isServer(pid: number): boolean {
  try {
    return `${readlinkSync(`/proc/${pid}/cwd`)}/`.startsWith(`${place}/`);
  } catch {
    return false;
  }
}

/** @returns false where it has ended */
function signal(pid: number, name: NodeJS.Signals): boolean {
  if (!isServer(pid)) return false;
  try {
    process.kill(pid, name);
    return true;
  } catch {
    return false;
  }
}

async function stop(pid: number): Promise<void> {
  // SIGINT is PostgreSQL's fast shutdown, SIGQUIT its immediate one.
  if (!signal(pid, "SIGINT")) return;
  for (let waitedMs = 0; isServer(pid) && waitedMs < GRACE_MS; waitedMs += 50) {
    await sleep(50);
    if (waitedMs === GRACE_MS / 2) signal(pid, "SIGQUIT");
  }
}

const pids: number[] = [];
for await (const line of createInterface({ input: process.stdin })) pids.push(Number(line));
await Promise.all(pids.map(stop));
// An initdb that the run left behind may still be writing.
rmSync(dir, { recursive: true, force: true, maxRetries: 10, retryDelay: 200 });
