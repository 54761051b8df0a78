import { isLoopback } from "./addresses.ts";
import {
  bytes,
  type DefaultFacts,
  duration,
  flag,
  integer,
  list,
  listenHost,
  oneOf,
  optionalFilePath,
} from "./setting.ts";

/** What IPFS peers exchange at most (bitswap). The fleet's 4 MiB is a block that never leaves its node. */
const BLOCK_BYTES_MAX = 2 * 1_024 * 1_024;

/** `https` alone: a bearer token goes there. Plain `http` is for this machine, or where `ingest.insecure` says so. */
function isMasterAddress(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { protocol, hostname, username, password, search, hash } = new URL(text);
  return /^https?:$/.test(protocol) && hostname !== "" && `${username}${password}${search}${hash}` === "";
}

/** Those of these addresses that would carry tokens in the clear over a network. */
export function clearAddresses(masters: readonly string[]): readonly string[] {
  return masters.filter((text) => {
    const { protocol, hostname } = new URL(text);
    return protocol === "http:" && !isLoopback(hostname.replace(/^\[(.*)\]$/, "$1"));
  });
}

function modeOf(facts: DefaultFacts): "on" | "off" {
  const masters = facts.value("ingest.masters");
  return Array.isArray(masters) && masters.length > 0 ? "on" : "off";
}

/** What a storage node takes in from clients. */
export const INGEST_SETTINGS = {
  masters: list(
    {
      description:
        "APIs of the masters that a storage node asks about whoever sends it blocks; the first that answers is asked. http:// only to this machine, unless ingest.insecure.",
      default: { resolve: () => [], text: "(none)", example: '["https://master-1.example.org"]' },
      env: ["STORAGE_API_URL"],
    },
    isMasterAddress,
    "addresses such as https://master-1.example.org",
  ),
  mode: oneOf(
    {
      description: "Whether a storage node takes blocks from clients.",
      default: { resolve: modeOf, text: "on where ingest.masters is set, else off", example: "on" },
    },
    ["off", "on"] as const,
  ),
  host: listenHost({
    description: "Address that a storage node takes blocks on.",
    default: "127.0.0.1",
    env: ["INGEST_BIND"],
  }),
  port: integer(
    {
      description: "Port that a storage node takes blocks on; 0 takes any free one.",
      default: 3601,
      env: ["INGEST_PORT"],
    },
    0,
    65_535,
  ),
  tlsCert: optionalFilePath({
    description:
      "PEM file of the listener's certificate with its chain, read again when it changes; needs ingest.tlsKey.",
    default: null,
  }),
  tlsKey: optionalFilePath({ description: "PEM file of the certificate's private key.", default: null }),
  insecure: flag({
    description:
      "Tokens and blocks may go over a network without TLS: the listener on other addresses than loopback, and http:// masters.",
    default: false,
  }),
  quota: oneOf(
    {
      description:
        "What happens while no master can be asked: `strict` takes no bytes; `open` takes those of whoever showed who he is, and tells a master later.",
      default: "strict",
      env: ["INGEST_QUOTA_MODE"],
    },
    ["strict", "open"] as const,
  ),
  maxBlockBytes: bytes(
    { description: "Largest block that is taken.", default: BLOCK_BYTES_MAX, env: ["INGEST_MAX_BLOCK_BYTES"] },
    1,
    { max: BLOCK_BYTES_MAX, because: "no IPFS peer takes a larger block, so nobody could fetch it from here" },
  ),
  maxConcurrent: integer(
    { description: "Whole blocks that are stored at the same time.", default: 32, env: ["INGEST_MAX_CONCURRENT"] },
    1,
    1_024,
  ),
  perIdentity: integer(
    { description: "Requests that one account may have open at the same time.", default: 4 },
    1,
    1_024,
  ),
  leaseTime: duration(
    { description: "How long a block that no object refers to is kept and counted.", default: "1h" },
    "1m",
  ),
} as const;
