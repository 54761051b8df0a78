import { isIPv4, isIPv6 } from "node:net";
import { isLoopback } from "../config/addresses.ts";

/** The first part of a multiaddress: `/ip4/…`, `/ip6/…` or `/dns/…`. */
export function hostMultiaddress(host: string): string {
  if (isIPv4(host)) return `/ip4/${host}`;
  return isIPv6(host) ? `/ip6/${host}` : `/dns/${host}`;
}

/** A multiaddress that other boxes can use: of this machine's own loopback, and by way of a relay, none can. */
function isUseful(address: string): boolean {
  const [, , host = ""] = address.split("/");
  return !isLoopback(host) && host !== "0.0.0.0" && host !== "::" && !address.includes("/p2p-circuit");
}

function withPeerId(address: string, peerId: string): string {
  return address.endsWith(`/p2p/${peerId}`) ? address : `${address}/p2p/${peerId}`;
}

/**
 * Multiaddresses under which other boxes reach a peer of this one, each ending in `/p2p/<id>`: the announced host with
 * the port that is published there; without one, what the daemon says of itself.
 * @param transports what stands between host and peer id: `tcp/9096`
 */
export function reachableAddresses(peer: {
  readonly peerId: string;
  /** Host name or IP address, or null = none is announced. */
  readonly announce: string | null;
  readonly transports: readonly string[];
  /** As the daemon gives them, with or without `/p2p/…` at the end. */
  readonly heard: readonly string[];
}): readonly string[] {
  const { peerId, announce, transports, heard } = peer;
  const addresses =
    announce === null
      ? heard.filter(isUseful)
      : transports.map((transport) => `${hostMultiaddress(announce)}/${transport}`);
  return [...new Set(addresses.map((address) => withPeerId(address, peerId)))];
}
