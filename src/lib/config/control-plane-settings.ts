import { duration, type DefaultFacts, flag, integer, list, oneOf, optionalFilePath, plainText } from "./setting.ts";

const NOTHING = { resolve: (): readonly string[] => [], text: "(none)", example: "[]" };

/** Who belongs to the federation, its secrets and its operators: where that is kept. */
export const CONTROL_PLANE_SETTINGS = {
  mode: oneOf(
    {
      description:
        "`sqlite` keeps pools, members, secrets and operators in a file of this box alone; `docker` on a NATS server in a container, which every further master replicates; `nats` on servers that run already.",
      default: {
        resolve: (facts: DefaultFacts) => {
          if (facts.isGiven("controlPlane.servers")) return "nats";
          return facts.value("runtime") === "docker" && facts.value("node.role") === "master" ? "docker" : "sqlite";
        },
        text: "sqlite; docker where runtime is docker; nats where controlPlane.servers is set",
        example: "sqlite",
      },
    },
    ["sqlite", "docker", "nats"] as const,
  ),
  servers: list(
    {
      description: "NATS servers that run already, as `nats://host:port` or `tls://host:port`.",
      default: NOTHING,
      env: ["NATS_URL"],
    },
    /^(?:nats|tls):\/\/[A-Za-z0-9.:[\]-]+$/,
    "addresses such as tls://nats-1.example.org:4222, without a user or password",
  ),
  caFile: optionalFilePath({
    description: "Certificates (PEM) that such a server's own is checked with; the system's where it is not set.",
    default: null,
  }),
  nkeyFile: optionalFilePath({
    description: "File with the seed of the NKey that this box logs in with at such a server.",
    default: null,
  }),
  systemNkeyFile: optionalFilePath({
    description:
      "File with the seed of an NKey of such servers' system account, with which `status` and `doctor` ask them how they are.",
    default: null,
  }),
  prefix: plainText(
    { description: "First word of the names of the KV buckets.", default: "FULA" },
    /^[A-Z][A-Z0-9_]{0,31}$/,
    "upper-case letters, digits and underscores, at most 32",
  ),
  replicas: integer(
    {
      description: "Servers that hold each record; 0 takes as many as there are, at most three.",
      default: 0,
    },
    0,
    5,
  ),
  clientPort: integer(
    { description: "Port of the NATS container for this box's own programs, on 127.0.0.1.", default: 4_222 },
    1,
    65_535,
  ),
  routePort: integer(
    { description: "Port of the NATS container for the servers of other masters, on all interfaces.", default: 6_222 },
    1,
    65_535,
  ),
  monitorPort: integer(
    { description: "Port of the NATS container's monitoring, on 127.0.0.1.", default: 8_222 },
    1,
    65_535,
  ),
  routes: list(
    {
      description: "Servers of other masters, as `host:port`; `join` writes them.",
      default: NOTHING,
    },
    /^(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\]):\d{1,5}$/,
    "addresses such as master-1.example.org:6222",
  ),
  witness: flag({
    description:
      "A second NATS container on this box: two servers are the fewest that can elect. `join` turns it on with the first master, and `serve` off once three masters have a server.",
    default: false,
  }),
  joining: flag({
    description:
      "This box's NATS container waits to be taken in by those of other masters, and elects nobody with others that are new, too. `join` turns it on with a token, and `serve` off once the container is a member.",
    default: false,
  }),
  timeout: duration({ description: "Time that one question to the control plane may take.", default: "2s" }, "100ms"),
  maxAge: duration(
    {
      description:
        "An answer whether somebody may act counts only if a quorum of the servers has confirmed the state it rests on within this time.",
      default: "5s",
    },
    "100ms",
  ),
  bootstrapTimeout: duration(
    { description: "Time that the servers have to find one another from cold.", default: "120s" },
    "1s",
  ),
  debug: flag({ description: "The NATS server logs in detail.", default: false }),
} as const;
