import { chmod, chown, readdir, readFile, stat } from "node:fs/promises";
import { basename, dirname, join, relative } from "node:path";
import type { LoadedConfig } from "../config/load.ts";
import { ensureDir, exists, readTextIfExists, writeFileAtomic } from "../kernel/files.ts";
import { PROJECT_ROOT } from "../kernel/project.ts";
import type { Secret } from "../kernel/secret.ts";
import { type ComposeProject, parseCompose } from "../runtime/compose-file.ts";
import { planProject, type ProjectPlan } from "../runtime/compose-plan.ts";
import { keepServices, renderTemplate } from "../runtime/compose-template.ts";
import { connectDocker } from "../runtime/docker.ts";
import { readControlPlaneKeys } from "./control-plane-keys.ts";
import { ledgerEpochFile } from "./ledger-epoch-file.ts";
import { NATS_RELOADED_DIRS, natsFiles } from "./nats-files.ts";
import { ownPostgres } from "./own-postgres.ts";
import { type StackService, stackServices, stackValues } from "./stack-values.ts";

/** A file that containers are made from. */
export interface StackFile {
  readonly path: string;
  readonly content: string;
  readonly mode: number;
  readonly owner: { readonly uid: number; readonly gid: number };
}

/** The containers of a box as its settings want them. */
export interface DockerStack {
  readonly project: ComposeProject;
  readonly files: readonly StackFile[];
  /** Profiles of the Compose file that are on. */
  readonly profiles: readonly string[];
  /** Services that `serve` starts, once it has asked whether they may run. */
  readonly heldBack: readonly StackService[];
}

type Env = Readonly<Record<string, string | undefined>>;

const TEMPLATES = join(PROJECT_ROOT, "templates", "docker");
const ROOT = { uid: 0, gid: 0 };
/** The user that Kubo and IPFS Cluster run as in their images, and in ours. */
const DAEMON = { uid: 1_000, gid: 100 };
const COMPOSE_FILE_MODE = 0o600;
const SCRIPT_MODE = 0o755;
const SECRET_MODE = 0o400;
const PLAIN_MODE = 0o644;

/** Where the rendered Compose file lies. */
export function composeFileOf(baseDir: string): string {
  return join(baseDir, "compose.yaml");
}

async function scripts(baseDir: string): Promise<readonly StackFile[]> {
  const names = (await readdir(TEMPLATES)).filter((name) => name.endsWith(".sh"));
  return await Promise.all(
    names.map(async (name) => ({
      path: join(baseDir, "docker", name),
      content: await readFile(join(TEMPLATES, name), "utf8"),
      mode: SCRIPT_MODE,
      owner: ROOT,
    })),
  );
}

function secretFiles({ paths, secrets, config }: LoadedConfig): readonly StackFile[] {
  const services = new Set(stackServices(config));
  // A first plan comes before the secrets are made.
  const file = (name: string, secret: Secret | null, owner: StackFile["owner"]): StackFile => ({
    path: join(paths.baseDir, "secrets", name),
    content: secret?.reveal() ?? "",
    mode: SECRET_MODE,
    owner,
  });
  return [
    ...(services.has("postgres") ? [file("postgres_password", secrets.postgresPassword, ROOT)] : []),
    ...(services.has("cluster") ? [file("cluster_secret", secrets.clusterSecret, DAEMON)] : []),
    // Compose wants the file; a node in the public network is not to have the key.
    ...(services.has("kubo") ? [file("swarm_key", config.kubo.private ? secrets.swarmKey : null, DAEMON)] : []),
  ];
}

/** The configuration of the control plane's servers, and copies of what they show to others. */
async function controlPlaneFiles(loaded: LoadedConfig): Promise<readonly StackFile[]> {
  const { config, paths } = loaded;
  if (!stackServices(config).includes("nats")) return [];
  const path = join(TEMPLATES, "nats.conf");
  const template = { text: await readFile(path, "utf8"), path };
  const files = natsFiles(loaded, template, await readControlPlaneKeys(paths.keysDir));
  return files.map(({ name, content, isSecret }) => ({
    path: join(paths.baseDir, name),
    content,
    mode: isSecret ? SECRET_MODE : PLAIN_MODE,
    owner: ROOT,
  }));
}

/** A server of the ledger that is not the only one may only run as what the control plane says it is. */
async function heldBackServices({ config, paths }: LoadedConfig): Promise<readonly StackService[]> {
  if (ownPostgres(config)?.kind !== "container") return [];
  const isGated = config.postgres.mode === "external" || (await exists(ledgerEpochFile(paths.stateDir)));
  return isGated ? ["postgres"] : [];
}

/**
 * Makes the Compose file of this box from its settings, and everything that belongs to it. Writes nothing.
 * @throws FulaError FULA_COMPOSE_INVALID
 */
export async function readStack(loaded: LoadedConfig): Promise<DockerStack> {
  const { config, paths } = loaded;
  const { project: name } = config.docker;
  const path = composeFileOf(paths.baseDir);
  const template = join(TEMPLATES, `${config.node.role}.compose.yaml`);
  const services = stackServices(config);
  const heldBack = await heldBackServices(loaded);
  const rendered = renderTemplate(await readFile(template, "utf8"), stackValues(loaded, heldBack), template);
  const text = keepServices(rendered, services, template);
  const mounted = [...(await scripts(paths.baseDir)), ...secretFiles(loaded), ...(await controlPlaneFiles(loaded))];
  // A directory counts by its name: what lies in it is read anew, and no container is made anew for it.
  const dirs = NATS_RELOADED_DIRS.map((dir) => [join(paths.baseDir, dir), ""] as const);
  return {
    project: parseCompose(text, {
      project: name,
      file: path,
      variables: {
        POSTGRES_PASSWORD: loaded.secrets.postgresPassword?.reveal(),
        JWT_SECRET: loaded.secrets.jwtSecret?.reveal(),
      },
      contents: new Map([...mounted.map((file) => [file.path, file.content] as const), ...dirs]),
    }),
    files: [{ path, content: text, mode: COMPOSE_FILE_MODE, owner: ROOT }, ...mounted],
    profiles: services.includes("gateway") ? ["gateway"] : [],
    heldBack,
  };
}

async function isSame({ path, content, mode, owner }: StackFile): Promise<boolean> {
  if ((await readTextIfExists(path)) !== content) return false;
  const found = await stat(path);
  return (found.mode & 0o7777) === mode && found.uid === owner.uid && found.gid === owner.gid;
}

/** The files that are missing, or other than the settings want them. */
export async function staleFiles({ files }: DockerStack): Promise<readonly StackFile[]> {
  const same = await Promise.all(files.map(isSame));
  return files.filter((_, index) => same[index] !== true);
}

/**
 * Writes files of the stack, each in one step, closed to whom it is not for before it has any content.
 * @throws FulaError FULA_DISK_FULL, FULA_PATH_NOT_WRITABLE
 */
export async function writeStackFiles(files: readonly StackFile[]): Promise<void> {
  for (const { path, content, mode, owner } of files) {
    await ensureDir(dirname(path));
    await writeFileAtomic(path, content, { mode: mode & 0o600 });
    await chown(path, owner.uid, owner.gid);
    await chmod(path, mode);
  }
}

/** How a file is called in plans: `secrets/cluster_secret`. */
export function shortName({ path }: StackFile, baseDir: string): string {
  const name = relative(baseDir, path);
  return name.startsWith("..") ? basename(path) : name;
}

/** Says what would have to be done to the containers of this box, and what stands in their way. Changes nothing. */
export async function planStack({ project, ...options }: DockerStack, env: Env): Promise<ProjectPlan> {
  return await planProject(await connectDocker(env), project, options);
}
