import type Docker from "dockerode";
import { type LoadedConfig, loadConfig, type Overrides } from "../config/load.ts";
import { changeSetting } from "../config/change.ts";
import type { PathsContext } from "../config/paths.ts";
import type { SettingKey } from "../config/schema.ts";
import type { Clock } from "../kernel/clock.ts";
import { FulaError, isFulaError } from "../kernel/errors.ts";
import type { Log } from "../kernel/log.ts";
import type { Random } from "../kernel/random.ts";
import { assertNothingForeign } from "../runtime/compose-foreign.ts";
import { pullImage } from "../runtime/compose-images.ts";
import { planProject, type ServicePlan } from "../runtime/compose-plan.ts";
import { inUpgradeOrder, readDataMajor, readImageFacts } from "../runtime/compose-upgrade.ts";
import { connectDocker } from "../runtime/docker.ts";
import type { ServiceHealth } from "../runtime/project-health.ts";
import { type DockerStack, readStack } from "./docker-stack.ts";
import { hasContainers, stackServices } from "./stack-values.ts";

/** What `upgrade` is given by its command. */
export interface UpgradeContext extends PathsContext {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly signal: AbortSignal;
}

/** What `upgrade` was asked for. */
export interface UpgradeOptions {
  /** `<service>=<image>`: images that the settings are to name from now on. */
  readonly image?: readonly string[];
  /** Only these services. */
  readonly service?: readonly string[];
  /** False = take the images as they are on this box. */
  readonly pull?: boolean;
  readonly dryRun?: boolean;
  readonly yes?: boolean;
}

/** One service and the image that it would get. */
export interface UpgradeItem {
  readonly service: string;
  readonly container: string;
  readonly from: { readonly image: string; readonly id: string };
  /** `id` is null where the image is not on this box. */
  readonly to: { readonly image: string; readonly id: string | null; readonly digest: string | null };
  /** True where its container is to be replaced. */
  readonly isDue: boolean;
  readonly why: string;
}

/** What `upgrade` would do, in the order in which it would. */
export interface UpgradeProposal {
  readonly context: UpgradeContext;
  readonly docker: Docker;
  readonly loaded: LoadedConfig;
  readonly stack: DockerStack;
  /** Images that the settings are to name from now on, by service. */
  readonly images: ReadonlyMap<string, string>;
  readonly items: readonly UpgradeItem[];
  /** Images that could not be pulled and are taken as they are on this box, with why. */
  readonly remarks: readonly string[];
}

interface Due {
  readonly plan: ServicePlan;
  readonly current: ServiceHealth;
}

function settingOf(service: string): SettingKey {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the service was looked up among those of the settings
  return `docker.images.${service}` as SettingKey;
}

function usage(message: string, hint: string): FulaError {
  return new FulaError("FULA_USAGE", message, { hint });
}

const SERVICES = ["postgres", "kubo", "cluster", "nats", "gateway"] as const;

/** Reads `kubo=ipfs/kubo:v0.43.0`. @throws FulaError FULA_USAGE */
export function parseImages(texts: readonly string[]): ReadonlyMap<string, string> {
  return new Map(
    texts.map((text) => {
      const at = text.indexOf("=");
      const service = text.slice(0, Math.max(at, 0));
      if (SERVICES.some((name) => name === service)) return [service, text.slice(at + 1)] as const;
      throw usage(
        `--image ${text} names no image of a service.`,
        `write --image <service>=<image>, with one of ${SERVICES.join(", ")}.`,
      );
    }),
  );
}

async function loadWith(context: UpgradeContext, images: ReadonlyMap<string, string>): Promise<LoadedConfig> {
  const overrides: Overrides = Object.fromEntries(
    [...images].map(([service, image]) => [settingOf(service), { flag: "--image", value: image }]),
  );
  const loaded = await loadConfig(context, overrides);
  // What could not be written afterwards is refused before anything is replaced.
  for (const [service, image] of images) await changeSetting(context, settingOf(service), image, { dryRun: true });
  if (hasContainers(loaded.config)) return loaded;
  throw new FulaError("FULA_NO_CONTAINERS", `${loaded.paths.baseDir} has no containers of its own to upgrade.`, {
    hint: "services that others run are upgraded by whoever runs them; fula-master status shows where each is.",
  });
}

function chosen(loaded: LoadedConfig, wanted: readonly string[]): readonly string[] {
  const own: readonly string[] = stackServices(loaded.config);
  const unknown = wanted.find((name) => !own.includes(name));
  if (unknown === undefined) return wanted.length === 0 ? own : wanted;
  throw usage(`This box has no container of the service ${unknown}.`, `it has ${own.join(", ")}.`);
}

/** An image that is here already is good enough where the registry is not to be reached. */
async function pullAll(
  docker: Docker,
  services: readonly { readonly name: string; readonly image: string }[],
  { signal, report }: { readonly signal: AbortSignal; readonly report: (text: string) => void },
): Promise<readonly string[]> {
  const remarks: string[] = [];
  for (const { name, image } of services) {
    try {
      await pullImage(docker, image, { report, signal, service: name });
    } catch (error) {
      if (!isFulaError(error, "FULA_IMAGE_MISSING") || (await readImageFacts(docker, image)) === null) throw error;
      // A digest names one image for ever, wherever it comes from.
      if (!image.includes("@sha256:")) remarks.push(`${image} could not be pulled and is taken as it is on this box`);
    }
  }
  return remarks;
}

/** Data that another major version has written cannot be opened. @throws FulaError FULA_UPGRADE_MAJOR */
async function assertSameMajor(docker: Docker, { plan, current }: Due): Promise<void> {
  const { image, environment } = plan.service;
  const dataDir = environment["PGDATA"] ?? "/var/lib/postgresql/data";
  const [facts, dataMajor] = await Promise.all([
    readImageFacts(docker, image),
    readDataMajor(docker, current.containerId, dataDir),
  ]);
  const imageMajor = facts?.postgresMajor ?? null;
  if (imageMajor !== null && imageMajor === dataMajor) return;
  const data = dataMajor === null ? "cannot be told" : `is that of PostgreSQL ${dataMajor}`;
  const program = imageMajor === null ? "does not say which PostgreSQL it is" : `is PostgreSQL ${imageMajor}`;
  throw new FulaError("FULA_UPGRADE_MAJOR", `The data of ${current.containerName} ${data}, and ${image} ${program}.`, {
    hint: 'choose an image of the same major version; docs/docker.md, "Another major version of PostgreSQL", says how to move the data by a dump.',
    details: { dataMajor, imageMajor, image },
  });
}

function itemOf({ plan, current }: Due, digest: string | null): UpgradeItem {
  const { service, action, why, imageId } = plan;
  return {
    service: service.name,
    container: current.containerName,
    from: { image: current.image, id: current.imageId },
    to: { image: service.image, id: imageId, digest },
    isDue: action === "recreate" || imageId === null,
    why: imageId === null ? `${service.image} is not on this box` : why,
  };
}

/**
 * Finds out which containers run on another image than their name in the settings means by now. Unless it is a dry run
 * or `pull` is false, images are pulled first; nothing else is changed.
 * @throws FulaError FULA_USAGE, FULA_NO_CONTAINERS, FULA_NOT_JOINED, FULA_UPGRADE_MAJOR, FULA_IMAGE_MISSING,
 *   FULA_DOCKER_FOREIGN, FULA_DOCKER_UNREACHABLE, FULA_CONFIG_INVALID, FULA_CONFIG_SHADOWED
 */
export async function proposeUpgrade(
  context: UpgradeContext,
  options: UpgradeOptions,
  report: (text: string) => void,
): Promise<UpgradeProposal> {
  const { env, signal } = context;
  const images = parseImages(options.image ?? []);
  const loaded = await loadWith(context, images);
  const names = chosen(loaded, options.service ?? []);
  const docker = await connectDocker(env);
  const stack = await readStack(loaded);
  const services = stack.project.services.filter(({ name }) => names.includes(name));
  const pulls = options.pull !== false && options.dryRun !== true;
  const remarks = pulls ? await pullAll(docker, services, { signal, report }) : [];
  const { project, profiles, heldBack } = stack;
  const plan = await planProject(docker, project, { profiles, heldBack, freshImages: names, signal });
  assertNothingForeign(plan.foreign);
  const due: Due[] = inUpgradeOrder(plan.services)
    .filter(({ service }) => names.includes(service.name))
    .map((each) => {
      if (each.current !== null) return { plan: each, current: each.current };
      throw new FulaError("FULA_NOT_JOINED", `There is no container of ${each.service.name} to upgrade.`, {
        hint: "fula-master join makes it.",
      });
    });
  const items: UpgradeItem[] = [];
  for (const each of due) {
    const facts = await readImageFacts(docker, each.plan.service.image);
    const item = itemOf(each, facts?.digest ?? null);
    if (item.isDue && item.service === "postgres" && facts !== null) await assertSameMajor(docker, each);
    items.push(item);
  }
  return { context, docker, loaded, stack, images, items, remarks };
}
