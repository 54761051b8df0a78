import { isIP, isIPv4, isIPv6 } from "node:net";
import { assert } from "../kernel/assert.ts";

const DNS_NAME = /^(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?)*\.?$/i;

/** True for an IPv4 or IPv6 address without brackets. */
export function isIpAddress(text: string): boolean {
  return isIP(text) !== 0;
}

/** True for an address, or a network such as `10.0.0.0/8`. */
export function isAddressOrNetwork(text: string): boolean {
  const [address = "", prefix, ...rest] = text.split("/");
  const bits = { 0: -1, 4: 32, 6: 128 }[isIP(address)] ?? -1;
  if (bits < 0 || rest.length > 0) return false;
  return prefix === undefined || (/^\d{1,3}$/.test(prefix) && Number(prefix) <= bits);
}

function isPort(text: string | undefined): boolean {
  return text !== undefined && /^[1-9]\d{0,4}$/.test(text) && Number(text) <= 65_535;
}

const HOST_CHECKS: Readonly<Record<string, (host: string) => boolean>> = {
  ip4: isIPv4,
  ip6: isIPv6,
  dns: (host) => DNS_NAME.test(host),
  dns4: (host) => DNS_NAME.test(host),
  dns6: (host) => DNS_NAME.test(host),
};

/** A service's address, taken apart. */
export interface ServiceAddress {
  readonly host: string;
  readonly port: number;
  readonly secure: boolean;
}

function fromMultiaddr(text: string): ServiceAddress | null {
  const [empty, family = "", host = "", transport, port, scheme, ...rest] = text.split("/");
  if (empty !== "" || rest.length > 0 || transport !== "tcp" || !isPort(port)) return null;
  if (HOST_CHECKS[family]?.(host) !== true) return null;
  if (scheme !== undefined && scheme !== "http" && scheme !== "https") return null;
  return { host, port: Number(port), secure: scheme === "https" };
}

function fromUrl(text: string): ServiceAddress | null {
  if (!URL.canParse(text)) return null;
  const { protocol, hostname, port, pathname, search, hash, username, password } = new URL(text);
  if (protocol !== "http:" && protocol !== "https:") return null;
  // A path or credentials would be dropped on the way to the client; better refused than lost.
  if (hostname === "" || pathname !== "/" || `${search}${hash}${username}${password}` !== "") return null;
  const secure = protocol === "https:";
  return { host: hostname.replace(/^\[(.*)\]$/, "$1"), port: port === "" ? (secure ? 443 : 80) : Number(port), secure };
}

/** True for an `http(s)` URL with any path, whose credentials, if it has some, are in the path or the query. */
export function isWebAddress(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { protocol, hostname, username, password, hash } = new URL(text);
  return (protocol === "http:" || protocol === "https:") && hostname !== "" && `${username}${password}${hash}` === "";
}

/**
 * Takes apart a multiaddr (`/ip4/127.0.0.1/tcp/5001`, also ip6, dns, dns4, dns6, and an optional `/http` or `/https` at
 * the end) or an `http(s)://host:port` URL without a path. Null where the text is neither.
 */
export function parseServiceAddress(text: string): ServiceAddress | null {
  return text.startsWith("/") ? fromMultiaddr(text) : fromUrl(text);
}

/** The address in a setting, whose text was checked to be one when the settings were read. */
export function addressOfSetting(setting: string): ServiceAddress {
  const address = parseServiceAddress(setting);
  assert(address !== null, `${setting} is an address`);
  return address;
}

/** True where `parseServiceAddress` can read the text. */
export function isServiceAddress(text: string): boolean {
  return parseServiceAddress(text) !== null;
}

/** The base URL of a service address, without a slash at the end: `http://127.0.0.1:5001`. */
export function serviceUrl(address: ServiceAddress): string {
  const host = isIPv6(address.host) ? `[${address.host}]` : address.host;
  return `${address.secure ? "https" : "http"}://${host}:${address.port}`;
}

/** The base URL of a service from a setting, which has been checked to be an address. */
export function urlOfSetting(setting: string): string {
  return serviceUrl(addressOfSetting(setting));
}

/** True for an address that only this machine can reach. */
export function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || (isIPv4(host) && host.startsWith("127."));
}
