import { isIPv4 } from "node:net";
import { openAddresses, reachableAddressesOfBox } from "../../src/lib/runtime/own-addresses.ts";

/** This machine's IPv4 addresses but those of loopback, by whether a port takes connections there. */
export interface PortLook {
  readonly open: readonly string[];
  readonly shut: readonly string[];
}

const addressesNow = (): readonly string[] => reachableAddressesOfBox().filter((address) => isIPv4(address));

/** Looks at a port from all sides. Addresses of other tests' networks come and go meanwhile; those are left out. */
export async function lookAtPort(port: number): Promise<PortLook> {
  const before = addressesNow();
  const open = new Set(await openAddresses(before, port));
  const after = new Set(addressesNow());
  const lasting = before.filter((address) => after.has(address));
  return {
    open: lasting.filter((address) => open.has(address)),
    shut: lasting.filter((address) => !open.has(address)),
  };
}
