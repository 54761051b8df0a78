import { isAddressOrNetwork } from "./addresses.ts";
import { type DefaultFacts, integer, list, listenHost, plainText } from "./setting.ts";

// An authority as EIP-4361 takes it: what a wallet shows its owner as the one that asks.
const LABEL = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?";
const OCTET = "(?:25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])";
const DOMAIN = new RegExp(`^(?:(?:${LABEL}\\.)+[a-z]{2,}|localhost|(?:${OCTET}\\.){3}${OCTET})(?::[0-9]{1,5})?$`);
const USER = /^(?:[0-9a-fA-F]{64}|[^\s@,]+@[^\s@,]+)$/;

function domainOf(facts: DefaultFacts): string {
  const announced = facts.value("node.announce");
  const domain = typeof announced === "string" ? announced.toLowerCase() : "";
  return DOMAIN.test(domain) ? domain : "localhost";
}

function noneOf(): readonly string[] {
  return [];
}

/** The HTTP API for accounts: credits, wallets, administration. */
export const API_SETTINGS = {
  host: listenHost({ description: "Address that the API listens on.", default: "127.0.0.1" }),
  port: integer(
    { description: "Port of the API; 0 takes any free one.", default: 6000, env: ["PINNING_API_PORT"] },
    0,
    65_535,
  ),
  domain: plainText(
    {
      description:
        "Domain that wallets are asked to sign for, as their owners see it; the same on every master of a federation.",
      default: {
        resolve: domainOf,
        text: "node.announce where it is a domain or an IPv4 address, else localhost",
        example: "cloud.example.org",
      },
    },
    DOMAIN,
    "a domain name or an IPv4 address, with a port where there is one",
  ),
  admins: list(
    {
      description: "Users whom `join` writes into the control plane as admins; it alone says who may administrate.",
      default: { resolve: noneOf, text: "(none)", example: "[]" },
      env: ["ADMIN_EMAILS"],
    },
    USER,
    "e-mail addresses or user ids (64 hex digits)",
  ),
  trustedProxies: list(
    {
      description: "Proxies whose X-Forwarded-For is believed; from anybody else it is ignored.",
      default: { resolve: noneOf, text: "(none)", example: "[]" },
    },
    isAddressOrNetwork,
    "IP addresses or networks such as 10.0.0.0/8",
  ),
  requestsPerMinute: integer(
    { description: "Requests that one user may make in a minute.", default: 300 },
    1,
    1_000_000,
  ),
} as const;
