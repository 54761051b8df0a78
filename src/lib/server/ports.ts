import type { Server } from "node:net";
import { isIPv6 } from "node:net";
import type { ErrorCode } from "../kernel/error-codes.ts";
import { FulaError, systemErrorCode } from "../kernel/errors.ts";
import { findPortOwner, probePort } from "../runtime/port-owner.ts";

/** An address to listen on, and the setting that it comes from. */
export interface ListenAddress {
  readonly host: string;
  readonly port: number;
  /** The group of the settings. */
  readonly setting: "server" | "gateway" | "api" | "ingest";
}

/** The base URL of a listener: `http://127.0.0.1:9000`. */
export function listenerUrl({ host, port }: Pick<ListenAddress, "host" | "port">, secure = false): string {
  return `${secure ? "https" : "http"}://${isIPv6(host) ? `[${host}]` : host}:${port}`;
}

async function portInUse({ host, port, setting }: ListenAddress): Promise<FulaError> {
  const owner = await findPortOwner(port);
  const who = owner === null ? "another process (of another user)" : `process ${owner.pid} (${owner.command})`;
  return new FulaError("FULA_PORT_IN_USE", `Cannot listen on ${host}:${port}: ${who} does.`, {
    hint: `end that process, or choose another port: fula-master config set ${setting}.port <port>`,
    details: { host, port, setting: `${setting}.port`, owner },
  });
}

function cannotListen(
  { host, port, setting }: ListenAddress,
  code: ErrorCode,
  why: string,
  cause?: unknown,
): FulaError {
  return new FulaError(code, `Cannot listen on ${host}:${port}: ${why}.`, {
    hint: `set ${setting}.host and ${setting}.port to an address of this machine that this user may listen on.`,
    details: { host, port, setting },
    ...(cause === undefined ? {} : { cause }),
  });
}

/**
 * Checks that everything can be listened on, before anything is started.
 * @throws FulaError FULA_PORT_IN_USE naming pid and command, FULA_LISTEN_FAILED
 */
export async function assertPortsFree(addresses: readonly ListenAddress[]): Promise<void> {
  for (const address of addresses) {
    const twin = addresses.find(
      (other) => other !== address && other.port === address.port && other.host === address.host,
    );
    if (twin !== undefined) throw cannotListen(address, "FULA_LISTEN_FAILED", `${twin.setting}.port is the same port`);
    const state = await probePort(address.host, address.port);
    if (state === "in-use") throw await portInUse(address);
    if (state === "not-permitted") throw cannotListen(address, "FULA_LISTEN_FAILED", "that is not permitted");
    if (state === "no-such-address")
      throw cannotListen(address, "FULA_LISTEN_FAILED", "no such address on this machine");
  }
}

/** Starts listening. @throws FulaError FULA_PORT_IN_USE where somebody else was faster, FULA_LISTEN_FAILED */
export async function listen(server: Server, address: ListenAddress): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once("error", reject);
  server.listen({ host: address.host, port: address.port, exclusive: true }, () => {
    server.off("error", reject);
    resolve();
  });
  try {
    await promise;
  } catch (error) {
    if (systemErrorCode(error) === "EADDRINUSE") throw await portInUse(address);
    throw cannotListen(address, "FULA_LISTEN_FAILED", systemErrorCode(error) ?? "it failed", error);
  }
}
