import { readdir, readFile, readlink } from "node:fs/promises";
import { createServer } from "node:net";
import { systemErrorCode } from "../kernel/errors.ts";
import { argumentsOf, listPids } from "./processes.ts";

/** The process that listens on a port. */
export interface PortOwner {
  readonly pid: number;
  /** Its command line, shortened, without credentials. */
  readonly command: string;
}

/** Whether a TCP port can be listened on, found out by listening for a moment. */
export type PortState = "free" | "in-use" | "not-permitted" | "no-such-address";

const STATE_BY_ERRNO: Readonly<Record<string, PortState>> = {
  EADDRINUSE: "in-use",
  EACCES: "not-permitted",
  EADDRNOTAVAIL: "no-such-address",
  ENOTFOUND: "no-such-address",
};

const COMMAND_LENGTH_MAX = 100;
// Linux, net/tcp_states.h: TCP_LISTEN.
const TCP_LISTEN = "0A";

/** Tries a port of this machine; port 0 is always free. */
export async function probePort(host: string, port: number): Promise<PortState> {
  return await new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", (error) => {
      const state = STATE_BY_ERRNO[systemErrorCode(error) ?? ""];
      if (state === undefined) reject(error);
      else resolve(state);
    });
    server.listen({ host, port, exclusive: true }, () => {
      server.close(() => {
        resolve("free");
      });
    });
  });
}

function listeningInodes(table: string, port: number): string[] {
  const portHex = port.toString(16).toUpperCase().padStart(4, "0");
  return table
    .split("\n")
    .slice(1)
    .map((line) => line.trim().split(/\s+/))
    .filter((fields) => fields[3] === TCP_LISTEN && fields[1]?.endsWith(`:${portHex}`) === true)
    .map((fields) => fields[9] ?? "")
    .filter((inode) => inode !== "" && inode !== "0");
}

/** Renders a command line, shortened, and without the passwords of URLs that stand in it. */
export function renderCommandLine(args: readonly string[]): string {
  const text = args.join(" ").replaceAll(/:\/\/[^\s@/]*@/g, "://****@");
  return text.length > COMMAND_LENGTH_MAX ? `${text.slice(0, COMMAND_LENGTH_MAX - 1)}…` : text;
}

async function holdsSocket(pid: number, sockets: ReadonlySet<string>): Promise<boolean> {
  let descriptors: string[];
  try {
    descriptors = await readdir(`/proc/${pid}/fd`);
  } catch {
    // The process ended meanwhile, or belongs to another user.
    return false;
  }
  for (const descriptor of descriptors) {
    const target = await readlink(`/proc/${pid}/fd/${descriptor}`).catch(() => "");
    if (sockets.has(target)) return true;
  }
  return false;
}

/**
 * Finds who listens on a TCP port, from Linux' /proc (proc(5), "net/tcp").
 * @returns null where nobody does, or where the process belongs to a user whose files we may not read
 */
export async function findPortOwner(port: number): Promise<PortOwner | null> {
  const tables = await Promise.all(
    ["/proc/net/tcp", "/proc/net/tcp6"].map((file) => readFile(file, "utf8").catch(() => "")),
  );
  const sockets = new Set(tables.flatMap((table) => listeningInodes(table, port)).map((inode) => `socket:[${inode}]`));
  if (sockets.size === 0) return null;
  for (const pid of listPids()) {
    if (await holdsSocket(pid, sockets)) return { pid, command: renderCommandLine(argumentsOf(pid)) };
  }
  return null;
}
