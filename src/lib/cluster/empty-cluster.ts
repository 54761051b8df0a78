import { EVERY_PEER, type PinCluster } from "./pins.ts";

async function refuse(): Promise<never> {
  await Promise.resolve();
  throw new Error("an empty cluster is there to be read, not to be written");
}

/** A pinset with nothing in it, for a plan where the real one does not exist yet. Refuses to be written. */
export function emptyCluster(clusterId: string): PinCluster & AsyncDisposable {
  return {
    clusterId,
    sorted: true,
    assignedFields: [],
    defaultFactors: EVERY_PEER,
    pins: async function* () {},
    count: async () => 0,
    pin: async () => null,
    asStored: (pin) => pin,
    put: refuse,
    remove: refuse,
    statuses: async function* () {},
    status: async () => null,
    recover: refuse,
    peers: async () => [],
    [Symbol.asyncDispose]: async () => {},
  };
}
