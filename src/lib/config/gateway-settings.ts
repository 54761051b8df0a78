import { bytes, duration, flag, integer, list, listenHost, oneOf, plainText } from "./setting.ts";

/** The S3 gateway. */
export const GATEWAY_SETTINGS = {
  mode: oneOf(
    {
      description:
        "`own` serves S3 from this process; `container` leaves it to the existing fleet's gateway in a container.",
      default: "own",
    },
    ["own", "container"] as const,
  ),
  host: listenHost({
    description: "Address that the S3 gateway listens on.",
    default: "127.0.0.1",
    env: ["FULA_HOST"],
  }),
  port: integer(
    { description: "Port of the S3 gateway; 0 takes any free one.", default: 9000, env: ["FULA_PORT"] },
    0,
    65_535,
  ),
  maxObjectBytes: bytes(
    {
      description: "Largest object that a PUT may carry.",
      default: { resolve: () => 5 * 1024 ** 3, text: "5GiB", example: "5GiB" },
    },
    1,
  ),
  region: plainText(
    { description: "Region that S3 clients sign for.", default: "us-east-1" },
    /^[a-z0-9-]{1,63}$/,
    "lower-case letters, digits and dashes",
  ),
  etag: oneOf(
    {
      description:
        "ETag of new objects: `cid`, the content's CID; `md5`, its MD5, for clients that compare ETags with the MD5 of their files.",
      default: "cid",
    },
    ["cid", "md5"] as const,
  ),
  quota: oneOf(
    {
      description:
        "Whether accounts are asked before bytes are taken: `strict` refuses while they cannot be asked, `open` takes the bytes then, `off` never asks. Nothing is asked where billing is off.",
      default: "strict",
    },
    ["strict", "open", "off"] as const,
  ),
  multipartUploads: integer(
    { description: "Multipart uploads that a user may have open at the same time.", default: 1_000 },
    1,
    100_000,
  ),
  multipartMinPart: bytes(
    {
      description: "Smallest part of a multipart upload, but for its last one; 5MiB is what S3 asks for.",
      default: { resolve: () => 0, text: "0", example: "5MiB" },
    },
    0,
  ),
  multipartExpiry: duration(
    {
      description: "A multipart upload with which nobody has done anything for so long is given up.",
      default: "24h",
    },
    "1h",
  ),
  corsOrigins: list(
    {
      description:
        "Origins of web pages that may use the gateway from a browser; `*` stands for all of them, an empty list for none.",
      default: { resolve: () => ["*"], text: "*", example: '["https://app.example.org"]' },
    },
    // No page is told "null" of itself alone: every sandboxed one is.
    /^(?:\*|[a-z][a-z0-9+.-]*:\/\/[a-z0-9.:[\]-]+)$/,
    "origins such as https://app.example.org, in lower case, or *",
  ),
  rateLimitRps: integer(
    {
      description:
        "Requests a second that an owner of buckets may send, whatever his credentials; the same for each address that asks without one.",
      default: 1_000,
      env: ["FULA_RATE_LIMIT_RPS"],
    },
    1,
    1_000_000,
  ),
  rateLimitBurst: integer(
    {
      description: "Requests that he may send at once, after a while of sending none.",
      default: 10_000,
      env: ["FULA_RATE_LIMIT_BURST"],
    },
    1,
    1_000_000,
  ),
  trustless: flag({
    description:
      "Whether contents of this master are given out by their CIDs, without a key, as blocks and CAR files that clients verify by themselves.",
    default: true,
  }),
  jwtAccessKeys: flag({
    description:
      "A JSON Web Token may stand in place of an access key's id (`Credential=JWT:<token>/…`), as in the existing fleet. The signature of such a request cannot be checked: whoever reads the token on its way can send others with it, so only behind TLS.",
    default: false,
  }),
  remoteCidPut: flag({
    description: "A PUT without a body may map a block that is there already, where its sender proves that he has it.",
    default: false,
    env: [{ name: "FULA_REMOTE_CID_PUT", rule: "exactly-true" }],
  }),
} as const;
