import { isIPv6 } from "node:net";
import type { LoadedConfig } from "../config/load.ts";
import type { Config } from "../config/schema.ts";
import { renderTemplate } from "../runtime/compose-template.ts";
import type { ControlPlaneKeys } from "./control-plane-keys.ts";
import { natsServerName, stackServices } from "./stack-values.ts";

/** A file of the control plane's servers, by its path below the base directory. */
export interface NatsFile {
  readonly name: string;
  readonly content: string;
  readonly isSecret: boolean;
}

/** Directories that are mounted whole: a server that is told to reads what lies in them anew, and none is made anew for it. */
export const NATS_RELOADED_DIRS = ["docker/nats", "secrets/nats"] as const;

/** Inside the network of the Compose project. */
const ROUTE_PORT = 6_222;
const CLUSTER_NAME_DIGITS = 8;

/** What the servers of one federation call themselves together; the control plane of another one is never joined. */
function natsClusterName(clusterId: string): string {
  return `fula-${clusterId.slice(0, CLUSTER_NAME_DIGITS)}`;
}

/** Where servers of other masters reach this box's: `host:port`; null where no host is announced. */
export function ownRoute({ node: { announce }, controlPlane }: Config): string | null {
  if (announce === null) return null;
  return `${isIPv6(announce) ? `[${announce}]` : announce}:${controlPlane.routePort}`;
}

/** Every server that one of this box's dials, itself among them: what it finds to be itself it leaves alone. */
function routesOf(config: Config): readonly string[] {
  const own = ownRoute(config);
  const services = stackServices(config).filter((service) => service === "nats" || service === "nats-witness");
  return [
    ...services.map((service) => `${service}:${ROUTE_PORT}`),
    ...config.controlPlane.routes.filter((route) => route !== own),
  ];
}

/**
 * A new server takes its own group to have as many servers as it is told to dial, and elects with more than half of them.
 * Two that are new and know the first master alone would elect each other, and those that have the records would follow
 * whoever has none. So a server that is to be taken in is told of itself several times more: a number that new ones do not
 * reach. What the leader says is what counts from then on.
 */
const TIMES_ITSELF = 8;

function withItself(service: "nats" | "nats-witness", routes: readonly string[]): readonly string[] {
  // A path means nothing to a server, but makes several texts of one address: equal ones would count once.
  const itself = Array.from({ length: TIMES_ITSELF }, (_, time) => `${service}:${ROUTE_PORT}/${time}`);
  return [...routes, ...itself];
}

/** What one server says of itself to the others, and whom it dials. */
function renderRoutes(advertised: string | null, routes: readonly string[]): string {
  return [
    "# Written by fula-master from the settings; the server reads it again when it is told to (SIGHUP).",
    ...(advertised === null ? [] : [`advertise: "${advertised}"`]),
    "routes: [",
    ...routes.map((route) => `  "nats-route://${route}"`),
    "]",
    "",
  ].join("\n");
}

function open(name: string, content: string): NatsFile {
  return { name, content, isSecret: false };
}

function closed(name: string, content: string | undefined): NatsFile {
  return { name, content: content ?? "", isSecret: true };
}

/**
 * The files that this box's servers read.
 * @param template the text of `nats.conf` in `templates/docker/`, and its path
 * @param keys null = they are still to be made: a first plan comes before them
 * @throws FulaError FULA_COMPOSE_INVALID
 */
export function natsFiles(
  { config }: LoadedConfig,
  template: { readonly text: string; readonly path: string },
  keys: ControlPlaneKeys | null,
): readonly NatsFile[] {
  const { controlPlane, node } = config;
  const render = (service: "nats" | "nats-witness", routes: string): string =>
    renderTemplate(
      template.text,
      {
        NATS_NAME: natsServerName(config, service),
        NATS_DEBUG: String(controlPlane.debug),
        NATS_USER: keys?.user ?? "",
        NATS_SYSTEM: keys?.system ?? "",
        NATS_CLUSTER: natsClusterName(node.clusterId ?? ""),
        NATS_ROUTES: routes,
      },
      template.path,
    );
  const routes = routesOf(config);
  // With other masters there are records: a witness that is new then has to be taken in, too.
  const isLate = controlPlane.routes.length > 0;
  const ownRoutes = controlPlane.joining ? withItself("nats", routes) : routes;
  const witnessRoutes = isLate ? withItself("nats-witness", routes) : routes;
  return [
    open("docker/nats.conf", render("nats", "routes")),
    open("docker/nats/routes.conf", renderRoutes(ownRoute(config), ownRoutes)),
    ...(controlPlane.witness
      ? [
          open("docker/nats-witness.conf", render("nats-witness", "witness-routes")),
          open("docker/nats/witness-routes.conf", renderRoutes(null, witnessRoutes)),
        ]
      : []),
    closed("secrets/nats/ca.pem", keys?.ca),
    closed("secrets/nats/node.pem", keys?.certificate),
    closed("secrets/nats/node.key.pem", keys?.key.reveal()),
  ];
}

/** True for a file that a server reads anew when it is told to, instead of being made anew. */
export function isReloaded(name: string): boolean {
  return NATS_RELOADED_DIRS.some((dir) => name.startsWith(`${dir}/`));
}
