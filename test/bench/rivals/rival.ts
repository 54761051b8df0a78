import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Client } from "pg";
import { systemClock } from "../../../src/lib/kernel/clock.ts";

/** Three servers that another tool looks after, or ours. */
export interface RivalCluster extends AsyncDisposable {
  readonly name: string;
  readonly ports: readonly number[];
  /** Whoever writes as a client. */
  readonly login: Login;
  /** Which of them takes writes. */
  leader(): Promise<string>;
  /** Waits until one leads and the other two follow, one of them synchronously. */
  settled(): Promise<void>;
  /** To the primary, as whoever writes. */
  connect(): Promise<Client>;
  /** Hands the lead on as planned; returns when the tool says so. */
  switchover(): Promise<void>;
  /** Kills the box of the primary: server and agent at once. @returns its name */
  kill(): Promise<string>;
  /**
   * What an operator does then. @returns when its work began, by the monotonic clock, where that is known apart from the
   * start of the program; else null
   */
  failover(): Promise<number | null>;
  /** Brings the killed one back, and waits until all is settled. */
  revive(name: string): Promise<void>;
}

/** Who asks a server, or writes to it. */
export interface Login {
  readonly user: string;
  readonly database: string;
  readonly password?: string;
}

export const SUPERUSER: Login = { user: "postgres", database: "postgres" };

/** The server that takes writes now. */
export async function readLeader(
  names: readonly string[],
  portOf: (name: string) => number,
  login: Login = SUPERUSER,
): Promise<string> {
  for (;;) {
    for (const name of names) {
      const client = new Client({
        host: "127.0.0.1",
        port: portOf(name),
        ...login,
        connectionTimeoutMillis: 500,
        query_timeout: 500,
      });
      client.on("error", () => {});
      try {
        await client.connect();
        const { rows } = await client.query<{ standby: boolean }>("select pg_is_in_recovery() as standby");
        if (rows[0]?.standby === false) return name;
      } catch {
        // Not this one.
      } finally {
        client.end().catch(() => {});
      }
    }
    await systemClock.sleep(50);
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // It is gone.
  }
}

/** Parents of all processes of this machine. */
function readParents(): ReadonlyMap<number, number> {
  const parents = new Map<number, number>();
  for (const name of readdirSync("/proc").filter((each) => /^\d+$/.test(each))) {
    try {
      const stat = readFileSync(join("/proc", name, "stat"), "utf8");
      parents.set(Number(name), Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]));
    } catch {
      // It ended meanwhile.
    }
  }
  return parents;
}

/** A process and all that descend from it: PostgreSQL's go on for a moment without their parent, and acknowledge commits. */
function treeOf(pid: number, parents: ReadonlyMap<number, number>): readonly number[] {
  const children = [...parents].filter(([, parent]) => parent === pid).map(([child]) => child);
  return [pid, ...children.flatMap((child) => treeOf(child, parents))];
}

/** Kills an agent and the server of a data directory with all their processes, as a power cut would. */
export function killTree(pid: number, dataDir: string | null): void {
  let postmaster = 0;
  try {
    if (dataDir !== null) postmaster = Number(readFileSync(join(dataDir, "postmaster.pid"), "utf8").split("\n")[0]);
  } catch {
    // No server.
  }
  const parents = readParents();
  const doomed = new Set([pid, postmaster].filter((each) => each > 0).flatMap((each) => treeOf(each, parents)));
  for (const each of doomed) kill(each);
}
