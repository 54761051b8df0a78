import { posix } from "node:path";
import { buffer } from "node:stream/consumers";
import type Docker from "dockerode";
import type { ServicePlan } from "./compose-plan.ts";
import { askingEngine, orAbsent } from "./docker-errors.ts";

/** An image of this box. */
export interface ImageFacts {
  /** `sha256:…` of its configuration: what tells two images apart. */
  readonly id: string;
  /** `name@sha256:…`, as a registry knows it; null for one that was built or loaded here. */
  readonly digest: string | null;
  /** Major version of PostgreSQL, as images of it say in PG_MAJOR; null where it does not. */
  readonly postgresMajor: number | null;
}

// What others lean on comes last: the cluster asks Kubo, and everything else can wait for both. Of two servers of the control
// plane the one that nobody outside asks is the first to show whether the image is any good.
const ORDER: readonly string[] = ["postgres", "nats-witness", "nats", "gateway", "cluster", "kubo"];

const TAR_BLOCK_BYTES = 512;
const TAR_SIZE_AT = 124;
const TAR_SIZE_BYTES = 12;

function rank({ service }: ServicePlan): number {
  const at = ORDER.indexOf(service.name);
  return at === -1 ? ORDER.length : at;
}

/** Services in the order in which they are replaced. */
export function inUpgradeOrder(services: readonly ServicePlan[]): readonly ServicePlan[] {
  return services.toSorted((a, b) => rank(a) - rank(b));
}

/** What is known of an image; null where it is not on this box. @throws FulaError FULA_DOCKER_UNREACHABLE, FULA_DOCKER_FAILED */
export async function readImageFacts(docker: Docker, image: string): Promise<ImageFacts | null> {
  const info = await askingEngine(
    `looking at the image ${image}`,
    async () => await orAbsent(async () => await docker.getImage(image).inspect()),
  );
  if (info === null) return null;
  const major = info.Config.Env?.find((line) => line.startsWith("PG_MAJOR="))?.slice("PG_MAJOR=".length);
  return {
    id: info.Id,
    digest: info.RepoDigests?.[0] ?? null,
    postgresMajor: major !== undefined && /^\d+$/.test(major) ? Number(major) : null,
  };
}

/** The content of a small file in a container, also in one that does not run; null where there is none. */
async function readContainerFile(docker: Docker, containerId: string, path: string): Promise<string | null> {
  return await askingEngine(
    `reading ${path} of ${containerId.slice(0, 12)}`,
    async () =>
      await orAbsent(async () => {
        const tar = await buffer(await docker.getContainer(containerId).getArchive({ path }));
        const sizeField = tar.subarray(TAR_SIZE_AT, TAR_SIZE_AT + TAR_SIZE_BYTES).toString("ascii");
        const size = Number.parseInt(sizeField, 8);
        return tar.subarray(TAR_BLOCK_BYTES, TAR_BLOCK_BYTES + size).toString("utf8");
      }),
  );
}

/** Major version of PostgreSQL that a container's data was written by; null where there is no data or it is unreadable. */
export async function readDataMajor(docker: Docker, containerId: string, dataDir: string): Promise<number | null> {
  // Containers of older stacks have it one directory further up.
  const found =
    (await readContainerFile(docker, containerId, `${dataDir}/PG_VERSION`)) ??
    (await readContainerFile(docker, containerId, posix.join(dataDir, "..", "PG_VERSION")));
  const text = found?.trim() ?? "";
  return /^\d+$/.test(text) ? Number(text) : null;
}
