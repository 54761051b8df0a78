import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { LoadedConfig } from "../config/load.ts";
import type { Clock } from "../kernel/clock.ts";
import { FulaError, messageOf } from "../kernel/errors.ts";
import { exists, readTextIfExists } from "../kernel/files.ts";
import { type Log, silentLog } from "../kernel/log.ts";
import type { Random } from "../kernel/random.ts";
import { Secret } from "../kernel/secret.ts";
import type { KvDeps, KvTarget } from "../membership/kv/target.ts";
import { outlastSilence } from "../membership/outlast.ts";
import type { MembershipStore } from "../membership/store.ts";
import { readInstallation, writeInstallation } from "./installation.ts";
import { seedOperators } from "./operators.ts";

/** What opening the control plane needs beside the configuration. */
export interface ControlPlaneDeps {
  readonly clock: Clock;
  readonly random: Random;
  readonly signal: AbortSignal;
  readonly log?: Log;
  /**
   * `bootstrap` waits `controlPlane.bootstrapTimeout` for servers that have yet to find one another: for what brings a
   * master up; `doctor` some times `controlPlane.timeout`, because it asks much at once and must not take its own haste for a
   * silence; `election` as long as servers may take that lost their leader. Default: `controlPlane.timeout`, as for every single
   * question.
   */
  readonly patience?: "bootstrap" | "doctor" | "election";
  /** True looks only: a file is not written to, not even beside it, and on servers no bucket is made. */
  readonly readOnly?: boolean;
  /** Told in a sentence what is being waited for. */
  readonly onWait?: (sentence: string) => void;
}

/** Where the control plane is, in words for messages. */
export function controlPlaneAddress({ config, paths }: Pick<LoadedConfig, "config" | "paths">): string {
  const { mode, servers, clientPort } = config.controlPlane;
  if (mode === "sqlite") return paths.controlPlaneFile;
  return mode === "docker" ? `nats://127.0.0.1:${clientPort}` : servers.join(", ");
}

/** @throws FulaError FULA_NOT_JOINED on a storage node */
export function requireMaster({ config }: LoadedConfig): void {
  if (config.node.role === "master") return;
  throw new FulaError("FULA_NOT_JOINED", "This box is a storage node: it has no control plane.", {
    hint: "run the command on a master.",
  });
}

/** False where the next opening would make the control plane of this box. */
export async function isControlPlaneMade({ config, paths }: LoadedConfig): Promise<boolean> {
  if (config.controlPlane.mode !== "sqlite") return true;
  return (await readInstallation(paths.stateDir))?.made.includes("control-plane") === true;
}

async function noteControlPlane(stateDir: string): Promise<void> {
  const installation = await readInstallation(stateDir);
  if (installation === null || installation.made.includes("control-plane")) return;
  await writeInstallation(stateDir, { ...installation, made: [...installation.made, "control-plane"] });
}

/**
 * Opens the file. The first time it is made, with those in it who may act from the beginning; noted afterwards, so that
 * who is killed in between does the rest the next time.
 */
async function openFile(loaded: LoadedConfig, { clock, readOnly = false }: ControlPlaneDeps): Promise<MembershipStore> {
  const { stateDir, controlPlaneFile } = loaded.paths;
  const installation = await readInstallation(stateDir);
  if (installation === null) {
    throw new FulaError(
      "FULA_NOT_JOINED",
      `No master was set up in ${loaded.paths.baseDir}, so it has no control plane.`,
      {
        hint: "fula-master join sets one up; or give --base-dir if it lives elsewhere.",
      },
    );
  }
  const isMade = installation.made.includes("control-plane");
  if (isMade && !(await exists(controlPlaneFile))) {
    throw new FulaError(
      "FULA_STATE_LOST",
      `The control plane of this master is gone: ${controlPlaneFile} is not there. Nothing was changed.`,
      {
        hint: "put the file back from your backup, or from another master's fula-master membership export.",
        details: { path: controlPlaneFile },
      },
    );
  }
  const { openSqliteStore } = await import("../membership/sqlite/sqlite-store.ts");
  const { timeout: timeoutMs } = loaded.config.controlPlane;
  const store = await openSqliteStore(controlPlaneFile, { clock, timeoutMs, create: !isMade && !readOnly, readOnly });
  if (isMade || readOnly) return store;
  try {
    await seedOperators(store, loaded, { clock });
    await noteControlPlane(stateDir);
    return store;
  } catch (error) {
    await store.close();
    throw error;
  }
}

/** @throws FulaError FULA_CONFIG_READ where the settings name a file that cannot be read */
async function readNamed(setting: string, path: string): Promise<string> {
  try {
    return (await readFile(path, "utf8")).trim();
  } catch (cause) {
    throw new FulaError("FULA_CONFIG_READ", `Cannot read ${path} (${setting}): ${messageOf(cause)}.`, {
      cause,
      hint: `put the file there, or change ${setting}.`,
      details: { path },
    });
  }
}

/** A key that this box logs in with at its own container. @throws FulaError FULA_NOT_JOINED */
async function readOwnSeed(path: string): Promise<string> {
  const seed = await readTextIfExists(path);
  if (seed !== null) return seed.trim();
  throw new FulaError("FULA_NOT_JOINED", `This box has no key for its control plane: ${path} is not there.`, {
    hint: "fula-master join makes it.",
    details: { path },
  });
}

/** Where the servers are, and how to log in. */
export interface NatsAccess {
  readonly servers: readonly string[];
  readonly nkeySeed: Secret | null;
  readonly ca: string | null;
}

/**
 * How this box gets at the servers that the settings name.
 * @param who `user` has the records; `system` is told how the servers are
 * @throws FulaError FULA_NOT_JOINED, FULA_CONFIG_READ where a key cannot be read
 */
export async function natsAccess(loaded: LoadedConfig, who: "user" | "system" = "user"): Promise<NatsAccess> {
  const { config, paths } = loaded;
  const { mode, servers, caFile } = config.controlPlane;
  if (mode === "docker") {
    const seed = await readOwnSeed(join(paths.keysDir, `nats-${who}.nk`));
    return { servers: [controlPlaneAddress(loaded)], nkeySeed: new Secret(seed), ca: null };
  }
  const setting = who === "user" ? "nkeyFile" : "systemNkeyFile";
  const file = config.controlPlane[setting];
  return {
    servers,
    nkeySeed: file === null ? null : new Secret(await readNamed(`controlPlane.${setting}`, file)),
    ca: caFile === null ? null : await readNamed("controlPlane.caFile", caFile),
  };
}

const DOCTOR_TIMEOUTS = 5;
/** Servers of the control plane that lost their leader have another one within 4 to 9 seconds each time they try. */
const ELECTIONS_MS = 60_000;

/** How long opening waits for servers that do not answer, in milliseconds. */
function openingMs(
  { timeout, bootstrapTimeout }: LoadedConfig["config"]["controlPlane"],
  patience: ControlPlaneDeps["patience"],
): number {
  if (patience === undefined) return timeout;
  const most = { bootstrap: bootstrapTimeout, doctor: DOCTOR_TIMEOUTS * timeout, election: ELECTIONS_MS };
  return Math.min(most[patience], bootstrapTimeout);
}

/** How long whoever changes the primary waits for the control plane, in milliseconds. */
export function electionPatienceMs({ config }: Pick<LoadedConfig, "config">): number {
  return openingMs(config.controlPlane, "election");
}

/** What a store on servers is opened with. @throws FulaError FULA_NOT_JOINED, FULA_CONFIG_READ */
export async function natsStoreArguments(
  loaded: LoadedConfig,
  deps: ControlPlaneDeps,
): Promise<readonly [target: KvTarget, deps: KvDeps]> {
  const { controlPlane } = loaded.config;
  const access = await natsAccess(loaded);
  const { clock, random, signal, log = silentLog, patience, readOnly = false, onWait } = deps;
  return [
    {
      ...access,
      prefix: controlPlane.prefix,
      replicas: controlPlane.replicas,
      timeoutMs: controlPlane.timeout,
      maxAgeMs: controlPlane.maxAge,
      bootstrapTimeoutMs: openingMs(controlPlane, patience),
      readOnly,
    },
    { clock, random, signal, log, ...(onWait && { onWait }) },
  ];
}

async function openServers(loaded: LoadedConfig, deps: ControlPlaneDeps): Promise<MembershipStore> {
  const { openKvStore } = await import("../membership/kv/kv-store.ts");
  return await openKvStore(...(await natsStoreArguments(loaded, deps)));
}

/**
 * Opens the control plane that the settings name: the file of this box, its NATS container, or servers that run already.
 * The file is made on first opening.
 * @throws FulaError FULA_NOT_JOINED, FULA_STATE_LOST, FULA_CONTROL_PLANE_UNREACHABLE, FULA_CONTROL_PLANE_UNREADABLE,
 *   FULA_STATE_NEWER, FULA_CONFIG_READ
 */
export async function openControlPlane(loaded: LoadedConfig, deps: ControlPlaneDeps): Promise<MembershipStore> {
  requireMaster(loaded);
  return loaded.config.controlPlane.mode === "sqlite" ? await openFile(loaded, deps) : await openServers(loaded, deps);
}

/** Opens the control plane for the time of one callback. @throws what `openControlPlane` and `use` throw */
export async function withControlPlane<T>(
  loaded: LoadedConfig,
  deps: ControlPlaneDeps,
  use: (store: MembershipStore) => Promise<T>,
): Promise<T> {
  const store = await openControlPlane(loaded, deps);
  let result: T;
  try {
    result = await use(store);
  } catch (error) {
    // What went wrong in the callback is what the operator must read, whatever closing says.
    await store
      .close()
      .catch((closeError: unknown) => deps.log?.warn("control_plane.close_failed", { message: messageOf(closeError) }));
    throw error;
  }
  await store.close();
  return result;
}

/**
 * Like `withControlPlane`, for what brings a master up: servers that have yet to find one another are waited for, up to
 * `controlPlane.bootstrapTimeout`, and so are elections that come between.
 * @param use is called anew after a silence, so that whatever it has done by then must be no harm to do again
 * @throws what `openControlPlane` and `use` throw
 */
export async function withControlPlanePatiently<T>(
  loaded: LoadedConfig,
  deps: Omit<ControlPlaneDeps, "patience">,
  use: (store: MembershipStore) => Promise<T>,
): Promise<T> {
  const deadlineMs = deps.clock.monotonicMs() + loaded.config.controlPlane.bootstrapTimeout;
  const work = async (): Promise<T> => await withControlPlane(loaded, { ...deps, patience: "bootstrap" }, use);
  return await outlastSilence(work, { ...deps, deadlineMs });
}
