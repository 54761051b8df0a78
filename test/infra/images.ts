import { spawn } from "node:child_process";
import { cpSync, linkSync, mkdirSync, rmSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import type Docker from "dockerode";
import { cacheDir, hashOf, makeCacheDir } from "./cache.ts";
import { type Binaries, binaries } from "./daemons.ts";
import { type DebianSystem, debianTar, makeDebian } from "./debian.ts";
import { IMAGES } from "./image-names.ts";
import { installProductionModules, makePackage, packageInputs } from "./master-package.ts";
import type { Say } from "./run.ts";

/** One image: what it is made of, and how its build context is laid out. */
interface Recipe {
  readonly tag: string;
  readonly dockerfile: string;
  /** Its path in the context, where `fill` puts it there; else it is added as `Dockerfile`. */
  readonly dockerfileInContext?: string;
  /** Changes with everything that the image is made of. */
  readonly inputs: string;
  readonly buildArgs?: Readonly<Record<string, string>>;
  /** Makes, in the cache, what takes long and needs no engine. */
  readonly prepare?: (say: Say) => Promise<void>;
  /** Copies what the Dockerfile names into the context. */
  readonly fill: (context: string, say: Say) => void;
}

const IMAGE_DIR = join(import.meta.dirname, "images");
const MASTER_DOCKERFILE = join(import.meta.dirname, "../../templates/docker/Dockerfile");
const BUSYBOX_PROGRAM = "/bin/busybox";
const BUSYBOX = "fula-test/busybox:1";
const INPUTS_LABEL = "fula-test.inputs";

/** libLLVM and what uses it are a third of the whole, for a compiler that no query of a test is long enough for. */
const POSTGRES_SYSTEM: DebianSystem = {
  name: "postgres",
  packages: ["postgresql-15"],
  without: [
    "var/lib/postgresql/*",
    "etc/postgresql/*",
    "usr/lib/*/libLLVM*",
    "usr/lib/postgresql/15/lib/llvmjit*",
    "usr/lib/postgresql/15/lib/bitcode",
  ],
};
const NODE_SYSTEM: DebianSystem = { name: "node", packages: ["ca-certificates", "libstdc++6"] };

function recipe(name: string, parts: Omit<Recipe, "dockerfile" | "inputs"> & { readonly made: string }): Recipe {
  const dockerfile = join(IMAGE_DIR, `${name}.Dockerfile`);
  const inputs = hashOf({ texts: [parts.made, JSON.stringify(parts.buildArgs ?? {})], paths: [dockerfile] });
  return { ...parts, dockerfile, inputs };
}

/** A file in a build context; linked, because contexts hold hundreds of megabytes. */
function place(source: string, context: string, name = basename(source)): void {
  const target = join(context, name);
  mkdirSync(dirname(target), { recursive: true });
  try {
    linkSync(source, target);
  } catch {
    cpSync(source, target);
  }
}

function daemonRecipe(name: string, tag: string, base: Recipe, programs: readonly string[]): Recipe {
  return recipe(name, {
    tag,
    buildArgs: { BUSYBOX },
    // The folder of a program is named by the hash of what it was built from.
    made: [base.inputs, ...programs].join(" "),
    fill: (context) => {
      for (const program of programs) place(program, context);
    },
  });
}

function debianRecipe(
  name: string,
  tag: string,
  system: DebianSystem,
  files: Readonly<Record<string, string>>,
): Recipe {
  return recipe(name, {
    tag,
    made: [basename(debianTar(system)), hashOf({ paths: Object.values(files) })].join(" "),
    prepare: async (say) => {
      await makeDebian(system, say);
    },
    fill: (context) => {
      place(debianTar(system), context, "rootfs.tar");
      for (const [fileName, path] of Object.entries(files)) place(path, context, fileName);
    },
  });
}

/** All of them, each after those that it stands on. */
function recipes(built: Binaries): readonly Recipe[] {
  const busybox = recipe("busybox", {
    tag: BUSYBOX,
    made: hashOf({ paths: [BUSYBOX_PROGRAM, join(IMAGE_DIR, "etc")] }),
    fill: (context) => {
      place(BUSYBOX_PROGRAM, context);
      cpSync(join(IMAGE_DIR, "etc"), join(context, "etc"), { recursive: true });
    },
  });
  const node = debianRecipe("node", IMAGES.node, NODE_SYSTEM, { node: process.execPath });
  const master: Recipe = {
    tag: IMAGES.master,
    dockerfile: MASTER_DOCKERFILE,
    inputs: hashOf({ texts: [node.inputs, packageInputs()], paths: [MASTER_DOCKERFILE] }),
    buildArgs: { NODE_IMAGE: IMAGES.node },
    dockerfileInContext: "templates/docker/Dockerfile",
    prepare: installProductionModules,
    fill: (context, say) => {
      makePackage(context, say);
    },
  };
  const postgres = debianRecipe("postgres", IMAGES.postgres, POSTGRES_SYSTEM, {
    "postgres-entrypoint.sh": join(IMAGE_DIR, "postgres-entrypoint.sh"),
  });
  const bootScript = join(IMAGE_DIR, "box-boot.sh");
  const box = recipe("box", {
    tag: IMAGES.box,
    made: [postgres.inputs, master.inputs, hashOf({ paths: [bootScript] })].join(" "),
    buildArgs: { NODE_IMAGE: IMAGES.node, MASTER_IMAGE: IMAGES.master, POSTGRES_IMAGE: IMAGES.postgres },
    fill: (context) => {
      place(bootScript, context);
    },
  });
  return [
    postgres,
    busybox,
    daemonRecipe("kubo", IMAGES.kubo, busybox, [built.ipfs]),
    daemonRecipe("cluster", IMAGES.cluster, busybox, [built.clusterService, built.clusterCtl]),
    daemonRecipe("nats", IMAGES.nats, busybox, [built.nats]),
    node,
    master,
    box,
  ];
}

async function inputsOf(docker: Docker, tag: string): Promise<string | undefined> {
  const [image] = await docker.listImages({ filters: { reference: [tag] } });
  return image?.Labels?.[INPUTS_LABEL];
}

/** The images that are absent or made of something else than now. */
export async function findStaleImages(docker: Docker): Promise<readonly Recipe[]> {
  const stale: Recipe[] = [];
  for (const wanted of recipes(binaries())) {
    if ((await inputsOf(docker, wanted.tag)) !== wanted.inputs) stale.push(wanted);
  }
  return stale;
}

/** Makes what they are built from, as far as it needs no engine; the daemons' programs may be built meanwhile. */
export async function prepareImages(stale: readonly Recipe[], say: Say): Promise<void> {
  for (const { prepare } of stale) await prepare?.(say);
}

/** Builds images that were prepared. @returns their tags */
export async function buildImages(docker: Docker, stale: readonly Recipe[], say: Say): Promise<readonly string[]> {
  const built: string[] = [];
  for (const wanted of stale) {
    await buildImage(docker, wanted, say);
    built.push(wanted.tag);
  }
  // Earlier ones, which have lost their tag; the engine keeps those that a container still runs on.
  if (built.length > 0) await docker.pruneImages({ filters: { dangling: ["true"], label: [INPUTS_LABEL] } });
  return built;
}

async function buildImage(docker: Docker, wanted: Recipe, say: Say): Promise<void> {
  // In the cache and not in the folder for temporary files: on one file system with what is linked into it.
  // What a killed run left there goes; the lock of the set-up sees to it that nobody else is at it.
  rmSync(cacheDir("context"), { recursive: true, force: true });
  const context = makeCacheDir("context");
  try {
    wanted.fill(context, say);
    if (wanted.dockerfileInContext === undefined) place(wanted.dockerfile, context, "Dockerfile");
    say(`building ${wanted.tag}`);
    const tar = spawn("tar", ["--owner=0", "--group=0", "--numeric-owner", "-C", context, "-c", "."], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const progress = await docker.buildImage(tar.stdout, {
      t: wanted.tag,
      dockerfile: wanted.dockerfileInContext ?? "Dockerfile",
      buildargs: wanted.buildArgs ?? {},
      labels: { [INPUTS_LABEL]: wanted.inputs },
      forcerm: true,
    });
    await finished(docker, progress, wanted.tag);
  } finally {
    rmSync(context, { recursive: true, force: true });
  }
}

/** Waits for the end of a build. @throws Error with the builder's last lines */
async function finished(docker: Docker, progress: NodeJS.ReadableStream, tag: string): Promise<void> {
  const said: string[] = [];
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  docker.modem.followProgress(
    progress,
    (error) => {
      if (error === null) resolve();
      else reject(new Error(`Building ${tag}: ${error.message}\n${said.slice(-20).join("")}`, { cause: error }));
    },
    (event: { readonly stream?: string; readonly error?: string }) => {
      said.push(event.stream ?? event.error ?? "");
    },
  );
  await promise;
}
