import { connect } from "node:net";
import { networkInterfaces } from "node:os";

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

/** True where something takes a TCP connection at that address. */
async function takesConnections(host: string, port: number): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const socket = connect({ host, port, timeout: CONNECT_TIMEOUT_MS });
  const end = (answer: boolean): void => {
    socket.destroy();
    resolve(answer);
  };
  socket.once("connect", () => {
    end(true);
  });
  socket.once("timeout", () => {
    end(false);
  });
  socket.once("error", () => {
    end(false);
  });
  return await promise;
}

/** Those of the addresses, such as `reachableAddressesOfBox` gives them, at which a port takes connections. */
export async function openAddresses(addresses: readonly string[], port: number): Promise<readonly string[]> {
  const looked = await Promise.all(
    addresses.map(async (address) => ((await takesConnections(address, port)) ? [address] : [])),
  );
  return looked.flat();
}
