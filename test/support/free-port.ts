import { randomInt } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:net";

/** Below the ports that Linux hands out by itself (net.ipv4.ip_local_port_range), which containers of other tests get. */
const FIRST = 18_000;
const LAST = 31_999;
const ATTEMPTS = 100;
const given = new Set<number>();

async function isFree(host: string, port: number): Promise<boolean> {
  const server = createServer();
  try {
    server.listen({ host, port, exclusive: true });
    await once(server, "listening");
    return true;
  } catch {
    return false;
  } finally {
    server.close();
  }
}

/** A port for something that is started later: nobody has it now, and nobody else is likely to take it in between. */
export async function findFreePort(host = "127.0.0.1"): Promise<number> {
  for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
    const port = randomInt(FIRST, LAST + 1);
    if (given.has(port) || !(await isFree(host, port))) continue;
    given.add(port);
    return port;
  }
  throw new Error(`No port from ${FIRST} to ${LAST} is free on ${host}`);
}
