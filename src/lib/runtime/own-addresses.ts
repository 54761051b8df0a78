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

/** True where something takes a TCP connection at that address. */
export async function takesConnections(host: string, port: number, timeoutMs: number): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const socket = connect({ host, port, timeout: timeoutMs });
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
