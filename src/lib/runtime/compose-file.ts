import { dirname, isAbsolute, resolve } from "node:path";
import { isMap, isScalar, isSeq, parse, parseDocument, type Document, visit } from "yaml";
import { z } from "zod";
import { FulaError, messageOf } from "../kernel/errors.ts";
import { composeSchema, type HealthQuestion, type PublishedPort, type ServiceText } from "./compose-schema.ts";

/** A place of the host, or a volume, in a container. */
export interface ComposeMount {
  readonly type: "bind" | "volume";
  /** Absolute path, or the volume's full name. */
  readonly source: string;
  readonly target: string;
  readonly readOnly: boolean;
}

/** One service, with every name resolved. */
export interface ComposeService {
  readonly name: string;
  readonly containerName: string;
  readonly image: string;
  readonly profiles: readonly string[];
  readonly user: string | null;
  readonly entrypoint: readonly string[] | null;
  readonly command: readonly string[] | null;
  readonly environment: Readonly<Record<string, string>>;
  /** `host`, or the full names of networks of the project. */
  readonly networks: "host" | readonly string[];
  readonly ports: readonly PublishedPort[];
  readonly mounts: readonly ComposeMount[];
  /** By target; the value is the options. */
  readonly tmpfs: Readonly<Record<string, string>>;
  readonly dependsOn: readonly string[];
  readonly health: HealthQuestion | null;
  readonly restart: ServiceText["restart"];
  readonly stopGraceMs: number;
  readonly readOnly: boolean;
  readonly capDrop: readonly string[];
  readonly capAdd: readonly string[];
  readonly securityOpt: readonly string[];
  readonly memoryBytes: number | null;
  readonly shmBytes: number | null;
  readonly pidsMax: number | null;
  readonly init: boolean;
  readonly logging: ServiceText["logging"] | null;
}

/** A network or volume of the project. */
export interface ComposeObject {
  /** Its name in the file. */
  readonly key: string;
  /** Its name in the engine: `<project>_<key>`, as Compose has it. */
  readonly name: string;
}

/** A Compose file, read. */
export interface ComposeProject {
  readonly name: string;
  /** Absolute path of the file; relative paths in it start at its directory. */
  readonly file: string;
  /** Each after those that it depends on. */
  readonly services: readonly ComposeService[];
  readonly networks: readonly ComposeObject[];
  readonly volumes: readonly ComposeObject[];
}

/** `$$`, `${NAME}` and `${NAME:-default}` (compose-spec, "Interpolation"). */
const VARIABLE = /\$(?:\$|\{([A-Z][A-Z0-9_]*)(?::-([^}]*))?\})/g;

function invalid(file: string, what: string): FulaError {
  return new FulaError("FULA_COMPOSE_INVALID", `${file} cannot be applied: ${what}.`, {
    hint: "fula-master join writes it anew from the settings; a file of your own is read by docker compose alone.",
    details: { file },
  });
}

function interpolate(text: string, values: Readonly<Record<string, string>>): string {
  return text.replaceAll(VARIABLE, (whole, name: string | undefined, fallback: string | undefined) => {
    if (name === undefined) return whole;
    const value = values[name] ?? fallback;
    if (value === undefined) throw new Error(`The template names ${name}, which has no value`);
    // A dollar sign of a value would begin a variable for whoever reads the file.
    return value.replaceAll("$", "$$$$");
  });
}

/** Takes services out, and what only they used. */
function leaveOut(document: Document, services: readonly string[]): void {
  for (const name of services) document.deleteIn(["services", name]);
  const left = document.get("services");
  if (!isMap(left)) return;
  for (const { value: service } of left.items) {
    if (!isMap(service)) continue;
    const needs = service.get("depends_on");
    if (!isSeq(needs)) continue;
    needs.items = needs.items.filter((item) => !isScalar(item) || !services.includes(String(item.value)));
    if (needs.items.length === 0) service.delete("depends_on");
  }
  const words = JSON.stringify(left.toJSON());
  for (const section of ["volumes", "networks", "secrets"]) {
    const map = document.get(section);
    if (!isMap(map)) continue;
    map.items = map.items.filter(({ key }) => new RegExp(`"${String(key)}[":]`).test(words));
    if (map.items.length === 0) document.delete(section);
  }
}

/**
 * Fills the values of a Compose template in. They become part of YAML's strings, whatever is in them, and are
 * no variables any more.
 * @param without services that this box does not have; the networks, volumes and secrets of them alone go as well
 * @throws Error where the template names a variable that has neither value nor default: a bug
 */
export function renderTemplate(
  text: string,
  values: Readonly<Record<string, string>>,
  without: readonly string[] = [],
): string {
  const document = parseDocument(text);
  const [error] = document.errors;
  if (error !== undefined) throw error;
  leaveOut(document, without);
  visit(document, {
    Scalar: (_, node) => {
      if (typeof node.value !== "string" || !node.value.includes("$")) return;
      node.value = interpolate(node.value, values);
      node.type = "QUOTE_DOUBLE";
    },
  });
  return document.toString({ lineWidth: 0 });
}

/** What stands between here and a file is read as Compose does: a path that begins with a dot or slash is one. */
function mountOf(
  text: string,
  names: { readonly volume: (key: string) => string; readonly dir: string },
): ComposeMount {
  const [source = "", target = "", mode] = text.split(":");
  const isPath = source.startsWith(".") || isAbsolute(source);
  return {
    type: isPath ? "bind" : "volume",
    source: isPath ? resolve(names.dir, source) : names.volume(source),
    target,
    readOnly: mode === "ro",
  };
}

function tmpfsOf(lines: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    lines.map((line) => {
      const colon = line.indexOf(":");
      return colon === -1 ? [line, ""] : [line.slice(0, colon), line.slice(colon + 1)];
    }),
  );
}

/** Dollar signs that `renderTemplate` or an operator doubled. */
function undouble(value: unknown): unknown {
  if (typeof value === "string") return value.replaceAll("$$", "$");
  if (Array.isArray(value)) return value.map((item) => undouble(item));
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, undouble(item)]));
}

/** Sorts so that each comes after what it needs. */
function inOrder(services: readonly ComposeService[], file: string): readonly ComposeService[] {
  const sorted: ComposeService[] = [];
  let left = [...services];
  while (left.length > 0) {
    const ready = left.filter(({ dependsOn }) => dependsOn.every((name) => sorted.some((done) => done.name === name)));
    if (ready.length === 0) {
      const names = left.map(({ name }) => name).join(", ");
      throw invalid(file, `depends_on of ${names} names a service that is not there, or goes round in a circle`);
    }
    sorted.push(...ready);
    left = left.filter((service) => !ready.includes(service));
  }
  return sorted;
}

interface Names {
  readonly dir: string;
  readonly file: string;
  readonly network: (key: string) => string;
  readonly volume: (key: string) => string;
  readonly secretFile: (key: string) => string;
}

function serviceOf(name: string, text: ServiceText, names: Names): ComposeService {
  const secrets = text.secrets.map((key): ComposeMount => {
    const source = resolve(names.dir, names.secretFile(key));
    return { type: "bind", source, target: `/run/secrets/${key}`, readOnly: true };
  });
  return {
    name,
    containerName: text.container_name,
    image: text.image,
    profiles: text.profiles,
    user: text.user ?? null,
    entrypoint: text.entrypoint ?? null,
    command: text.command ?? null,
    environment: text.environment,
    networks: text.network_mode ?? text.networks.map((key) => names.network(key)),
    ports: text.ports,
    mounts: [...text.volumes.map((line) => mountOf(line, names)), ...secrets],
    tmpfs: tmpfsOf(text.tmpfs),
    dependsOn: text.depends_on,
    health: text.healthcheck ?? null,
    restart: text.restart,
    stopGraceMs: text.stop_grace_period,
    readOnly: text.read_only,
    capDrop: text.cap_drop,
    capAdd: text.cap_add,
    securityOpt: text.security_opt,
    memoryBytes: text.mem_limit ?? null,
    shmBytes: text.shm_size ?? null,
    pidsMax: text.pids_limit ?? null,
    init: text.init,
    logging: text.logging ?? null,
  };
}

function readYaml(text: string, file: string): unknown {
  try {
    return parse(text);
  } catch (error) {
    throw invalid(file, `it is no YAML: ${messageOf(error)}`);
  }
}

/**
 * Reads a rendered Compose file.
 * @param place `project` is the project's name, `file` the file's absolute path
 * @throws FulaError FULA_COMPOSE_INVALID
 */
export function parseCompose(
  text: string,
  { project, file }: { readonly project: string; readonly file: string },
): ComposeProject {
  const read = composeSchema.safeParse(undouble(readYaml(text, file)));
  if (!read.success) {
    const [issue] = read.error.issues;
    throw invalid(
      file,
      issue === undefined ? z.prettifyError(read.error) : `${issue.path.join(".")}: ${issue.message}`,
    );
  }
  const { services, networks, volumes, secrets } = read.data;
  const named = (section: Readonly<Record<string, unknown>>, what: string) => (key: string) => {
    if (key in section) return `${project}_${key}`;
    throw invalid(file, `${what} ${key} is used and not declared`);
  };
  const names: Names = {
    dir: dirname(file),
    file,
    network: named(networks, "the network"),
    volume: named(volumes, "the volume"),
    secretFile: (key) => {
      const secret = secrets[key];
      if (secret === undefined) throw invalid(file, `the secret ${key} is used and not declared`);
      return secret.file;
    },
  };
  const objects = (section: Readonly<Record<string, unknown>>): ComposeObject[] =>
    Object.keys(section).map((key) => ({ key, name: `${project}_${key}` }));
  const resolved = Object.entries(services).map(([name, service]) => serviceOf(name, service, names));
  return {
    name: project,
    file,
    services: inOrder(resolved, file),
    networks: objects(networks),
    volumes: objects(volumes),
  };
}
