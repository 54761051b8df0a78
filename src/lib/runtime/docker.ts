import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type Docker from "dockerode";
import type { DockerOptions } from "dockerode";
import { messageOf } from "../kernel/errors.ts";

/** What `detectDockerEngine` found: an engine that answers, or why there is none. */
export type DockerDetection =
  | { readonly version: string; readonly apiVersion: string; readonly absent?: never }
  | { readonly absent: string };

/** A healthy engine answers in milliseconds, on a box with much else to do in seconds: it is not to be called absent then. */
const ANSWER_TIMEOUT_MS = 10_000;
const DEFAULT_SOCKET = "/var/run/docker.sock";

type Env = Readonly<Record<string, string | undefined>>;

/** True where an engine answered. */
export function isDockerPresent(
  detection: DockerDetection,
): detection is { readonly version: string; readonly apiVersion: string } {
  return detection.absent === undefined;
}

/** Reads DOCKER_HOST, DOCKER_TLS_VERIFY and DOCKER_CERT_PATH as the docker command does (docs.docker.com/reference/cli/docker). */
async function connectionOf(env: Env): Promise<DockerOptions> {
  const host = env["DOCKER_HOST"] ?? "";
  if (host === "") return { socketPath: DEFAULT_SOCKET };
  if (host.startsWith("unix://")) return { socketPath: host.slice("unix://".length) };
  const url = new URL(host);
  if (!["tcp:", "http:", "https:"].includes(url.protocol)) {
    throw new Error(`DOCKER_HOST=${host} is neither a Unix socket nor a TCP address`);
  }
  const certs = env["DOCKER_CERT_PATH"] ?? "";
  if ((env["DOCKER_TLS_VERIFY"] ?? "") === "" || certs === "") {
    return { host: url.hostname, port: url.port === "" ? 2375 : Number(url.port), protocol: "http" };
  }
  const [ca, cert, key] = await Promise.all(
    ["ca.pem", "cert.pem", "key.pem"].map(async (name) => await readFile(join(certs, name), "utf8")),
  );
  const port = url.port === "" ? 2376 : Number(url.port);
  return { host: url.hostname, port, protocol: "https", ca: ca ?? "", cert: cert ?? "", key: key ?? "" };
}

/** A client of the Docker Engine of this environment: DOCKER_HOST, else the usual socket. Asks nothing yet. */
export async function connectDocker(env: Env): Promise<Docker> {
  const { default: Client } = await import("dockerode");
  return new Client(await connectionOf(env));
}

/**
 * Asks the Docker Engine of this environment (DOCKER_HOST, else the usual socket) for its version. Never throws for
 * an engine that is absent, denied or silent: the reason comes back as text.
 * @throws the signal's reason when `signal` aborts
 */
export async function detectDockerEngine(options: {
  readonly env: Env;
  readonly signal?: AbortSignal;
  /** How long it may take to answer, in milliseconds; default ten seconds. */
  readonly patienceMs?: number;
}): Promise<DockerDetection> {
  options.signal?.throwIfAborted();
  const { patienceMs = ANSWER_TIMEOUT_MS } = options;
  const timeout = AbortSignal.timeout(patienceMs);
  const stop = options.signal === undefined ? timeout : AbortSignal.any([timeout, options.signal]);
  const silence = Promise.withResolvers<never>();
  const giveUp = (): void => {
    silence.reject(new Error(`no answer within ${patienceMs} ms`));
  };
  stop.addEventListener("abort", giveUp, { once: true });
  silence.promise.catch(() => {});
  try {
    const { default: Docker } = await import("dockerode");
    // The client's own timeout closes the connection, so that a silent engine does not keep this process alive.
    const docker = new Docker({ ...(await connectionOf(options.env)), timeout: patienceMs });
    const answer = await Promise.race([docker.version(), silence.promise]);
    return { version: answer.Version, apiVersion: answer.ApiVersion };
  } catch (error) {
    options.signal?.throwIfAborted();
    return { absent: messageOf(error) };
  } finally {
    stop.removeEventListener("abort", giveUp);
  }
}
