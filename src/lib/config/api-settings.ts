import { type DefaultFacts, integer, list, listenHost, plainText } from "./setting.ts";

// An authority as EIP-4361 takes it: what a wallet shows its owner as the one that asks.
const DOMAIN = /^(?:(?:[a-z0-9-]+\.)+[a-z]{2,}|localhost|\d{1,3}(?:\.\d{1,3}){3})(?::\d{1,5})?$/;
const USER = /^(?:[0-9a-fA-F]{64}|[^\s@,]+@[^\s@,]+)$/;
const PROXY = /^[0-9a-fA-F.:]{2,45}(?:\/\d{1,3})?$/;

function domainOf(facts: DefaultFacts): string {
  const announced = facts.value("node.announce");
  return typeof announced === "string" && DOMAIN.test(announced) ? announced : "localhost";
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
      description: "Users who may adjust credits and lift suspensions.",
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
    PROXY,
    "IP addresses or networks such as 10.0.0.0/8",
  ),
  requestsPerMinute: integer(
    { description: "Requests that one user may make in a minute.", default: 300 },
    1,
    1_000_000,
  ),
} as const;
