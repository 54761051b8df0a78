import { randomInt } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:net";

/** Below the ports that Linux hands out by itself (net.ipv4.ip_local_port_range), which containers of other tests get. */
const FIRST = 18_000;
/** Each worker has ports of its own: one that another has chosen, and has not yet given to anybody, looks free. */
const LANES = 7;
const PORTS_A_LANE = 2_000;
const ATTEMPTS = 100;
const given = new Set<number>();

function drawPort(): number {
  const lane = Number(process.env["VITEST_POOL_ID"] ?? 0) % LANES;
  return FIRST + lane * PORTS_A_LANE + randomInt(PORTS_A_LANE);
}

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
    const port = drawPort();
    if (given.has(port)) continue;
    // Before the look, not after it: of two that look at once, both would find it free.
    given.add(port);
    if (await isFree(host, port)) return port;
  }
  throw new Error(`No free port was found on ${host} in ${ATTEMPTS} attempts`);
}
