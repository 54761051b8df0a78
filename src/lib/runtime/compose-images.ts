import type Docker from "dockerode";
import { FulaError } from "../kernel/errors.ts";
import { formatBytes } from "../kernel/units.ts";
import { engineMessage, engineStatus } from "./docker-errors.ts";

/** What the engine says about one layer while it pulls. */
interface PullEvent {
  readonly id?: string;
  readonly status?: string;
  readonly error?: string;
  readonly progressDetail?: { readonly current?: number; readonly total?: number };
}

interface PullOptions {
  readonly report: (text: string) => void;
  readonly signal: AbortSignal;
  /** Name of the service in the Compose file: that of its setting, too. */
  readonly service: string;
}

function missing(image: string, service: string, why: string, cause?: unknown): FulaError {
  return new FulaError("FULA_IMAGE_MISSING", `The image ${image} is not on this box and cannot be pulled: ${why}.`, {
    cause,
    hint: `put it there (docker load, docker build, docker pull), or name another one: fula-master config set docker.images.${service} <image>.`,
    details: { image, service, setting: `docker.images.${service}` },
  });
}

function progressOf(layers: ReadonlyMap<string, { readonly current: number; readonly total: number }>): string {
  const sum = (of: "current" | "total"): number => [...layers.values()].reduce((all, layer) => all + layer[of], 0);
  return layers.size === 0 ? "" : ` ${formatBytes(sum("current"))} of ${formatBytes(sum("total"))}`;
}

/**
 * Pulls an image and says how far it is.
 * @throws FulaError FULA_IMAGE_MISSING where the engine cannot get it
 */
export async function pullImage(docker: Docker, image: string, options: PullOptions): Promise<void> {
  const { report, signal, service } = options;
  report(`pulling ${image}`);
  const layers = new Map<string, { current: number; total: number }>();
  try {
    const stream = await docker.pull(image, { abortSignal: signal });
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    docker.modem.followProgress(
      stream,
      (error) => {
        if (error === null) resolve();
        else reject(error);
      },
      ({ id, status, progressDetail }: PullEvent) => {
        const { current, total } = progressDetail ?? {};
        if (id === undefined || status !== "Downloading" || current === undefined || total === undefined) return;
        layers.set(id, { current, total });
        report(`pulling ${image}${progressOf(layers)}`);
      },
    );
    await promise;
  } catch (error) {
    signal.throwIfAborted();
    // Without a status the engine itself was silent in the middle of it, or the registry was.
    const why = engineStatus(error) === null ? engineMessage(error) : engineMessage(error).replace(/\.$/, "");
    throw missing(image, service, why, error);
  }
}
