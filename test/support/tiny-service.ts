/** What a tiny service of a test is like. */
export interface TinyService {
  readonly name?: string;
  readonly containerName?: string;
  /** Environment that it has; a change of it is a change of its settings. */
  readonly colour?: string;
  /** False = its health check always fails. */
  readonly well?: boolean;
  /** True = the engine asks it how it is after minutes only, unless it knows an interval for the start. */
  readonly askedLate?: boolean;
  /** What it does besides beating: default nothing. */
  readonly script?: string;
  readonly image?: string;
  readonly ports?: readonly string[];
  readonly profiles?: readonly string[];
  readonly volume?: string;
}

const BUSYBOX = "fula-test/busybox:1";

/** A shell that beats once every tenth of a second, and is healthy while it beats. */
function serviceText(service: TinyService): string {
  const { name = "one", colour = "blue", well = true, script = ":", image = BUSYBOX, volume = "data" } = service;
  const asked = service.askedLate === true ? "interval: 10m, start_period: 10m" : "interval: 1s";
  const { containerName = `PROJECT-${name}-1`, ports = [], profiles = [] } = service;
  const beat = "trap 'exit 0' TERM; while :; do touch /tmp/beat; sleep 0.1; done";
  const ask = 'test "$$(( $$(date +%s) - $$(stat -c %Y /tmp/beat) ))" -lt 6';
  const fail = "echo it has no colour; exit 1";
  // A busy machine may keep a service from its first beat for two checks.
  const retries = well ? 5 : 2;
  return `
  ${name}:
    image: ${JSON.stringify(image)}
    container_name: ${JSON.stringify(containerName)}
    restart: unless-stopped
    command: [sh, -c, ${JSON.stringify(`${script}; ${beat}`)}]
    environment: { COLOUR: ${JSON.stringify(colour)} }
    healthcheck: { test: [CMD-SHELL, ${JSON.stringify(well ? ask : fail)}], ${asked}, timeout: 30s, retries: ${retries} }
    ports: ${JSON.stringify(ports)}
    profiles: ${JSON.stringify(profiles)}
    volumes: ["${volume}:/data"]
    networks: [stack]
    cap_drop: [ALL]
    security_opt: ["no-new-privileges:true"]
    stop_grace_period: 2s`;
}

/** A Compose file of tiny services, for what does not depend on what runs in a container. */
export function tinyCompose(...services: readonly TinyService[]): string {
  const volumes = new Set(services.map(({ volume = "data" }) => volume));
  return `
services:${services.map((service) => serviceText(service)).join("")}
networks:
  stack: {}
volumes:
${[...volumes].map((name) => `  ${name}: {}`).join("\n")}
`;
}
