import { dirname, resolve } from "node:path";
import { parse } from "yaml";
import { z } from "zod";
import { FulaError, messageOf } from "../kernel/errors.ts";
import { parseDurationMs } from "../kernel/units.ts";

/** A port of the host that leads to one of a container. */
export interface PublishedPort {
  /** Address of the host that it listens on; `0.0.0.0` = all. */
  readonly hostIp: string;
  readonly hostPort: number;
  readonly containerPort: number;
  readonly protocol: "tcp" | "udp";
}

/** A place of a container that lies outside it. */
export interface ComposeMount {
  readonly type: "volume" | "bind";
  /** Key of a volume of the file, or an absolute path of the host. */
  readonly source: string;
  readonly target: string;
  readonly readOnly: boolean;
}

/** The question that Docker asks a container to learn whether it is well. */
export interface ComposeHealthcheck {
  /** As the Engine API takes it: `["CMD", …]` or `["CMD-SHELL", …]`. */
  readonly test: readonly string[];
  readonly intervalMs: number;
  readonly timeoutMs: number;
  readonly retries: number;
  readonly startPeriodMs: number;
}

/** One service of a Compose file, in the subset that our templates use. Sizes are bytes, times milliseconds. */
export interface ComposeService {
  readonly name: string;
  readonly containerName: string;
  readonly image: string;
  readonly user: string | null;
  readonly entrypoint: readonly string[] | null;
  readonly command: readonly string[] | null;
  readonly environment: Readonly<Record<string, string>>;
  /** Published ports; of a service on the host's own network those that it listens on, on loopback. */
  readonly ports: readonly PublishedPort[];
  readonly mounts: readonly ComposeMount[];
  readonly tmpfs: readonly string[];
  readonly networks: readonly string[];
  /** True where it has no network of its own: the host's addresses and ports are its own. */
  readonly isOnHost: boolean;
  readonly healthcheck: ComposeHealthcheck | null;
  readonly restart: string;
  readonly capAdd: readonly string[];
  readonly capDrop: readonly string[];
  readonly securityOpt: readonly string[];
  readonly memLimit: number | null;
  readonly shmSize: number | null;
  readonly pidsLimit: number | null;
  readonly readOnly: boolean;
  readonly stopGracePeriodMs: number | null;
  readonly logging: { readonly driver: string; readonly options: Readonly<Record<string, string>> } | null;
  readonly profiles: readonly string[];
  readonly dependsOn: readonly string[];
}

/** A network or volume of a Compose file. */
export interface ComposeResource {
  readonly key: string;
  /** The name that the engine knows it by: `<project>_<key>`. */
  readonly name: string;
}

/** A Compose file that was read. */
export interface ComposeProject {
  readonly name: string;
  readonly file: string;
  readonly services: readonly ComposeService[];
  readonly networks: readonly ComposeResource[];
  readonly volumes: readonly ComposeResource[];
  /** Content that mounted files will have once they are written, by path; of others the file itself counts. */
  readonly contents: ReadonlyMap<string, string>;
}

/** Where Compose mounts the secrets of a service. */
const SECRETS_DIR = "/run/secrets";

/** The error of a Compose file that says something that cannot be. */
export function invalidCompose(file: string, what: string, cause?: unknown): FulaError {
  return new FulaError("FULA_COMPOSE_INVALID", `${file} cannot be used: ${what}.`, {
    cause,
    hint: "fula-master join writes it anew from the settings; change the settings, not this file.",
    details: { file },
  });
}

const duration = z.string().transform((text, context) => {
  const ms = parseDurationMs(text);
  if (ms === null) context.addIssue({ code: "custom", message: `${text} is no duration` });
  return ms ?? 0;
});
const words = z.array(z.string());
const amount = z.union([z.string().regex(/^\d+$/), z.int()]).transform(Number);
const yes = z.union([z.boolean(), z.enum(["true", "false"])]).transform((value) => value === true || value === "true");

const serviceSchema = z.strictObject({
  image: z.string().min(1),
  container_name: z.string().min(1),
  user: z.string().optional(),
  entrypoint: words.optional(),
  command: words.optional(),
  environment: z.record(z.string(), z.union([z.string(), z.number()]).transform(String)).default({}),
  ports: words.default([]),
  volumes: words.default([]),
  tmpfs: words.default([]),
  network_mode: z.literal("host").optional(),
  expose: words.default([]),
  networks: words.default([]),
  secrets: words.default([]),
  healthcheck: z
    .strictObject({
      test: words.min(2),
      interval: duration,
      timeout: duration,
      retries: z.int().min(1),
      start_period: duration.optional(),
    })
    .optional(),
  restart: z.string().default("no"),
  cap_add: words.default([]),
  cap_drop: words.default([]),
  security_opt: words.default([]),
  mem_limit: amount.optional(),
  shm_size: amount.optional(),
  pids_limit: z.int().optional(),
  read_only: yes.default(false),
  stop_grace_period: duration.optional(),
  logging: z.strictObject({ driver: z.string(), options: z.record(z.string(), z.string()).default({}) }).optional(),
  profiles: words.default([]),
  depends_on: words.default([]),
});

const fileSchema = z.strictObject({
  // An extension field: it only holds what aliases repeat.
  "x-logging": z.unknown().optional(),
  services: z.record(z.string(), serviceSchema),
  networks: z.record(z.string(), z.strictObject({ driver: z.literal("bridge").optional() }).nullable()).default({}),
  volumes: z.record(z.string(), z.strictObject({}).nullable()).default({}),
  secrets: z.record(z.string(), z.strictObject({ file: z.string() })).default({}),
});

type RawService = z.infer<typeof serviceSchema>;

function parsePort(text: string, file: string): PublishedPort {
  const match = /^(?:([0-9.]+):)?(\d+):(\d+)(?:\/(tcp|udp))?$/.exec(text);
  if (match === null) throw invalidCompose(file, `${text} is no published port such as 127.0.0.1:5432:5432`);
  const [, hostIp = "0.0.0.0", hostPort, containerPort, protocol] = match;
  return {
    hostIp,
    hostPort: Number(hostPort),
    containerPort: Number(containerPort),
    protocol: protocol === "udp" ? "udp" : "tcp",
  };
}

function parseMount(text: string, dir: string, file: string): ComposeMount {
  const [source, target, mode, ...rest] = text.split(":");
  if (source === undefined || target === undefined || rest.length > 0 || (mode !== undefined && mode !== "ro")) {
    throw invalidCompose(file, `${text} is no volume such as data:/var/lib/data`);
  }
  const isPath = source.startsWith("/") || source.startsWith(".");
  return {
    type: isPath ? "bind" : "volume",
    source: isPath ? resolve(dir, source) : source,
    target,
    readOnly: mode === "ro",
  };
}

type Variables = Readonly<Record<string, string | undefined>>;

/** Fills in what Compose would take from its environment file, and reads `$$` as a dollar. */
function interpolate(value: unknown, variables: Variables, file: string): unknown {
  if (typeof value === "string") {
    return value.replaceAll(/\$\$|\$\{([A-Z][A-Z0-9_]*):-\}|\$/g, (match, name: string | undefined) => {
      if (match === "$$") return "$";
      if (name === undefined) throw invalidCompose(file, `${value} holds a variable that was never filled in`);
      return variables[name] ?? "";
    });
  }
  if (Array.isArray(value)) return value.map((item) => interpolate(item, variables, file));
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, interpolate(item, variables, file)]));
}

interface Known {
  readonly file: string;
  readonly secrets: Readonly<Record<string, { readonly file: string }>>;
  readonly volumes: ReadonlySet<string>;
  readonly networks: ReadonlySet<string>;
  readonly services: ReadonlySet<string>;
}

function serviceOf(name: string, raw: RawService, known: Known): ComposeService {
  const { file } = known;
  const dir = dirname(file);
  const secrets = raw.secrets.map((key): ComposeMount => {
    const secret = known.secrets[key];
    if (secret === undefined)
      throw invalidCompose(file, `service ${name} wants the secret ${key}, which is not declared`);
    return { type: "bind", source: resolve(dir, secret.file), target: `${SECRETS_DIR}/${key}`, readOnly: true };
  });
  const mounts = [...raw.volumes.map((text) => parseMount(text, dir, file)), ...secrets];
  for (const [what, keys, declared] of [
    ["volume", mounts.filter(({ type }) => type === "volume").map(({ source }) => source), known.volumes],
    ["network", raw.networks, known.networks],
    ["service", raw.depends_on, known.services],
  ] as const) {
    const missing = keys.find((key) => !declared.has(key));
    if (missing !== undefined)
      throw invalidCompose(file, `service ${name} wants the ${what} ${missing}, which is not declared`);
  }
  const { healthcheck } = raw;
  return {
    name,
    containerName: raw.container_name,
    image: raw.image,
    user: raw.user ?? null,
    entrypoint: raw.entrypoint ?? null,
    command: raw.command ?? null,
    environment: raw.environment,
    ports: [...raw.ports, ...raw.expose.map((port) => `127.0.0.1:${port}:${port}`)].map((text) =>
      parsePort(text, file),
    ),
    mounts,
    tmpfs: raw.tmpfs,
    networks: raw.networks,
    isOnHost: raw.network_mode === "host",
    healthcheck:
      healthcheck === undefined
        ? null
        : {
            test: healthcheck.test,
            intervalMs: healthcheck.interval,
            timeoutMs: healthcheck.timeout,
            retries: healthcheck.retries,
            startPeriodMs: healthcheck.start_period ?? 0,
          },
    restart: raw.restart,
    capAdd: raw.cap_add,
    capDrop: raw.cap_drop,
    securityOpt: raw.security_opt,
    memLimit: raw.mem_limit ?? null,
    shmSize: raw.shm_size ?? null,
    pidsLimit: raw.pids_limit ?? null,
    readOnly: raw.read_only,
    stopGracePeriodMs: raw.stop_grace_period ?? null,
    logging: raw.logging ?? null,
    profiles: raw.profiles,
    dependsOn: raw.depends_on,
  };
}

/** Puts services behind those that they depend on. */
function inOrder(services: readonly ComposeService[], file: string): readonly ComposeService[] {
  const sorted: ComposeService[] = [];
  const names = new Set<string>();
  let left = services;
  while (left.length > 0) {
    const ready = left.filter(({ dependsOn }) => dependsOn.every((name) => names.has(name)));
    if (ready.length === 0) throw invalidCompose(file, `its services depend on one another in a circle`);
    sorted.push(...ready);
    for (const { name } of ready) names.add(name);
    left = left.filter((service) => !names.has(service.name));
  }
  return sorted;
}

/**
 * Reads a rendered Compose file: the subset of the Compose Specification that our templates use; anything else is an
 * error, so that nothing is silently left out. Services come in the order in which they depend on one another.
 * @throws FulaError FULA_COMPOSE_INVALID
 */
export function parseCompose(
  text: string,
  options: {
    readonly project: string;
    /** Path of the file; relative paths in it start at its directory. */
    readonly file: string;
    /** Secrets that stand in it as variables. */
    readonly variables?: Variables;
    /** Content of mounted files that are still to be written, by path: a plan comes before them. */
    readonly contents?: ReadonlyMap<string, string>;
  },
): ComposeProject {
  const { project, file, variables = {}, contents = new Map<string, string>() } = options;
  let raw: unknown;
  try {
    raw = parse(text);
  } catch (cause) {
    throw invalidCompose(file, messageOf(cause), cause);
  }
  const parsed = fileSchema.safeParse(interpolate(raw, variables, file));
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw invalidCompose(
      file,
      `${issue?.path.join(".") ?? ""}: ${issue?.message ?? "it is no Compose file"}`,
      parsed.error,
    );
  }
  const { services, networks, volumes, secrets } = parsed.data;
  const nameOf = (key: string): ComposeResource => ({ key, name: `${project}_${key}` });
  const known: Known = {
    file,
    secrets,
    volumes: new Set(Object.keys(volumes)),
    networks: new Set(Object.keys(networks)),
    services: new Set(Object.keys(services)),
  };
  return {
    name: project,
    file,
    services: inOrder(
      Object.entries(services).map(([name, service]) => serviceOf(name, service, known)),
      file,
    ),
    networks: Object.keys(networks).map(nameOf),
    volumes: Object.keys(volumes).map(nameOf),
    contents,
  };
}
