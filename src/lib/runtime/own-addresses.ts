import { connect } from "node:net";
import { networkInterfaces } from "node:os";
import { systemErrorCode } from "../kernel/errors.ts";

/** The addresses of this machine that other machines may reach, with the interface that link-local ones need. */
export function reachableAddressesOfBox(): readonly string[] {
  return Object.entries(networkInterfaces()).flatMap(([name, addresses]) =>
    (addresses ?? [])
      .filter(({ internal }) => !internal)
      .map(({ address, family, scopeid }) =>
        family === "IPv6" && (scopeid ?? 0) > 0 ? `${address}%${name}` : address,
      ),
  );
}

/** A connection within one machine is taken at once or never. */
const CONNECT_TIMEOUT_MS = 1_000;

/** What a TCP port says: `refuses` is an answer of its machine, `silent` may be anything. */
export type PortAnswer = "takes" | "refuses" | "silent";

/** Asks a TCP port whether somebody listens there, by connecting and saying nothing. */
export async function askPort(host: string, port: number, timeoutMs: number): Promise<PortAnswer> {
  const { promise, resolve } = Promise.withResolvers<PortAnswer>();
  const socket = connect({ host, port, timeout: timeoutMs });
  const end = (answer: PortAnswer): void => {
    socket.destroy();
    resolve(answer);
  };
  socket.once("connect", () => {
    end("takes");
  });
  socket.once("timeout", () => {
    end("silent");
  });
  socket.once("error", (error) => {
    end(systemErrorCode(error) === "ECONNREFUSED" ? "refuses" : "silent");
  });
  return await promise;
}

/** Those of the addresses, such as `reachableAddressesOfBox` gives them, at which a port takes connections. */
export async function openAddresses(addresses: readonly string[], port: number): Promise<readonly string[]> {
  const looked = await Promise.all(
    addresses.map(async (address) => ((await askPort(address, port, CONNECT_TIMEOUT_MS)) === "takes" ? [address] : [])),
  );
  return looked.flat();
}
